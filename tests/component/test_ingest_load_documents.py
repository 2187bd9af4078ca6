"""`cairn ingest load` on JSON documents: counts, problems and exit codes as for tables."""

from __future__ import annotations

import gzip
import json
import shutil

import pytest
from typer.testing import CliRunner

from services.ingest.cli import load as cli_load
from services.ingest.cli.ingest import app
from services.ingest.formats.sources import source_named
from tests.adapters.memory_publisher import MemoryPublisher


@pytest.fixture
def service(monkeypatch):
    service = MemoryPublisher()
    monkeypatch.setattr(cli_load, "grpc_publisher", lambda *_, **__: service)
    return service


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(source_named("openedx-tracking").folder / "sample.log", tmp_path / "tracking.log")
    (tmp_path / "tracking.log.gz").write_bytes(gzip.compress((tmp_path / "tracking.log").read_bytes()))

    def run(*arguments):
        result = CliRunner().invoke(app, ["load", *arguments], env={"CAIRN_API_KEY": "k", "COLUMNS": "200"})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.mark.parametrize(
    ("options", "source"),
    [
        (("--format", "openedx"), "openedx"),
        (("--format", "openedx", "--source", "campus"), "campus"),
        (("--source", "openedx-tracking"), "openedx-tracking"),
    ],
)
@pytest.mark.parametrize("file", ["tracking.log", "tracking.log.gz"])
def test_a_tracking_log_is_loaded_with_the_counts_of_a_table(load, service, tmp_path, file, options, source):
    result = load(file, *options, "--json", "summary.json")
    assert result.exit_code == 1
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["format"] == "openedx"
    assert (summary["new"], summary["rejected"], sum(summary["left_out"].values())) == (7, 1, 7)
    assert summary["left_out"]["video"] == 1
    assert {event.source for event in service.came} == {source}
    (rejected,) = (tmp_path / f"{file}.rejected.ndjson").read_text().splitlines()
    assert json.loads(rejected)["line"] == 12
    assert json.loads(rejected)["reasons"][0]["field"] == "event.problem_id"


def test_a_preview_and_a_dry_run_show_events_and_problems(load, service):
    preview = load("tracking.log", "--format", "openedx", "--preview")
    assert "0.5 of 0 to 1" in preview.output
    assert "line 12: event.problem_id is missing: add it" in preview.output
    checked = load("tracking.log", "--format", "openedx", "--dry-run")
    assert (preview.exit_code, checked.exit_code) == (1, 1)
    assert "of a visitor who is not signed in" in checked.output
    assert service.came == []


def test_a_document_that_cannot_be_read_is_rejected_with_its_place_and_the_others_are_loaded(load, service, tmp_path):
    lines = (tmp_path / "tracking.log").read_text().splitlines()
    (tmp_path / "cut.log").write_text("\n".join([lines[3], lines[4][:500], lines[4]]))
    result = load("cut.log", "--format", "openedx")
    assert result.exit_code == 1
    assert len(service.came) == 2
    (rejected,) = (tmp_path / "cut.log.rejected.ndjson").read_text().splitlines()
    assert json.loads(rejected)["line"] == 2


def test_without_a_format_the_error_names_the_formats(load):
    result = load("tracking.log")
    assert result.exit_code == 2
    assert "--format ndjson|csv|parquet|assistments|xapi|caliper|openedx|qti-results" in result.output.replace("\n", "")


def test_the_notes_of_a_source_of_documents_are_printed(load):
    result = CliRunner().invoke(app, ["sources", "openedx-tracking"])
    assert result.output.startswith("# # Open edX tracking log\n")
    assert "load it with --source openedx-tracking" in result.output
