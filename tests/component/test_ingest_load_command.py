"""`cairn ingest load` on files: previews, dry runs, several files, and resuming after an interruption."""

import json
import os
import resource
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime

import orjson
import pytest
import yaml
from typer.testing import CliRunner

from services.common.auth.tenant import Tenant
from services.ingest.adapters.load_progress_file import fingerprint_of
from services.ingest.application.publish import PublishEvents
from services.ingest.cli import load as cli_load
from services.ingest.cli.ingest import app
from services.ingest.wire.replies import response_of, results_of
from services.ingest.wire.submissions import submission_message, submission_of
from tests.adapters.memory_event_log import MemoryEventLog, MemorySkillTags
from tests.adapters.memory_publisher import MemoryPublisher
from tests.adapters.memory_recent_events import MemoryRecentEvents

MAPPING = {"columns": {"learner_id": "student", "item": "question", "correct": "result"}, "constants": {"source": "s"}}


@pytest.fixture
def service(monkeypatch):
    service = MemoryPublisher()
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


@pytest.mark.parametrize("together", [True, False], ids=["one load", "separate loads"])
def test_files_with_the_same_name_keep_their_own_rejected_rows(load, service, tmp_path, together):
    files = []
    for folder in ("term1", "term2", "."):
        (tmp_path / folder).mkdir(exist_ok=True)
        files.append(table(tmp_path / folder / "grades.csv", [f"ada-{folder},bad,1"]))
    for group in [files] if together else [[file] for file in files]:
        assert load(*group).exit_code == 1
    kept = sorted(path.name for path in tmp_path.glob("*.rejected.ndjson"))
    assert "grades.csv.rejected.ndjson" in kept
    rows = [json.loads(line) for name in kept for line in (tmp_path / name).read_text().splitlines()]
    assert {row["file"]: row["row"]["student"] for row in rows} == {
        str(file): f"ada-{folder}" for folder, file in zip(("term1", "term2", "."), files, strict=True)
    }


def test_files_with_the_same_name_keep_their_own_progress(load, service, tmp_path):
    files = []
    for folder in ("term1", "term2"):
        (tmp_path / folder).mkdir()
        files.append(table(tmp_path / folder / "grades.csv", [f"{folder},q{n},1" for n in range(1_200)]))
    for file in files:
        service.requests_left = 1
        assert load(file, "--streams", "1").exit_code == 3
    service.requests_left = 10**9
    for file in files:
        assert "500" in load(file, "--resume").stdout
    assert sorted(Counter(one.learner_id for one in service.came).items()) == [("term1", 1_200), ("term2", 1_200)]


@pytest.mark.parametrize(
    ("options", "tls"),
    [
        (["--target", "127.0.0.1:50051"], False),
        (["--target", "ingest.example:443"], True),
        (["--target", "ingest.example:443", "--insecure"], False),
        (["--target", "127.0.0.1:50051", "--tls"], True),
        (["--target", "ingest.example:443", "--tls", "--insecure"], True),
    ],
    ids=["this machine", "another", "another, insecure", "this machine, as asked", "another, as earlier releases"],
)
def test_other_machines_are_called_with_tls_as_by_every_command(load, service, tmp_path, monkeypatch, options, tls):
    asked = []
    monkeypatch.setattr(cli_load, "grpc_publisher", lambda *_, **settings: asked.append(settings["tls"]) or service)
    assert load(table(tmp_path / "a.csv", ["ada,q1,1"]), *options).exit_code == 0
    assert asked == [tls]


def test_a_file_without_rows_is_counted_too(load, service, tmp_path):
    result = load(table(tmp_path / "a.csv", []), "--json", "summary.json")
    assert result.exit_code == 0
    assert "read" in result.stdout
    assert json.loads((tmp_path / "summary.json").read_bytes())["read"] == 0


def test_a_file_is_named_once(load, service, tmp_path):
    file = table(tmp_path / "a.csv", ["ada,q,1"])
    result = load(file, "a.csv")
    assert result.exit_code == 2
    assert "is given more than once" in result.stderr
    assert not service.came


@pytest.mark.parametrize(
    ("options", "lost"),
    [
        (["--problems", "a.csv"], "a.csv"),
        (["--problems", "link.csv"], "link.csv"),
        (["--problems", "map.yaml"], "map.yaml"),
        (["--json", "a.csv"], "a.csv"),
        (["a.csv.rejected.ndjson"], "a.csv.rejected.ndjson"),
        (["--problems", "new.ndjson", "--json", "./new.ndjson"], "new.ndjson"),
    ],
)
def test_a_load_writes_over_no_file_that_it_reads_or_wrote(load, service, tmp_path, options, lost):
    table(tmp_path / "a.csv", ["ada,q1,1", "ada,bad,1"])
    (tmp_path / "link.csv").symlink_to("a.csv")
    row = {"learner_id": "ada", "source": "s", "item": "q2", "correct": True}
    (tmp_path / "a.csv.rejected.ndjson").write_bytes(orjson.dumps(row))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    result = load("a.csv", *options)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert result.exit_code == 2
    assert lost in result.stderr
    assert service.came == []


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


