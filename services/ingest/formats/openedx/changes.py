"""What staff changed of the answers that are loaded together.

The events of such changes name the learner and the block, and not the answer. A new grade is of the last answer before
it, and a deletion of all answers before it. So the answers to these blocks are looked up among all documents.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from services.common.auth.identity import natural_event_id
from services.ingest.application.ports import FileRow, LeftOutRow, Row
from services.ingest.domain.kinds.assessment import Assessment, Grain
from services.ingest.domain.kinds.correction import Correction, Void
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Instant, Submission
from services.ingest.formats.openedx.events import event_of
from services.ingest.formats.openedx.fields import FieldError
from services.ingest.formats.openedx.problems import LeftOutError, answer_id
from services.ingest.formats.openedx.staff import NOT_IN_LOAD, STAFF_EVENTS, Change, change_of
from services.ingest.formats.openedx.tracking import rows_of
from services.ingest.formats.together import Documents

CHANGE_MARKS = tuple(name.encode() for name in sorted(STAFF_EVENTS))

REPLACED = "a change by staff that a later one of the same answer replaces"

_Block = tuple[str, str]
"""A learner and a block."""


class StaffChanges:
    """Implements Changes."""

    def __init__(self, corrections: Mapping[Change, Sequence[Submission]]) -> None:
        """Args: what each change of an answer becomes; nothing: later ones replace it."""
        self._corrections = corrections

    def applied(self, document: object, rows: Iterable[FileRow]) -> Iterator[FileRow]:
        """See Changes."""
        for row in rows:
            if not isinstance(row, LeftOutRow) or row.reason != NOT_IN_LOAD:
                yield row
                continue
            corrections = self._corrections.get(change_of(event_of(document)))
            if corrections is None:
                yield row
            elif not corrections:
                yield LeftOutRow(row.line, REPLACED)
            else:
                yield from (Row(row.line, each, document) for each in corrections)


def changes_in(changing: Documents, documents: Documents, source: str) -> StaffChanges:
    """What staff changed.

    Args:
        changing: the documents among which the changes are.
        documents: those among which the answers are.
        source: the system that they are from.
    """
    changes: dict[_Block, set[Change]] = defaultdict(set)
    for document in changing:
        if (change := _change_in(document)) is not None:
            changes[change.learner_id, change.block].add(change)
    answers: dict[_Block, dict[str, Submission]] = defaultdict(dict)
    for document in documents if changes else ():
        for row in rows_of(document, source, 0):
            body = row.submission.body if isinstance(row, Row) else None
            if isinstance(row, Row) and isinstance(body, Assessment):
                block = row.submission.learner_id, body.activity or body.item
                if block in changes:
                    answers[block][row.submission.event_id] = row.submission
    corrections: dict[Change, list[Submission]] = {}
    for block, of_block in changes.items():
        corrections |= _corrections_of(of_block, answers[block].values())
    return StaffChanges(corrections)


def _change_in(document: object) -> Change | None:
    try:
        event = event_of(document)
        return change_of(event) if event.name in STAFF_EVENTS else None
    except (FieldError, LeftOutError):
        # It says so when it is read.
        return None


def _corrections_of(
    changes: Iterable[Change], answers: Iterable[Submission]
) -> Iterator[tuple[Change, list[Submission]]]:
    """What the changes of a block become.

    In the log, the last correction of an answer counts, and the documents are in any order: only the last change of an
    answer becomes one.
    """
    acts: dict[Instant, list[Submission]] = defaultdict(list)
    for answer in answers:
        if answer.occurred_at is not None:
            acts[answer.occurred_at].append(answer)
    made: list[tuple[Change, list[Submission]]] = []
    for change in sorted(changes, key=lambda change: (change.at, change.score is None, str(change.score))):
        before = sorted(at for at in acts if at <= change.at)
        if not before:
            continue
        if change.score is None:
            made.append((change, [_correction(change, target, Void()) for at in before for target in acts.pop(at)]))
        else:
            corrections, acts[before[-1]] = _regraded(change, change.score, acts[before[-1]])
            made.append((change, corrections))
    last = {target: change for change, corrections in made for each in corrections if (target := _target_of(each))}
    for change, corrections in made:
        yield change, [each for each in corrections if last.get(_target_of(each), change) == change]


def _target_of(submission: Submission) -> str:
    """The id of the answer that is corrected; empty: it is an answer itself."""
    return submission.body.target_event_id if isinstance(submission.body, Correction) else ""


def _regraded(change: Change, score: Score, act: Sequence[Submission]) -> tuple[list[Submission], list[Submission]]:
    """The corrections of an answer whose grade is another, and what the answer is from now on."""
    if len(act) == 1:
        return [_correction(change, act[0], score)], list(act)
    bodies = [each.body for each in act if isinstance(each.body, Assessment)]
    outcomes = [body.outcome for body in bodies if body.outcome is not None]
    if math.isclose(sum(map(_share, outcomes)) / len(outcomes), _share(score)):
        # As all learners' answers are rescored, most stay what they were.
        return [_correction(change, each, outcome) for each, outcome in zip(act, outcomes, strict=True)], list(act)
    if score.raw in (score.min, score.max):
        return [_correction(change, each, score.raw == score.max) for each in act], list(act)
    # Which input changed is not said: the problem counts as one item.
    first = act[0].body
    whole = Assessment(
        change.block,
        outcome=score,
        attempt=first.attempt if isinstance(first, Assessment) else None,
        grain=Grain.ITEM,
    )
    answer = replace(act[0], body=whole, event_id=answer_id(whole, act[0].occurred_at))
    return [*(_correction(change, each, Void()) for each in act), answer], [answer]


def _share(outcome: bool | Score) -> float:  # noqa: FBT001 - see Assessment.
    return float(outcome) if isinstance(outcome, bool) else (outcome.raw - outcome.min) / (outcome.max - outcome.min)


def _correction(change: Change, target: Submission, to: Void | bool | Score) -> Submission:  # noqa: FBT001 - see Assessment.
    return Submission(
        learner_id=change.learner_id,
        source=target.source,
        body=Correction(target.event_id, to),
        event_id=natural_event_id(("openedx change", target.event_id, str(change.at))),
        occurred_at=change.at,
    )
