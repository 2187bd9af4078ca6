"""The examples in `docs/files.md` work as shown."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from services.ingest.application.ports import LeftOutRow, Row
from services.ingest.domain.kinds.assessment import Assessment
from services.ingest.domain.outcome import Score
from services.ingest.formats import Format, read_events
from services.ingest.formats.mapping.keys import Columns, Join, RowFilter, Unpivot
from services.ingest.formats.mapping.model import FileMapping, load_mapping
from services.recommender.adapters.files.parquet_tables import ParquetTable
from services.recommender.application.operations.export import STATE_COLUMNS
from services.recommender.wire.event_kinds import EVENT_COLUMNS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "files.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)


def block_with(language, text):
    (found,) = [block for block in blocks(language) if text in block]
    return found


def test_the_worked_example_is_read_as_described(tmp_path):
    table, mapping = blocks("csv")[0], blocks("yaml")[0]
    (tmp_path / "term1.csv").write_text(table, encoding="cp1252")
    (tmp_path / "gradebook.yaml").write_text(mapping)
    rows = list(read_events(tmp_path / "term1.csv", Format.CSV, mapping=load_mapping(tmp_path / "gradebook.yaml")))
    assert rows[1] == LeftOutRow(3, "without an outcome")
    first, last = (row.submission for row in rows if isinstance(row, Row))
    assert (first.learner_id, first.source, first.body.item, first.body.activity) == (
        "4711",
        "gradebook",
        "Q17",
        "Fractions 2",
    )
    assert first.body.skills == ("3.NF.A.1", "3.NF.A.3")
    assert (first.body.outcome, first.body.duration_ms) == (Score(3.5, 0.0, 4.0), 150_000)
    assert first.occurred_at.seconds == 1_772_615_700
    assert last.learner_id == "4712"


def test_every_key_of_a_mapping_is_explained():
    for model in (FileMapping, Columns, RowFilter, Unpivot, Join):
        for name, field in model.model_fields.items():
            key = field.alias or name
            assert re.search(rf"`[^`\n]*\b{key}\b[^`\n]*`|^ *-? ?{key}:", DOCUMENT, re.MULTILINE), key


@pytest.mark.parametrize("mapping", blocks("yaml"))
def test_every_mapping_is_one(tmp_path, mapping):
    (tmp_path / "mapping.yaml").write_text(mapping)
    load_mapping(tmp_path / "mapping.yaml")


@pytest.fixture
def read(tmp_path):
    def read(table, mapping):
        (tmp_path / "table.csv").write_text(table)
        (tmp_path / "mapping.yaml").write_text(mapping)
        return list(read_events(tmp_path / "table.csv", Format.CSV, mapping=load_mapping(tmp_path / "mapping.yaml")))

    return read


def test_the_wide_gradebook_is_read_as_described(read):
    rows = read(block_with("csv", "Quiz 1 (101)"), block_with("yaml", "maximum_row"))
    found = [(r.submission.learner_id, r.submission.body.activity, r.submission.body.outcome) for r in of(Row, rows)]
    assert found == [("7001", "Quiz 1", Score(8.5, 0.0, 10.0)), ("7002", "Quiz 2", Score(18.0, 0.0, 20.0))]
    assert [(row.line, row.reason) for row in of(LeftOutRow, rows)] == [
        (2, "maximum_row"),
        (3, "without an outcome"),
        (4, "without an outcome"),
        (5, "drop 1 (Student)"),
    ]


def test_the_lines_above_a_header_are_read_as_described(read):
    (row,) = read(block_with("csv", "Assignment Name"), block_with("yaml", "labels:"))
    assert row.submission.body == Assessment(activity="Fractions check", outcome=Score(17.5, 0.0, 20.0))


def test_the_companion_file_is_joined_as_described(read, tmp_path):
    (tmp_path / "lineitems.csv").write_text(block_with("csv", "id,title,standard"))
    row, left_out = read(block_with("csv", "sourcedId,status"), block_with("yaml", "join:"))
    assert row.submission.body == Assessment(
        activity="Fractions check", skills=("3.NF.A.1",), outcome=Score(17.5, 0.0, 20.0)
    )
    assert left_out == LeftOutRow(3, "keep 1 (status)")


def of(kind, rows):
    return [row for row in rows if isinstance(row, kind)]


def test_the_lines_of_json_are_events(tmp_path):
    (lines,) = blocks("json")
    (tmp_path / "events.ndjson").write_text(lines)
    rows = list(read_events(tmp_path / "events.ndjson", Format.NDJSON))
    assert [type(row.submission.body).__name__ for row in rows] == [
        "Assessment",
        "Interaction",
        "Preference",
        "Correction",
    ]


@pytest.mark.parametrize("sql", blocks("sql"))
def test_the_queries_run_on_exported_files(tmp_path, monkeypatch, sql):
    monkeypatch.chdir(tmp_path)
    for name, columns in (("state", STATE_COLUMNS), ("events", EVENT_COLUMNS)):
        row = {column.name: None for column in columns}
        row |= {"skill": "add", "mastery": 0.4, "mastered": False, "responses": 3} if name == "state" else {}
        row |= {"source": "s", "event_id": "e", "kind": "assessment"} if name == "events" else {}
        with ParquetTable(Path("exports"), name, "riverbend", columns) as table:
            table.add([row, row])
    with duckdb.connect() as database:
        (found,) = database.execute(sql).fetchall()
    assert found in {("add", 2, 0.4, 2), (None, "s", 1)}
