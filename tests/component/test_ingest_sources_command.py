"""`cairn ingest sources`, and loading the export of a known source without a mapping."""

from __future__ import annotations

import json
import shutil
import zipfile

import pytest
import yaml
from typer.testing import CliRunner

from services.ingest.cli import sources as cli_sources
from services.ingest.cli.ingest import app
from services.ingest.formats.mapping.model import parse_mapping
from services.ingest.formats.sources import known_sources, recognised, source_named
from tests.workbooks import number, row, text, write_xlsx


@pytest.fixture
def ingest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        result = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def export(tmp_path):
    """Copies the first sample of a known source."""

    def copy(name, file="export.csv"):
        shutil.copy(source_named(name).sample_paths()[0], tmp_path / file)
        return file

    return copy


def test_known_sources_are_listed_with_their_titles(ingest):
    output = ingest("sources").output
    assert all(source.name in output and source.title in output for source in known_sources())


def test_a_known_sources_mapping_is_printed_with_its_notes_and_can_be_loaded_with(ingest, export, tmp_path):
    printed = ingest("sources", "canvas-gradebook")
    assert printed.output.startswith("# # Canvas gradebook export\n")
    (tmp_path / "own.yaml").write_text(printed.output)
    file = export("canvas-gradebook")
    by_source, by_mapping = tmp_path / "source.json", tmp_path / "mapping.json"
    ingest("load", file, "--dry-run", "--json", by_source)
    ingest("load", file, "--mapping", "own.yaml", "--dry-run", "--json", by_mapping)
    counts = [json.loads(path.read_text()) for path in (by_source, by_mapping)]
    assert counts[0]["new"] == counts[1]["new"] == 7
    assert counts[0]["left_out"] == counts[1]["left_out"]


@pytest.mark.parametrize("source", known_sources(), ids=[source.name for source in known_sources()])
def test_what_is_printed_is_a_mapping(ingest, source, tmp_path):
    content = yaml.safe_load(ingest("sources", source.name).output)
    if source.mapping() is not None:
        assert parse_mapping(content, tmp_path) == source.mapping()
    elif source.profile() is None:
        assert content is None


def test_a_source_that_there_is_not_is_named_with_a_close_one(ingest):
    result = ingest("sources", "canvas-gradebok")
    assert result.exit_code == 2
    assert "there is no source 'canvas-gradebok', did you mean 'canvas-gradebook'?" in result.output


