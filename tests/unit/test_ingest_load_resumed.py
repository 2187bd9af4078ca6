"""A load that is interrupted anywhere and resumed, repeated, or divided, gives the log of one load."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.application.file_ordinals import with_ordinals
from services.ingest.application.load import LoadProgress, load
from services.ingest.application.ports import PublisherUnavailableError, SubmissionResult
from services.ingest.domain.submission import event_ids_of
from tests.mapped_tables import mapped

MAPPING = {
    "columns": {"learner_id": "who"},
    "unpivot": [{"columns": "^(?P<item>q.)$"}],
    "drop": [{"column": "who", "is": "test"}],
    "score_max": 5,
}
CELLS = st.sampled_from(["1", "1", "2", "", "-", "x"])
ROWS = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "test", "a,"]), CELLS, CELLS, CELLS), max_size=12)


class Log:
    """Takes a number of requests. It has each learner's events in their order, and one that comes again only once."""

    def __init__(self, requests_left):
        self.events = {}
        self.requests_left = requests_left

    async def publish(self, submissions):
        self.requests_left -= 1
        await asyncio.sleep(0)
        if self.requests_left < 0:
            raise PublisherUnavailableError("gone")
        for each in submissions:
            learner = self.events.setdefault(each.learner_id, {})
            learner.setdefault(event_ids_of(each, "t", each.learner_id)[0], each.body)
        return [SubmissionResult()] * len(submissions)

    def contents(self):
        return {learner: list(events.items()) for learner, events in self.events.items()}


def table(lines):
    return "\n".join(lines) + "\n"


def loaded(folder, content, log, progress, rejected, mapping=MAPPING):
    rows = itertools.islice(with_ordinals(mapped(folder, content, mapping)), progress.settled, None)
    try:
        asyncio.run(
            load(
                rows,
                log,
                reject=lambda line, *_: rejected.append(line),
                progress=progress,
                streams=2,
                batch_events=2,
            )
        )
    except PublisherUnavailableError:
        return False
    return True


@given(ROWS, st.lists(st.integers(0, 6), max_size=3))
@settings(deadline=None)
def test_the_log_is_the_same_wherever_a_load_was_interrupted(rows, interruptions):
    lines = ["who,q1,q2,q3", *(",".join([f'"{row[0]}"', *row[1:]]) for row in rows)]
    content = table(lines)
    with tempfile.TemporaryDirectory() as name:
        folder, whole, parts = Path(name), Log(10**9), Log(0)
        progress, in_one, in_parts = LoadProgress(), [], []
        assert loaded(folder, content, whole, progress, in_one)
        assert progress.read == progress.settled == progress.answered + progress.left_out.total()
        settled = 0
        for requests in [*interruptions, 10**9]:
            parts.requests_left = requests
            resumed = LoadProgress(settled=settled)
            done = loaded(folder, content, parts, resumed, in_parts)
            settled = resumed.settled
        assert done
        assert settled == progress.settled
        assert parts.contents() == whole.contents()
        # A row may be refused by both loads, but by neither is it forgotten.
        assert set(in_parts) == set(in_one)
        assert not Counter(in_one) - Counter(in_parts)


@given(ROWS)
@settings(deadline=None)
def test_a_file_that_is_loaded_twice_changes_nothing(rows):
    content = table(["who,q1,q2,q3", *(",".join([f'"{row[0]}"', *row[1:]]) for row in rows)])
    with tempfile.TemporaryDirectory() as name:
        log, once, again = Log(10**9), [], []
        assert loaded(Path(name), content, log, LoadProgress(), once)
        first = log.contents()
        assert loaded(Path(name), content, log, LoadProgress(), again)
    assert log.contents() == first
    assert again == once


@given(ROWS, st.integers(0, 12))
@settings(deadline=None)
def test_a_file_in_two_parts_gives_the_log_of_the_whole(rows, cut):
    # Times differ: equal rows of two files are one act, as the documents say.
    lines = [f'"{row[0]}",{",".join(row[1:])},2026-03-02T10:{minute:02}:00Z' for minute, row in enumerate(rows)]
    header = "who,q1,q2,q3,when"
    timed = MAPPING | {"columns": {"learner_id": "who", "occurred_at": "when"}}
    with tempfile.TemporaryDirectory() as name:
        whole, parts, in_one, in_parts = Log(10**9), Log(10**9), [], []
        assert loaded(Path(name), table([header, *lines]), whole, LoadProgress(), in_one, timed)
        for part in (lines[:cut], lines[cut:]):
            assert loaded(Path(name), table([header, *part]), parts, LoadProgress(), in_parts, timed)
    assert parts.contents() == whole.contents()
    assert len(in_parts) == len(in_one)
