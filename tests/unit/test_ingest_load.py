"""Loading keeps the order per learner, counts correctly, bounds memory, and stops at the first failure."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.application.load import LoadProgress, load
from services.ingest.application.ports import (
    FieldReason,
    PublisherUnavailableError,
    Row,
    SubmissionResult,
    UnreadableRow,
)
from services.ingest.domain.kinds.assessment import Assessment
from services.ingest.domain.repeats import Outcome
from services.ingest.domain.submission import Submission


def row(line, learner):
    return Row(line, Submission(learner, "s", Assessment(item="i", outcome=True), source_sequence=str(line)), line)


class Recorder:
    """Responds after letting other tasks run, in a different order."""

    def __init__(self, turns=1):
        self.batches = []
        self.in_flight = self.in_flight_max = 0
        self.turns = turns

    async def publish(self, submissions):
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        for _ in range(len(self.batches) % 3 * self.turns + 1):
            await asyncio.sleep(0)
        self.batches.append(submissions)
        self.in_flight -= 1
        return [SubmissionResult()] * len(submissions)


@given(st.lists(st.integers(0, 5), max_size=200), st.integers(1, 5), st.integers(1, 7))
@settings(deadline=None)
def test_each_learners_events_arrive_in_the_files_order(learners, streams, batch_events):
    recorder = Recorder(turns=3)
    rows = [row(line, f"learner-{learner}") for line, learner in enumerate(learners)]
    progress = asyncio.run(load(rows, recorder, reject=lambda *_: None, streams=streams, batch_events=batch_events))
    arrived = {}
    for batch in recorder.batches:
        assert len(batch) <= batch_events
        for submission in batch:
            arrived.setdefault(submission.learner_id, []).append(int(submission.source_sequence))
    assert all(lines == sorted(lines) for lines in arrived.values())
    assert sum(map(len, arrived.values())) == len(rows)
    assert progress == LoadProgress(read=len(rows), new=len(rows))


async def test_several_requests_are_in_flight_at_once():
    recorder = Recorder(turns=5)
    await load(
        (row(line, f"learner-{line}") for line in range(100)),
        recorder,
        reject=lambda *_: None,
        streams=4,
        batch_events=5,
    )
    assert recorder.in_flight_max == 4


async def test_the_file_is_not_read_faster_than_it_is_sent():
    read = []

    def rows():
        for line in range(10_000):
            read.append(line)
            yield row(line, f"learner-{line}")

    release = asyncio.Event()

    class Stuck:
        async def publish(self, submissions):
            await release.wait()
            return [SubmissionResult()] * len(submissions)

    loading = asyncio.ensure_future(load(rows(), Stuck(), reject=lambda *_: None, streams=2, batch_events=10))
    before = -1
    while len(read) != before:
        before = len(read)
        for _ in range(50):
            await asyncio.sleep(0)
    # In flight, waiting and filling: 1 + 2 + 1 batches for each of two streams.
    assert len(read) <= 80
    release.set()
    assert (await loading).new == 10_000


async def test_rejected_and_unreadable_rows_are_handed_over_with_their_lines():
    problem = FieldReason("item", "is empty: name it")

    class Refuses:
        async def publish(self, submissions):
            return [
                SubmissionResult(Outcome.REJECTED, (problem,))
                if submission.source_sequence == "2"
                else SubmissionResult(Outcome.DUPLICATE)
                for submission in submissions
            ]

    rejected = []
    rows = [row(1, "a"), row(2, "a"), UnreadableRow(3, (problem,), "???")]
    progress = await load(rows, Refuses(), reject=lambda *entry: rejected.append(entry))
    assert sorted(rejected, key=lambda entry: entry[0]) == [(2, (problem,), 2), (3, (problem,), "???")]
    assert progress == LoadProgress(read=3, unchanged=1, rejected=2)
    assert progress.answered == progress.read


async def test_an_unavailable_service_ends_the_load_and_keeps_the_counts():
    class Away:
        async def publish(self, submissions):
            if int(submissions[0].source_sequence) > 20:
                raise PublisherUnavailableError("gone")
            return [SubmissionResult()] * len(submissions)

    progress = LoadProgress()
    rows = (row(line, "a") for line in range(1_000))
    with pytest.raises(PublisherUnavailableError, match="gone"):
        await load(rows, Away(), reject=lambda *_: None, progress=progress, batch_events=10)
    assert progress.new == 30  # The batches that start with 0, 10 and 20.
    assert progress.read < 1_000