def test_one_changed_character_in_the_middle_of_a_file_makes_another_one_of_it(tmp_path):
    rows = [f"learner-{n:04},q{n:05},1" for n in range(10_000)]
    before = fingerprint_of(table(tmp_path / "a.csv", rows), "")
    rows[5_000] = "learner-XXXX,q05000,1"
    assert fingerprint_of(table(tmp_path / "a.csv", rows), "") != before


def test_a_mapping_that_cannot_be_used_ends_with_2(load, tmp_path):
    file = table(tmp_path / "a.csv", ["ada,q1,1"])
    (tmp_path / "map.yaml").write_text("columns: {learner_id: student}\n")
    result = load(file, "--dry-run")
    assert result.exit_code == 2
    assert "neither correct nor score is mapped" in result.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty: `cairn ingest mapping` proposes one"),
        ("student,question", "has no keys such as `columns:`"),
        ("columns: [student]", "columns: is ['student']: give it keys, each with a value"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused_in_plain_words(load, tmp_path, content, said):
    file = table(tmp_path / "a.csv", ["ada,q1,1"])
    (tmp_path / "map.yaml").write_text(content)
    result = load(file, "--dry-run")
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize("command", ["--dry-run", "--preview", "--resume"])
def test_a_pipe_is_refused_before_anything_is_read_from_it(load, service, tmp_path, command):
    os.mkfifo(tmp_path / "pipe.csv")
    result = load(tmp_path / "pipe.csv", command)
    assert result.exit_code == 2
    assert "pipe.csv is a pipe or a device, which can be read only once: save it to a file first" in result.stderr


def test_the_name_of_a_file_is_shown_as_it_is(load, service, tmp_path):
    result = load(table(tmp_path / "marks [red].csv", ["ada,q1,1", "ada,q2,perhaps"]))
    assert "see marks [red].csv.rejected.ndjson" in result.stdout


def test_rejected_rows_and_the_summary_name_a_file_whose_name_is_no_utf_8(load, service, tmp_path):
    result = load(
        table(tmp_path / os.fsdecode(b"Br\xfcche.csv"), ["ada,q1,1", "ada,q2,perhaps"]),
        *("--problems", "problems.ndjson", "--json", "summary.json"),
    )
    assert result.exit_code == 1
    row = json.loads((tmp_path / "problems.ndjson").read_text(encoding="utf-8"))
    assert row["file"] == summary_of(tmp_path)["file"] == f"{tmp_path}/Br\ufffdche.csv"


def test_a_terminal_that_lacks_a_character_shows_its_escape(load, tmp_path):
    file = table(tmp_path / "Br\u00fcche.csv", ["ada,q1,perhaps"])
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "ingest", "load", str(file), "--mapping", "map.yaml", "--dry-run"],
        env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, b"")
    assert rb"Br\xfcche.csv line 2: result is 'perhaps'" in done.stdout


