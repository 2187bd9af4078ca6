"""One message of a foreign topic: everything of it is kept before the call returns, or the call raises."""

from __future__ import annotations

import asyncio

import pytest

from services.ingest.application.ports import (
    FieldReason,
    FileRow,
    LeftOutRow,
    PublisherUnavailableError,
    Row,
    SubmissionResult,
    UnreadableRow,
)
from services.ingest.application.take_message import Message, MessageOutcome, TakeMessage
from services.ingest.domain.kinds.assessment import Assessment
from services.ingest.domain.repeats import Outcome
from services.ingest.domain.submission import Submission
from tests.adapters.memory_publisher import MemoryPublisher

_MESSAGE = Message("bus", 0, 7, None, b"value")
_WRONG = FieldReason("time", "is wrong: correct it")


class Letters:
    """Remembers letters, or fails."""

    def __init__(self, *, fails: bool = False) -> None:
        self.written: list[tuple[Message, FieldReason]] = []
        self._fails = fails

    async def write(self, message: Message, problem: FieldReason) -> None:
        if self._fails:
            raise ConnectionError("the dead letters cannot be written")
        self.written.append((message, problem))


def _answer(item: str) -> Row:
    return Row(7, Submission("ada", "s", Assessment(item, outcome=True)), None)


def _take(rows: list[FileRow], publisher: object, letters: Letters) -> MessageOutcome:
    return asyncio.run(TakeMessage(lambda _: rows, publisher, letters)(_MESSAGE))  # type: ignore[arg-type]


def test_the_events_of_a_message_go_to_ingest_in_one_request_and_in_order() -> None:
    publisher, letters = MemoryPublisher(), Letters()
    publisher.requests_left = 1
    outcome = _take([_answer("a"), LeftOutRow(7, "video"), _answer("b")], publisher, letters)
    assert [submission.body.item for submission in publisher.came] == ["a", "b"]
    assert outcome == MessageOutcome(events=2, left_out=["video"])
    assert letters.written == []


def test_a_message_without_events_asks_nothing_of_ingest() -> None:
    publisher = MemoryPublisher()
    publisher.requests_left = 0
    assert _take([LeftOutRow(7, "video")], publisher, Letters()) == MessageOutcome(left_out=["video"])


@pytest.mark.parametrize(
    ("rows", "problem", "events"),
    [
        ([UnreadableRow(7, (_WRONG,), None)], _WRONG, 0),
        ([_answer("a"), _answer("bad")], FieldReason("assessment.item", "is wrong: fix it"), 1),
    ],
)
def test_what_cannot_be_read_or_is_refused_is_kept_as_a_letter(
    rows: list[FileRow], problem: FieldReason, events: int
) -> None:
    letters = Letters()
    outcome = _take(rows, MemoryPublisher(), letters)
    assert letters.written == [(_MESSAGE, problem)]
    assert (outcome.events, outcome.problems) == (events, [problem])


def test_a_conflict_is_kept_and_a_repeat_or_a_revision_is_taken() -> None:
    class Answers:
        async def publish(self, submissions: list[Submission]) -> list[SubmissionResult]:
            return [SubmissionResult(Outcome(one.body.item)) for one in submissions]  # type: ignore[union-attr]

    letters = Letters()
    outcome = _take([_answer("duplicate"), _answer("revised"), _answer("conflict")], Answers(), letters)
    assert outcome.events == 2
    assert [problem.reason for _, problem in letters.written] == ["was not accepted"]


def test_a_message_that_cannot_be_kept_raises() -> None:
    publisher = MemoryPublisher()
    publisher.requests_left = 0
    with pytest.raises(PublisherUnavailableError):
        _take([_answer("a")], publisher, Letters())
    with pytest.raises(ConnectionError, match="dead letters"):
        _take([UnreadableRow(7, (_WRONG,), None)], MemoryPublisher(), Letters(fails=True))
