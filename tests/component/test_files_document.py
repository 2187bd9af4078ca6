"""The examples in `docs/files.md` work as shown."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from services.ingest.application.ports import Row
from services.ingest.domain.outcome import Score
from services.ingest.formats import Format, read_events
from services.ingest.formats.mapping.model import FileMapping, load_mapping
from services.recommender.adapters.files.parquet_tables import ParquetTable
from services.recommender.application.operations.export import STATE_COLUMNS
from services.recommender.wire.event_kinds import EVENT_COLUMNS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "files.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)


def test_the_worked_example_is_read_as_described(tmp_path):
    (table,), (mapping,) = blocks("csv"), blocks("yaml")
    (tmp_path / "term1.csv").write_text(table, encoding="cp1252")
    (tmp_path / "gradebook.yaml").write_text(mapping)
    rows = list(read_events(tmp_path / "term1.csv", Format.CSV, mapping=load_mapping(tmp_path / "gradebook.yaml")))
    assert all(isinstance(row, Row) for row in rows)
    first, unjudged, last = (row.submission for row in rows)
    assert (first.learner_id, first.source, first.body.item, first.body.activity) == (
        "4711",
        "gradebook",
        "Q17",
        "Fractions 2",
    )
    assert first.body.skills == ("3.NF.A.1", "3.NF.A.3")
    assert (first.body.outcome, first.body.duration_ms) == (Score(3.5, 0.0, 4.0), 150_000)
    assert first.occurred_at.seconds == 1_772_615_700
    assert unjudged.body.outcome is None
    assert last.learner_id == "4712"


def test_every_key_of_a_mapping_is_explained():
    for name in (*FileMapping.model_fields, *FileMapping.model_fields["columns"].annotation.model_fields):
        assert f"`{name}`" in DOCUMENT, name


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
