"""Rows without ids: each is an act of its own, and files that were loaded before, by any release, change nothing."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
import yaml
from typer.testing import CliRunner

from services.common.auth.identity import natural_event_id
from services.common.auth.tenant import Tenant
from services.ingest.application.ports import FieldReason, PublisherUnavailableError, SubmissionResult
from services.ingest.application.publish import PublishEvents
from services.ingest.cli import load as cli_load
from services.ingest.cli.ingest import app
from services.ingest.wire.submissions import submission_message, submission_of
from tests.adapters.memory_event_log import MemoryEventLog, MemorySkillTags
from tests.adapters.memory_recent_events import MemoryRecentEvents

TENANT = Tenant("riverbend", b"0123456789abcdef")
NOW = datetime(2026, 12, 1, tzinfo=UTC)


class Ingest:
    """The service without a network: what was sent is read again from its message."""

    def __init__(self):
        self.log = MemoryEventLog(partitions=1)
        self.publish_events = PublishEvents(self.log, MemoryRecentEvents(), MemorySkillTags({}), lambda: NOW)
        self.requests_left = 10**9

    async def publish(self, submissions):
        self.requests_left -= 1
        if self.requests_left < 0:
            raise PublisherUnavailableError("ingest did not accept the events")
        sent = [submission_of(submission_message(submission)) for submission in submissions]
        outcomes = await self.publish_events(TENANT, sent)
        return [
            SubmissionResult(outcome.outcome, tuple(FieldReason(p.field, p.reason) for p in outcome.problems))
            for outcome in outcomes
        ]

    @property
    def events(self):
        return self.log.partitions[0]


def applied(events, before=()):
    """The events that count, by the contract: each id once, and none whose former id was applied."""
    ids, counted = {(event.learner, event.event_id) for event in before}, list(before)
    for event in events:
        if (event.learner, event.event_id) in ids or (event.learner, event.former_event_id) in ids:
            continue
        ids.add((event.learner, event.event_id))
        counted.append(event)
    return counted


def by_the_first_release(event):
    """The event with the id that the first release gave it: of source, learner, item, activity, time and sequence."""
    assessment, occurred_at = event.body.assessment, event.occurred_at
    key = (assessment.item, assessment.activity, "" if occurred_at is None else str(occurred_at), "")
    return natural_event_id(("riverbend", event.source, event.learner, *key))


@pytest.fixture
def ingest(monkeypatch):
    ingest = Ingest()

    @asynccontextmanager
    async def connected(*_, **__):
        yield ingest

    monkeypatch.setattr(cli_load, "grpc_publisher", connected)
    return ingest


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(name, content, mapping, *arguments):
        (tmp_path / name).write_text(content)
        (tmp_path / "map.yaml").write_text(yaml.safe_dump(mapping))
        command = ["load", name, "--mapping", "map.yaml", *arguments]
        result = CliRunner().invoke(app, command, env={"CAIRN_API_KEY": "k"})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code

    return run


STANDARDS = """pupil,test,finished,standard,points
s1,fall,2026-09-14T13:05:00Z,3.NF.A.1,80
s1,fall,2026-09-14T13:05:00Z,3.NF.A.3,35
s1,fall,2026-09-14T13:05:00Z,3.OA.A.1,95
s2,fall,2026-09-14T13:05:00Z,3.OA.A.1,95
"""
STANDARDS_MAP = {
    "columns": {
        "learner_id": "pupil",
        "activity": "test",
        "skills": "standard",
        "score": "points",
        "occurred_at": "finished",
    },
    "constants": {"source": "benchmark"},
    "score_max": 100,
}
TRIES = "pupil,question,try,ok\nb1,q7,1,0\nb1,q7,2,0\nb1,q7,3,1\n"
TRIES_MAP = {
    "columns": {"learner_id": "pupil", "item": "question", "attempt": "try", "correct": "ok"},
    "constants": {"source": "drills"},
}
REPEATS = "pupil,question,ok\nb1,q7,0\nb1,q7,0\nb2,q7,1\nb1,q7,1\nb1,q8,1\n"
REPEATS_MAP = {
    "columns": {"learner_id": "pupil", "item": "question", "correct": "ok"},
    "constants": {"source": "drills"},
}
GOALS = "pupil,test,taken,goal_a,points_a,goal_b,points_b\ng1,fall,2026-09-16T13:54:00Z,3.NF.A.1,80,3.OA.A.1,20\n"


def goal_map(letter):
    return {
        "columns": {
            "learner_id": "pupil",
            "activity": "test",
            "occurred_at": "taken",
            "skills": f"goal_{letter}",
            "score": f"points_{letter}",
        },
        "constants": {"source": "map"},
        "score_max": 100,
    }


@pytest.mark.parametrize(
    ("content", "mapping"),
    [(STANDARDS, STANDARDS_MAP), (TRIES, TRIES_MAP), (REPEATS, REPEATS_MAP)],
    ids=["standards of one test", "attempts", "untimed repeats"],
)
def test_every_row_counts_once_however_often_the_file_is_loaded(load, ingest, content, mapping):
    rows = content.count("\n") - 1
    for _ in range(2):
        assert load("grades.csv", content, mapping) == 0
    assert len(ingest.events) == 2 * rows
    assert applied(ingest.events) == ingest.events[:rows]


def test_two_mappings_of_one_file_count_side_by_side(load, ingest):
    for letter in "abab":
        assert load("goals.csv", GOALS, goal_map(letter)) == 0
    assert [event.body.skills for event in applied(ingest.events)] == [("3.NF.A.1",), ("3.OA.A.1",)]


@pytest.mark.parametrize(
    ("content", "mapping", "lost"),
    [(STANDARDS, STANDARDS_MAP, [1, 2]), (TRIES, TRIES_MAP, [1, 2]), (REPEATS, REPEATS_MAP, [1, 3])],
    ids=["standards of one test", "attempts", "untimed repeats"],
)
def test_a_file_that_the_first_release_loaded_adds_what_was_lost_then_and_nothing_else(
    load, ingest, content, mapping, lost
):
    assert load("grades.csv", content, mapping, "--streams", "1") == 0
    rows = list(ingest.events)
    # The first release wrote the first row of each of its keys, and took the others for repeats.
    first: dict = {}
    for row in rows:
        first.setdefault((row.learner, by_the_first_release(row)), row)
    before = [_renamed(row, event_id) for (_, event_id), row in first.items()]
    now = applied(rows, before)[len(before) :]
    assert [rows.index(event) for event in now] == lost


def _renamed(event, event_id):
    changes = {"event_id": event_id, "former_event_id": ""}
    return type(event)(**{name: changes.get(name, getattr(event, name)) for name in event.__dataclass_fields__})


def test_rows_that_say_no_more_than_before_keep_the_ids_of_the_first_release(load, ingest):
    content = "pupil,question,ok,at\nb1,q1,0,2026-09-14T13:05:00Z\nb1,q2,1,2026-09-14T13:06:00Z\n"
    mapping = {**REPEATS_MAP, "columns": {**REPEATS_MAP["columns"], "occurred_at": "at"}}
    assert load("grades.csv", content, mapping) == 0
    assert [event.event_id for event in ingest.events] == [by_the_first_release(event) for event in ingest.events]
    assert {event.former_event_id for event in ingest.events} == {""}


def test_a_resumed_load_counts_the_rows_it_passes_over(load, ingest):
    content = "pupil,question,ok\n" + "".join(f"b{n % 3},q,{n % 2}\n" for n in range(3_000))
    ingest.requests_left = 3
    assert load("grades.csv", content, REPEATS_MAP, "--streams", "1") == 3
    ingest.requests_left = 10**9
    assert load("grades.csv", content, REPEATS_MAP, "--resume") == 0
    resumed = applied(ingest.events)
    assert len(resumed) == 3_000
    whole, ingest.log.partitions[0] = ingest.log.partitions[0], []
    assert load("grades.csv", content, REPEATS_MAP) == 0
    assert len(ingest.events) == 3_000
    assert applied(ingest.events, whole) == applied(whole)
