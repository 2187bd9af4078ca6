"""The real ASSISTments log, if it is available: how many responses and learners it has, and the catalog it implies."""

import os
from pathlib import Path

import pytest

from services.ingest.application.ports import Row
from services.ingest.domain.submission import Instant
from services.ingest.domain.validation import problems_of
from services.ingest.formats import Format, read_events
from services.ingest.formats.catalog_of_log import catalog_of_log, catalog_of_rows

DATA = Path(os.environ.get("CAIRN_DATA") or Path(__file__).parents[3] / "shared" / "data") / "assistments2009"
NOW = Instant(1_800_000_000)

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"the ASSISTments log is not at {DATA}; set CAIRN_DATA to its parent folder"
)


@pytest.mark.slow
def test_the_merged_form_has_274561_responses_of_4150_learners_none_wrong_and_a_catalog_to_match():
    # One pass for both: reading it takes seconds.
    responses, learners, sequences = 0, set(), set()

    def counted():
        nonlocal responses
        for row in read_events(DATA / "interactions.csv.gz", Format.ASSISTMENTS):
            assert isinstance(row, Row)
            assert not problems_of(row.submission, NOW)
            responses += 1
            learners.add(row.submission.learner_id)
            sequences.add((row.submission.learner_id, row.submission.source_sequence))
            yield row

    lines = list(catalog_of_rows(counted(), framework="ASSISTments"))
    assert (responses, len(learners), len(sequences)) == (274_561, 4_150, 274_561)
    skills = {line["id"] for kind, line in lines if kind == "skill"}
    resources = [line for kind, line in lines if kind == "resource"]
    assert (len(skills), len(resources)) == (110, 16_891)
    assert all(line["assesses"] for line in resources)
    assert all(tag["skill"] in skills and 0 < tag["weight"] <= 1 for line in resources for tag in line["assesses"])


def test_the_raw_export_is_read_in_the_order_of_time():
    rows = list(read_events(DATA / "raw_sample.csv", Format.ASSISTMENTS))
    assert len(rows) == 10_791
    assert all(isinstance(row, Row) and not problems_of(row.submission, NOW) for row in rows)
    orders = [int(row.submission.source_sequence) for row in rows]
    assert orders == sorted(orders)
    assert {row.submission.body.skills for row in rows} == {("Table",), ("Box and Whisker",)}


def test_the_catalog_of_a_file_is_that_of_its_rows():
    lines = list(catalog_of_log(DATA / "raw_sample.csv"))
    assert [line["id"] for kind, line in lines if kind == "skill"] == ["Box and Whisker", "Table"]
    assert {line["kind"] for kind, line in lines if kind == "resource"} == {"practice"}