@pytest.fixture
def full_disk():
    """Files of this process may not grow beyond 1000 bytes, as on a disk that is full: a part of a row fits."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_named_by_the_file_that_did_not_fit_and_leaves_whole_rows(load, service, tmp_path, full_disk):
    result = load(table(tmp_path / "a.csv", [f"ada,bad-{n},perhaps" for n in range(30)]))
    assert result.exit_code == 2
    assert "a.csv.rejected.ndjson cannot be used: File too large" in result.stderr
    rows = (tmp_path / "a.csv.rejected.ndjson").read_bytes()
    assert rows.endswith(b"}}\n")
    kept = [json.loads(row)["line"] for row in rows.splitlines()]
    assert kept
    assert kept == list(range(2, 2 + len(kept)))


class Gradebook:
    """Ingest without a network: what was sent is read again from its message."""

    def __init__(self):
        self.log, self.recent = MemoryEventLog(partitions=1), MemoryRecentEvents()
        self.publish_events = PublishEvents(
            self.log, self.recent, MemorySkillTags(), lambda: datetime(2026, 12, 1, tzinfo=UTC)
        )

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    async def publish(self, submissions):
        sent = [submission_of(submission_message(submission)) for submission in submissions]
        outcomes = await self.publish_events(Tenant("riverbend", b"0123456789abcdef"), sent)
        return results_of(response_of(outcomes))


@pytest.fixture
def gradebook(monkeypatch):
    gradebook = Gradebook()
    monkeypatch.setattr(cli_load, "grpc_publisher", lambda *_, **__: gradebook)
    return gradebook


def lines(path, *rows, **common):
    common = {"source": "gradebook", "activity": "unit-1", "skills": ["3.OA.A.1"]} | common
    path.write_bytes(b"".join(orjson.dumps(common | row) + b"\n" for row in rows))
    return path


def grade(learner, points, **fields):
    return {"learner_id": learner, "score": {"raw": points, "min": 0, "max": 10}} | fields


def summary_of(tmp_path):
    return json.loads((tmp_path / "summary.json").read_text())


COUNTS = ("new", "unchanged", "revised", "conflicts", "rejected")


def counts_of(tmp_path):
    return tuple(summary_of(tmp_path)[name] for name in COUNTS)


def test_a_regraded_gradebook_is_a_conflict_that_is_named_until_its_rows_say_that_they_revise(
    load, gradebook, tmp_path
):
    week1 = lines(tmp_path / "week1.ndjson", grade("c-1", 2), grade("c-2", 9))
    week2 = lines(tmp_path / "week2.ndjson", grade("c-1", 9), grade("c-2", 9))
    revised = lines(tmp_path / "revised.ndjson", grade("c-1", 9), grade("c-2", 9), revises=True)

    assert load(week1, "--json", "summary.json").exit_code == 0
    assert counts_of(tmp_path) == (2, 0, 0, 0, 0)

    result = load(week2, "--json", "summary.json")
    assert result.exit_code == 1
    assert counts_of(tmp_path) == (0, 1, 0, 1, 0)
    assert [line.split()[:2] for line in result.stdout.splitlines()[1:6]] == [
        ["new", "0"],
        ["unchanged", "1"],
        ["revised", "0"],
        ["conflicts", "1"],
        ["rejected", "0"],
    ]
    assert "see week2.ndjson.rejected.ndjson" in result.stdout
    (row,) = [json.loads(line) for line in (tmp_path / "week2.ndjson.rejected.ndjson").read_text().splitlines()]
    assert row["line"] == 1
    assert [reason["field"] for reason in row["reasons"]] == ["assessment.score"]
    assert "revises: true" in row["reasons"][0]["reason"]

    assert load(revised, "--json", "summary.json").exit_code == 0
    assert counts_of(tmp_path) == (0, 1, 1, 0, 0)
    written = sorted((event.revises, event.body.assessment.outcome.raw) for event in gradebook.log.partitions[0])
    # Unchanged rows are written again, so that a log that lost them has them.
    assert written == [(False, 2), (False, 9), (False, 9), (True, 9), (True, 9)]


def test_a_regraded_table_is_revised_if_its_mapping_says_so(load, gradebook, tmp_path):
    gradebook_columns = {"learner_id": "pupil", "activity": "quiz", "score": "points", "score_max": "max"}
    mapping = {"columns": gradebook_columns, "constants": {"source": "g"}, "revises": True}
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(mapping))
    weeks = []
    for points in (2, 9):
        weeks.append(tmp_path / f"points-{points}.csv")
        weeks[-1].write_text(f"pupil,quiz,points,max\nc-1,unit-1,{points},10\nc-2,unit-1,9,10\n")
    assert load(weeks[0], "--json", "summary.json").exit_code == 0
    assert counts_of(tmp_path) == (2, 0, 0, 0, 0)
    assert load(weeks[1], "--json", "summary.json").exit_code == 0
    assert counts_of(tmp_path) == (0, 1, 1, 0, 0)
    assert load(weeks[1], "--json", "summary.json").exit_code == 0
    assert counts_of(tmp_path) == (0, 2, 0, 0, 0)


WIDE = {
    "columns": {"learner_id": "student", "occurred_at": "day"},
    "constants": {"source": "g", "skills": "3.NF.A.1"},
    "unpivot": [{"columns": "^(?P<item>q.)$"}],
    "drop": [{"column": "student", "is": "average"}],
    "score_max": 4,
    "time_zone": "UTC",
}


@pytest.mark.parametrize("mode", ["--preview", "--dry-run", None])
def test_what_is_left_out_is_counted_by_its_reason_and_is_no_failure(load, gradebook, tmp_path, mode):
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(WIDE))
    file = tmp_path / "wide.csv"
    file.write_text("student,day,q1,q2\nada,2026-03-02,1,EX\nben,2026-03-04,3,4\naverage,,2,4\n")
    result = load(file, *([] if mode is None else [mode]), "--json", "summary.json")
    assert result.exit_code == 0
    shown = [" ".join(line.split()) for line in result.stdout.splitlines()]
    for line in (
        "left out 1 without an outcome",
        "left out 1 drop 1 (student)",
        "learners 2",
        "acts 3",
        "skills 1 most often 3.NF.A.1 (3)",
        "dates 2026-03-02 00:00 to 2026-03-04 00:00 (UTC)",
    ):
        assert line in shown
    if mode != "--preview":
        summary = summary_of(tmp_path)
        assert summary["left_out"] == {"without an outcome": 1, "drop 1 (student)": 1}
        assert (summary["read"], summary["new"], summary["found"]["learners"]) == (5, 3, 2)


def test_a_load_writes_over_no_companion(load, service, tmp_path):
    (tmp_path / "items.csv").write_text("id,skill\nq,s\n")
    join = {"file": "items.csv", "by": {"question": "id"}, "take": ["skill"]}
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(MAPPING | {"join": [join]}))
    result = load(table(tmp_path / "a.csv", ["ada,q,1"]), "--problems", "items.csv")
    assert result.exit_code == 2
    assert "items.csv is read, and would be written over" in result.stderr


def test_a_load_whose_companion_changed_is_not_resumed(load, service, tmp_path):
    companion = tmp_path / "items.csv"
    companion.write_text("id,skill\nq,s\n")
    join = {"file": "items.csv", "by": {"question": "id"}, "take": ["skill"]}
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(MAPPING | {"join": [join]}))
    file = table(tmp_path / "a.csv", [f"learner-{n % 40},q,1" for n in range(5_000)])
    service.requests_left = 6
    assert load(file).exit_code == 3
    companion.write_text("id,skill\nq,t\n")
    result = load(file, "--resume")
    assert result.exit_code == 2
    assert "has changed since" in result.stderr


def test_four_hundred_learners_with_the_same_event_ids_lose_none(load, gradebook, tmp_path):
    rows = [grade(f"learner-{n}", 5, event_id=f"attempt-{k}", attempt=k) for n in range(400) for k in range(1, 6)]
    assert load(lines(tmp_path / "a.ndjson", *rows), "--json", "summary.json").exit_code == 0
    assert counts_of(tmp_path) == (2_000, 0, 0, 0, 0)
    assert len(gradebook.log.partitions[0]) == 2_000


def test_only_an_assessment_may_revise_in_a_file(load, gradebook, tmp_path):
    file = tmp_path / "a.ndjson"
    file.write_bytes(
        orjson.dumps({"learner_id": "ada", "source": "s", "corrects": "e1", "void": True, "revises": True})
    )
    assert load(file).exit_code == 1
    (row,) = [json.loads(line) for line in (tmp_path / "a.ndjson.rejected.ndjson").read_text().splitlines()]
    assert [reason["field"] for reason in row["reasons"]] == ["revises"]


def test_a_year_loaded_after_a_later_one_is_warned_of_and_a_file_in_order_is_not(load, gradebook, tmp_path):
    def year(number):
        return [
            grade(f"learner-{n % 3}", 5, event_id=f"{number}-{n}", occurred_at=f"{number}-03-{n + 1:02}T09:00:00Z")
            for n in range(9)
        ]

    later = load(lines(tmp_path / "2026.ndjson", *year(2026)), "--json", "summary.json")
    assert (later.exit_code, "warning" in later.stdout, summary_of(tmp_path)["older"]) == (0, False, 0)
    earlier = load(lines(tmp_path / "2025.ndjson", *year(2025)), "--json", "summary.json")
    assert earlier.exit_code == 0
    assert "9 rows of 3 learners are older than what was known" in earlier.stdout
    assert "cairn replay --order occurred" in earlier.stdout
    assert (summary_of(tmp_path)["older"], summary_of(tmp_path)["older_learners"]) == (9, 3)
    again = load(tmp_path / "2025.ndjson", "--json", "summary.json")
    assert ("warning" in again.stdout, counts_of(tmp_path)) == (False, (0, 9, 0, 0, 0))


def test_a_load_that_was_not_compared_says_so(load, gradebook, tmp_path):
    file = lines(tmp_path / "a.ndjson", grade("ada", 2))
    load(file)
    gradebook.recent.available = False
    result = load(file, "--json", "summary.json")
    assert "1 rows were not compared with earlier loads" in result.stdout
    assert (summary_of(tmp_path)["not_compared"], counts_of(tmp_path)) == (1, (1, 0, 0, 0, 0))


def test_rows_that_are_evidence_of_no_skill_are_counted_apart_and_some_of_their_items_named(load, gradebook, tmp_path):
    rows = [
        grade("ada", 2, activity="quiz-7", skills=[]),
        grade("ben", 3, activity="quiz-7", skills=[]),
        grade("ada", 4),
    ]
    result = load(lines(tmp_path / "a.ndjson", *rows), "--json", "summary.json")
    assert result.exit_code == 0
    assert "2 rows are evidence of no skill, so they teach nothing yet: quiz-7;" in result.stdout
    assert (summary_of(tmp_path)["without_skills"], summary_of(tmp_path)["new"]) == (2, 3)