def test_a_load_that_names_no_source_and_has_no_mapping_names_a_close_one(ingest, tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n", encoding="utf-8")
    result = ingest("load", tmp_path / "a.csv", "--source", "canvas-gradebok", "--dry-run")
    assert result.exit_code == 2
    assert "there is no source 'canvas-gradebok', did you mean 'canvas-gradebook'?" in result.output


def test_an_export_is_recognised_by_its_columns_and_the_load_says_so(ingest, export):
    result = ingest("load", export("canvas-gradebook"), "--dry-run")
    assert result.exit_code == 0
    assert "export.csv: recognised as canvas-gradebook" in result.output


def test_each_file_is_recognised_for_itself(ingest, export):
    files = [
        export("canvas-gradebook", "a.csv"),
        export("sakai-gradebook", "b.csv"),
        export("oneroster-results", "c.zip"),
    ]
    output = ingest("load", *files, "--dry-run").output
    for line in (
        "a.csv: recognised as canvas-gradebook",
        "b.csv: recognised as sakai-gradebook",
        "c.zip: recognised as",
    ):
        assert line in output


def test_a_table_that_two_sources_recognise_is_left_to_the_user(ingest, export, monkeypatch):
    both = [source_named("iready"), source_named("iready-domains")]
    monkeypatch.setattr(cli_sources, "recognised", lambda _: both)
    result = ingest("load", export("iready-domains"), "--dry-run")
    assert result.exit_code == 2
    assert "may be an export of iready or iready-domains: say which with --source" in result.output


def test_a_table_of_no_known_source_needs_a_mapping_as_before(ingest, tmp_path):
    (tmp_path / "own.csv").write_text("a,b\n1,2\n")
    result = ingest("load", "own.csv", "--dry-run")
    assert result.exit_code == 2
    assert "add --mapping FILE" in result.output


@pytest.mark.parametrize(
    ("name", "file", "taken", "code"),
    [("iready", "export.csv", 4, 0), ("pykt-sequences", "data", 7, 1), ("bkt-table", "responses.tsv", 5, 1)],
)
def test_a_source_that_is_named_is_read_by_its_mapping_whatever_the_file_is_called(
    ingest, export, tmp_path, name, file, taken, code
):
    result = ingest("load", export(name, file), "--source", name, "--dry-run", "--json", "counts.json")
    assert (result.exit_code, json.loads((tmp_path / "counts.json").read_text())["new"]) == (code, taken)


def test_a_preview_reads_a_known_source(ingest, export):
    result = ingest("load", export("gradescope"), "--preview")
    assert result.exit_code == 0
    assert "nia@example.org" in result.output


def test_a_time_zone_that_an_export_does_not_say_is_an_option(ingest, export):
    file = export("moodle-quiz")
    assert ingest("load", file, "--dry-run").exit_code == 1
    assert ingest("load", file, "--dry-run", "--time-zone", "Europe/Helsinki").exit_code == 0
    result = ingest("load", file, "--dry-run", "--time-zone", "Helsinki")
    assert result.exit_code == 2
    assert "'Helsinki' is not a time zone" in result.output


def test_an_unknown_source_stays_the_source_of_events_that_name_none(ingest, tmp_path):
    (tmp_path / "events.ndjson").write_text('{"learner_id": "a", "item": "q", "correct": true}\n')
    result = ingest("load", "events.ndjson", "--source", "our-app", "--preview")
    assert result.exit_code == 0
    assert "our-app" in result.output


def test_json_lines_are_events_whatever_source_is_named(ingest, tmp_path):
    (tmp_path / "events.ndjson").write_text('{"learner_id": "a", "item": "q", "correct": true}\n')
    result = ingest("load", "events.ndjson", "--source", "iready", "--preview")
    assert result.exit_code == 0
    assert "iready" in result.output


def test_a_workbook_is_recognised(ingest, tmp_path):
    rows = [
        ["Student", "ID", "SIS Login ID", "Section", "Quiz (12)", "Final Score"],
        ["Points Possible", "", "", "", 10, ""],
    ]
    rows += [["Aalto, Nia", 9, "nia", "3A", 7.5, 75]]
    xlsxwriter = pytest.importorskip("xlsxwriter")
    with xlsxwriter.Workbook(tmp_path / "gradebook.xlsx") as workbook:
        sheet = workbook.add_worksheet()
        for number, row in enumerate(rows):
            sheet.write_row(number, 0, row)
    assert [source.name for source in recognised(tmp_path / "gradebook.xlsx")] == ["canvas-gradebook"]
    assert ingest("load", "gradebook.xlsx", "--dry-run").exit_code == 0


def test_a_sheet_is_chosen_for_a_proposal_where_a_workbook_has_several(ingest, tmp_path):
    sheet = (row(1, text("A1", "Student ID"), text("B1", "Score")), row(2, text("A2", "a"), number("B2", 3)))
    write_xlsx(tmp_path / "marks.xlsx", {"Term 1": sheet, "Term 2": sheet})
    assert "set sheet to one of Term 1, Term 2" in ingest("mapping", "--sample", "marks.xlsx").output
    assert 'sheet: "Term 2"' in ingest("mapping", "--sample", "marks.xlsx", "--sheet", "Term 2").output


def test_a_file_inside_a_zip_file_is_chosen_for_a_proposal(ingest, tmp_path):
    with zipfile.ZipFile(tmp_path / "terms.zip", "w") as archive:
        for name in ("a.csv", "b.csv"):
            archive.writestr(name, "Student ID,Item,Correct\na,q,1\n")
    assert "set member to one of a.csv, b.csv" in ingest("mapping", "--sample", "terms.zip").output
    assert 'member: "b.csv"' in ingest("mapping", "--sample", "terms.zip", "--member", "b.csv").output
