"""`cairn ingest load` with `--aliases` and `--suppress`, against a fake ingest."""

from __future__ import annotations

import json
import re
import stat

import pytest
import yaml
from typer.testing import CliRunner

from services.common.learners.suppression_file import add_to_suppression
from services.ingest.cli import load as cli_load
from services.ingest.cli.ingest import app
from tests.adapters.memory_publisher import MemoryPublisher

MAPPING = {"columns": {"learner_id": "student", "item": "question", "correct": "result"}, "constants": {"source": "s"}}
PEOPLE = "id,sis,mail\n4711,S-1,ada@school.org\n4712,S-2,ben@school.org\n"
ROWS = ("S-1,q1,1", "ada@School.org,q2,0", "4711,q3,1", "ben@school.org,q1,1", "eve,q1,1", "eve,q2,1", "zoe,q1,1")


@pytest.fixture
def service(monkeypatch):
    service = MemoryPublisher()
    monkeypatch.setattr(cli_load, "grpc_publisher", lambda *_, **__: service)
    return service


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(MAPPING))
    (tmp_path / "people.csv").write_text(PEOPLE)
    (tmp_path / "a.csv").write_text("student,question,result\n" + "".join(f"{row}\n" for row in ROWS))

    def run(*arguments):
        result = CliRunner().invoke(
            app,
            ["load", *map(str, arguments), "--mapping", "map.yaml", "--streams", "1"],
            env={"CAIRN_API_KEY": "k", "COLUMNS": "200"},
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def test_rows_of_one_learner_under_three_ids_are_sent_as_one_learner_s(load, service, tmp_path):
    result = load("a.csv", "--aliases", "people.csv", "--json", "summary.json")
    assert result.exit_code == 0
    assert service.learners == ["4711", "4711", "4711", "4712", "eve", "eve", "zoe"]
    assert "unmatched 2 ids of learners are in no row of people.csv" in result.stdout
    assert "see a.csv.unmatched.ndjson" in result.stdout
    assert not {"eve", "'eve'", "zoe", "'zoe'"} & set(result.stdout.split())
    unmatched = tmp_path / "a.csv.unmatched.ndjson"
    assert stat.S_IMODE(unmatched.stat().st_mode) == 0o600
    assert [json.loads(line) for line in unmatched.read_text().splitlines()] == [
        {"id": "eve", "line": 6},
        {"id": "zoe", "line": 8},
    ]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["new"], summary["unmatched_learners"]) == (7, 2)
    assert summary["left_out"] == {}


def test_a_load_whose_ids_all_match_says_so_and_leaves_no_list_of_an_earlier_one(load, service, tmp_path):
    load("a.csv", "--aliases", "people.csv")
    (tmp_path / "people.csv").write_text(PEOPLE + "4713,eve,\n4714,zoe,\n")
    assert "unmatched 0 ids of learners\n" in load("a.csv", "--aliases", "people.csv").stdout
    assert not (tmp_path / "a.csv.unmatched.ndjson").exists()


@pytest.mark.parametrize("mode", ["--dry-run", "--preview"])
def test_a_look_ahead_counts_the_same_and_shows_a_few_ids_and_writes_nothing(load, tmp_path, mode):
    (tmp_path / "suppressed.txt").write_text("4712\n")
    before = {path.name for path in tmp_path.iterdir()}
    result = load("a.csv", "--aliases", "people.csv", "--suppress", "suppressed.txt", mode)
    assert result.exit_code == 0
    assert re.search(r"left out +1 +suppressed", result.stdout)
    assert "unmatched 2 ids of learners are in no row of people.csv, and are taken as they are: 'eve', 'zoe'" in (
        result.stdout
    )
    assert {path.name for path in tmp_path.iterdir()} == before


def test_at_most_three_unmatched_ids_are_shown(load, tmp_path):
    (tmp_path / "a.csv").write_text("student,question,result\n" + "".join(f"x{n},q,1\n" for n in range(9)))
    assert "'x0', 'x1', 'x2', ...\n" in load("a.csv", "--aliases", "people.csv", "--dry-run").stdout


def test_an_erased_learner_does_not_come_back_under_any_id(load, service, tmp_path):
    add_to_suppression(tmp_path / "suppressed.csv", "S-1")
    result = load("a.csv", "--suppress", "suppressed.csv", "--aliases", "people.csv", "--json", "summary.json")
    assert result.exit_code == 0
    assert service.learners == ["4712", "eve", "eve", "zoe"]
    assert re.search(r"left out +3 +suppressed", result.stdout)
    assert not {"S-1", "4711", "ada"} & set(result.stdout.split())
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["read"], summary["new"], summary["left_out"]) == (7, 4, {"suppressed": 3})


def test_an_interrupted_load_is_resumed_only_with_the_same_people(load, service, tmp_path):
    rows = [f"{('S-1', '4711', 'eve')[n % 3]},q{n},1\n" for n in range(1_500)]
    (tmp_path / "a.csv").write_text("student,question,result\n" + "".join(rows))
    service.requests_left = 1
    assert load("a.csv", "--aliases", "people.csv").exit_code == 3
    service.requests_left = 10**9
    (tmp_path / "people.csv").write_text(PEOPLE + "4713,eve,\n")
    changed = load("a.csv", "--aliases", "people.csv", "--resume")
    assert (changed.exit_code, "has changed since" in changed.stderr) == (2, True)
    (tmp_path / "people.csv").write_text(PEOPLE)
    assert load("a.csv", "--aliases", "people.csv", "--resume").exit_code == 0
    assert [(one.learner_id, one.body.item) for one in service.came] == [
        (("4711", "4711", "eve")[n % 3], f"q{n}") for n in range(1_500)
    ]
    assert len((tmp_path / "a.csv.unmatched.ndjson").read_text().splitlines()) == 1


@pytest.mark.parametrize("option", ["--aliases", "--suppress"])
def test_an_unusable_file_of_people_ends_the_load_before_anything_is_sent(load, service, tmp_path, option):
    (tmp_path / "bad.csv").write_text("name,mail\nA,a@b\n")
    result = load("a.csv", option, "bad.csv")
    assert (result.exit_code, service.came) == (2, [])
    assert "bad.csv has the columns name, mail" in result.stderr
    missing = load("a.csv", option, "missing.csv")
    assert (missing.exit_code, "missing.csv cannot be read" in missing.stderr) == (2, True)


def test_the_list_of_unmatched_ids_is_never_written_over_a_file_that_is_read(load, service, tmp_path):
    (tmp_path / "a.csv.unmatched.ndjson").write_text(PEOPLE)
    result = load("a.csv", "--aliases", "a.csv.unmatched.ndjson")
    assert result.exit_code == 2
    assert "a.csv.unmatched.ndjson is read, and would be written over" in result.stderr
    assert (tmp_path / "a.csv.unmatched.ndjson").read_text() == PEOPLE
