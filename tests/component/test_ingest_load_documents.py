"""`cairn ingest load` on JSON documents: counts, problems and exit codes as for tables."""

from __future__ import annotations

import gzip
import json
import shutil

import pytest
from typer.testing import CliRunner

from services.ingest.cli import load as cli_load
from services.ingest.cli.ingest import app
from services.ingest.domain.kinds.correction import Correction, Void
from services.ingest.domain.outcome import Score
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
    assert (summary["new"], summary["rejected"], sum(summary["left_out"].values())) == (11, 1, 8)
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


def tracking_event(name, minute, payload):
    context = {"user_id": 7}
    time = f"2026-03-04T09:{minute:02}:00+00:00"
    return {"name": name, "event_source": "server", "context": context, "time": time, "event": payload}


ANSWER = tracking_event("problem_check", 1, {"problem_id": "p", "grade": 0, "max_grade": 2, "attempts": 1})
REGRADE = {"problem_id": "p", "user_id": "7", "new_weighted_earned": 2, "new_weighted_possible": 2}
RESCORED = tracking_event("edx.grades.problem.rescored", 2, REGRADE)


def test_what_staff_changed_reaches_an_answer_in_another_file_of_the_load(load, service, tmp_path):
    (tmp_path / "worker.log").write_text(json.dumps(RESCORED) + "\n")
    (tmp_path / "web.log.gz").write_bytes(gzip.compress(json.dumps(ANSWER).encode()))
    alone = load("worker.log", "--format", "openedx", "--json", "summary.json")
    assert alone.exit_code == 0
    assert json.loads((tmp_path / "summary.json").read_text())["left_out"] == {
        "a change by staff of an answer that is not loaded with it: load both, or send a correction": 1
    }
    assert load("worker.log", "web.log.gz", "--format", "openedx").exit_code == 0
    correction, answer = service.came
    assert (correction.learner_id, correction.body) == ("7", Correction(answer.event_id, Score(2.0, 0.0, 2.0)))


def test_a_damaged_file_of_the_load_is_reported_in_its_turn(load, service, tmp_path):
    (tmp_path / "web.log").write_text(f"{json.dumps(ANSWER)}\n{json.dumps(RESCORED)}\n")
    (tmp_path / "cut.log.gz").write_bytes(gzip.compress(json.dumps(ANSWER).encode() * 50)[:-9])
    result = load("web.log", "cut.log.gz", "--format", "openedx")
    assert result.exit_code == 2
    assert "cut.log.gz is damaged" in result.output
    assert len(service.came) >= 2


def test_a_load_is_resumed_with_the_files_that_it_began_with(load, service, tmp_path):
    for name in ("one.log", "two.log"):
        (tmp_path / name).write_text("\n".join(json.dumps(ANSWER) for _ in range(1_200)))
    service.requests_left = 1
    assert load("one.log", "two.log", "--format", "openedx", "--streams", "1").exit_code == 3
    service.requests_left = 10**9
    alone = load("one.log", "--format", "openedx", "--resume")
    assert (alone.exit_code, len(service.came)) == (2, 500)
    assert load("one.log", "two.log", "--format", "openedx", "--resume").exit_code == 0
    assert len(service.came) == 2_400


FIRST = "6690e6c9-3ef0-4ed3-8b37-7f3964730bee"
SECOND = "7e4f87d3-911b-581b-b41e-7b4d938c4647"
ADA = {"mbox": "mailto:ada@example.com"}
TEACHER = {"account": {"homePage": "http://lms.example.com", "name": "admin"}}


def answered(statement_id=FIRST, **more):
    target = {"id": "http://example.com/q/1", "definition": {"interactionType": "numeric"}}
    verb = {"id": "http://adlnet.gov/expapi/verbs/answered"}
    return {"id": statement_id, "actor": ADA, "verb": verb, "object": target, "result": {"success": True}} | more


def voiding(target, statement_id=SECOND):
    reference = {"objectType": "StatementRef", "id": target}
    verb = {"id": "http://adlnet.gov/expapi/verbs/voided"}
    return {"id": statement_id, "actor": TEACHER, "verb": verb, "object": reference}


@pytest.mark.parametrize("order", [("voided.json", "term.json"), ("term.json", "voided.json"), ("both.json",)])
def test_voiding_reaches_the_learner_of_a_statement_in_any_file_of_the_load(load, service, tmp_path, order):
    # Some producers escape slashes.
    (tmp_path / "voided.json").write_text(json.dumps(voiding(FIRST.upper())).replace("/", "\\/"))
    (tmp_path / "term.json").write_text(json.dumps({"statements": [answered()]}))
    (tmp_path / "both.json").write_text(json.dumps([voiding(FIRST), answered()]))
    result = load(*order, "--format", "xapi")
    assert result.exit_code == 0, result.output
    assert "warning: 1 rows void" not in result.output
    assert {event.learner_id for event in service.came} == {"mailto:ada@example.com"}
    assert [event.body for event in service.came if isinstance(event.body, Correction)] == [Correction(FIRST, Void())]


def test_voiding_what_is_not_loaded_with_it_is_of_its_actor_and_the_load_says_so(load, service, tmp_path):
    (tmp_path / "voided.json").write_text(json.dumps(voiding(FIRST)))
    result = load("voided.json", "--format", "xapi", "--json", "summary.json")
    assert result.exit_code == 0
    said = "void a statement that is not loaded with them, so they are of their actor: load both together"
    assert f"warning: 1 rows {said}" in result.output
    assert json.loads((tmp_path / "summary.json").read_text())["remarks"] == {said: 1}
    assert [event.learner_id for event in service.came] == ["http://lms.example.com|admin"]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (answered(result={}), "voids a statement that is left out"),
        (voiding("8f87ccde-bb56-4c2e-ab83-44982ef22df0", FIRST), "voids a voiding statement, which cannot be voided"),
    ],
)
def test_voiding_what_is_no_event_is_left_out(load, service, tmp_path, target, reason):
    (tmp_path / "log.json").write_text(json.dumps([target, voiding(FIRST)]))
    load("log.json", "--format", "xapi", "--json", "summary.json")
    assert json.loads((tmp_path / "summary.json").read_text())["left_out"][reason] == 1
    assert SECOND not in {event.event_id for event in service.came}


def test_what_is_wrong_with_the_event_of_a_statement_is_named_by_its_path(load, service, tmp_path):
    (tmp_path / "log.json").write_text(json.dumps(answered(timestamp="1969-12-31T00:00:00Z")))
    for option in ("--dry-run", "--preview"):
        assert "line 1: timestamp is 86400 s before 1970" in load("log.json", "--format", "xapi", option).output


def test_without_a_format_the_error_names_the_formats(load):
    result = load("tracking.log")
    assert result.exit_code == 2
    assert "--format ndjson|csv|parquet|assistments|xapi|caliper|openedx|qti-results" in result.output.replace("\n", "")


def test_the_notes_of_a_source_of_documents_are_printed(load):
    result = CliRunner().invoke(app, ["sources", "openedx-tracking"])
    assert result.output.startswith("# # Open edX tracking log\n")
    assert "load it with --source openedx-tracking" in result.output
