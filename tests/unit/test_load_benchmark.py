"""The benchmark of loads compares the same events, and judges what it measured."""

import pytest

from services.ingest.application.ports import Row
from services.ingest.formats import Format, read_events
from services.ingest.formats.mapping.model import load_mapping
from services.ingest.wire.submissions import submission_message
from tests.benchmarks.loading import LoadFigures, responses, write_files


def test_the_rows_of_the_file_become_the_events_that_are_sent_over_grpc(tmp_path):
    file, mapping = write_files(60, tmp_path)
    rows = list(read_events(file, Format.CSV, mapping=load_mapping(mapping)))
    assert all(isinstance(row, Row) for row in rows)
    sent = [response.event() for response in responses(60, "file")]
    assert [submission_message(row.submission) for row in rows] == sent


def test_the_learners_of_both_ways_are_others_with_the_same_responses():
    of_file, of_grpc = list(responses(60, "file")), list(responses(60, "grpc"))
    assert not {each.learner for each in of_file} & {each.learner for each in of_grpc}
    assert [each.learner.partition("-")[2] for each in of_file] == [each.learner.partition("-")[2] for each in of_grpc]
    assert [each.points for each in of_file] == [each.points for each in of_grpc]


@pytest.mark.parametrize(
    ("ratio", "rss_mb", "ingest_rss_mb", "reached"),
    [(0.8, 499.0, 499.0, True), (0.799, 100.0, 100.0, False), (0.9, 500.0, 100.0, False), (0.9, 100.0, 500.0, False)],
)
def test_a_load_passes_at_four_fifths_of_the_rate_below_500_mb(ratio, rss_mb, ingest_rss_mb, reached):
    figures = LoadFigures(
        rows=1_000_000,
        rows_per_s=6_000.0,
        grpc_events=1_000_000,
        grpc_events_per_s=7_000.0,
        ratio_to_grpc=ratio,
        cpu_us_per_row=40.0,
        ingest_cpu_us_per_row=130.0,
        rss_mb=rss_mb,
        ingest_rss_mb=ingest_rss_mb,
    )
    assert figures.reached is reached
    assert ("pass" in figures.verdict()) is reached
