"""`cairn ingest load` on files: previews, dry runs, several files, and resuming after an interruption."""

import json

import orjson
import pytest
import yaml
from typer.testing import CliRunner

from services.ingest.application.ports import FieldReason, PublisherUnavailableError, SubmissionResult
from services.ingest.cli import load as cli_load
from services.ingest.cli.ingest import app
from services.ingest.domain.repeats import Outcome

MAPPING = {"columns": {"learner_id": "student", "item": "question", "correct": "result"}, "constants": {"source": "s"}}


class Service:
    """A fake ingest: remembers the requests, and becomes unavailable after a number of them."""

    def __init__(self):
        self.came = []
        self.requests_left = 10**9

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    async def publish(self, submissions):
        self.requests_left -= 1
        if self.requests_left < 0:
            raise PublisherUnavailableError("ingest did not accept the events")
        self.came += submissions
        refused = (FieldReason("assessment.item", "is wrong: fix it"),)
        return [
            SubmissionResult(Outcome.REJECTED, refused) if one.body.item == "bad" else SubmissionResult()
            for one in submissions
        ]


@pytest.fixture
def service(monkeypatch):
    service = Service()
    monkeypatch.setattr(cli_load, "grpc_publisher", lambda *_, **__: service)
    return service


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(MAPPING))

    def run(*arguments):
        result = CliRunner().invoke(
            app, ["load", *map(str, arguments), "--mapping", "map.yaml"], env={"CAIRN_API_KEY": "k", "COLUMNS": "200"}
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def table(path, rows):
    path.write_text("student,question,result\n" + "".join(f"{row}\n" for row in rows))
    return path


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_a_preview_shows_ten_rows_and_the_problems_and_calls_no_service(load, tmp_path):
    file = table(tmp_path / "a.csv", [*(f"ada-{n},q{n},{n % 2}" for n in range(20)), "ben,q,perhaps", ",q,1"])
    result = load(file, "--preview")
    assert result.exit_code == 1
    assert "ada-9" in result.stdout
    assert "ada-10" not in result.stdout
    assert "2 of the first 22 rows have problems" in result.stdout
    assert "line 22: result is 'perhaps', neither right nor wrong" in result.stdout
    assert "line 23: learner_id is empty" in result.stdout
    assert names(tmp_path) == {"map.yaml", "a.csv"}


def test_a_dry_run_checks_every_row_and_writes_nothing(load, tmp_path):
    file = table(tmp_path / "a.csv", [*(f"ada,q{n},1" for n in range(1_200)), ",q,1", "ben,q,perhaps"])
    result = load(file, "--dry-run")
    assert result.exit_code == 1
    assert "1,200" in result.stdout
    assert "a.csv line 1202: learner_id is empty" in result.stdout
    assert "a.csv line 1203: result is 'perhaps'" in result.stdout
    assert names(tmp_path) == {"map.yaml", "a.csv"}


def test_several_files_are_loaded_one_after_the_other_with_one_file_of_problems(load, service, tmp_path):
    one = table(tmp_path / "one.csv", ["ada,q1,1", "ada,bad,1"])
    two = tmp_path / "two.ndjson"
    two.write_bytes(orjson.dumps({"learner_id": "ada", "source": "s", "item": "q2", "correct": True}))
    three = table(tmp_path / "three.csv", ["ada,q3,1", "ada,q3"])
    result = load(one, two, three, "--problems", "problems.ndjson", "--json", "summary.json")
    assert result.exit_code == 1
    assert [one.body.item for one in service.came] == ["q1", "bad", "q2", "q3"]
    problems = [json.loads(line) for line in (tmp_path / "problems.ndjson").read_text().splitlines()]
    assert [(row["file"], row["line"]) for row in problems] == [(str(one), 3), (str(three), 3)]
    files = json.loads((tmp_path / "summary.json").read_text())["files"]
    assert [(entry["new"], entry["rejected"]) for entry in files] == [(1, 1), (1, 0), (1, 1)]


def test_files_with_the_same_name_are_not_loaded_together(load, service, tmp_path):
    files = []
    for folder in ("term1", "term2"):
        (tmp_path / folder).mkdir()
        files.append(table(tmp_path / folder / "grades.csv", ["ada,bad,1"]))
    result = load(*files)
    assert result.exit_code == 2
    assert "grades.csv is given more than once" in result.stderr
    assert not service.came


def test_rejected_rows_are_written_before_the_progress_moves_past_them(load, service, tmp_path, monkeypatch):
    file = table(tmp_path / "a.csv", ["ada,bad,1", "ben,q,1"])
    write, noted = cli_load.LoadProgressFile.write, []

    def with_a_look(self, settled):
        noted.append((settled, (tmp_path / "a.csv.rejected.ndjson").read_bytes().count(b"\n")))
        write(self, settled)

    monkeypatch.setattr(cli_load.LoadProgressFile, "write", with_a_look)
    monkeypatch.setattr(cli_load, "_PROGRESS_EVERY_S", 0.0)
    assert load(file, "--streams", "1").exit_code == 1
    assert noted[0] == (2, 1)


def test_an_interrupted_load_continues_after_the_settled_rows(load, service, tmp_path):
    file = table(tmp_path / "a.csv", [f"learner-{n % 40},q{n},1" for n in range(10_000)])
    service.requests_left = 12
    broken_off = load(file, "--streams", "3")
    assert broken_off.exit_code == 3
    assert "--resume" in broken_off.stderr
    settled = json.loads((tmp_path / "a.csv.progress.json").read_text())["settled"]
    assert 0 < settled <= len(service.came)
    before = {one.body.item for one in service.came}
    assert {f"q{n}" for n in range(settled)} <= before
    service.came.clear()
    service.requests_left = 10**9
    result = load(file, "--streams", "3", "--resume")
    assert result.exit_code == 0
    assert f"{settled:,}" in result.stdout
    assert len(service.came) == 10_000 - settled
    assert before | {one.body.item for one in service.came} == {f"q{n}" for n in range(10_000)}
    assert not (tmp_path / "a.csv.progress.json").exists()


def test_a_load_of_a_changed_file_is_not_resumed(load, service, tmp_path):
    file = table(tmp_path / "a.csv", [f"learner-{n % 40},q{n},1" for n in range(5_000)])
    service.requests_left = 6
    assert load(file).exit_code == 3
    table(file, [f"learner-{n % 40},q{n},0" for n in range(5_001)])
    result = load(file, "--resume")
    assert result.exit_code == 2
    assert "has changed since a.csv.progress.json was written: load without --resume" in result.stderr
    service.requests_left = 10**9
    assert load(file).exit_code == 0


def test_a_mapping_that_cannot_be_used_ends_with_2(load, tmp_path):
    file = table(tmp_path / "a.csv", ["ada,q1,1"])
    (tmp_path / "map.yaml").write_text("columns: {learner_id: student}\n")
    result = load(file, "--dry-run")
    assert result.exit_code == 2
    assert "neither correct nor score is mapped" in result.stderr
