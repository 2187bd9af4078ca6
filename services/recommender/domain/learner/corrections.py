"""Corrections that are known before the fold reaches them: later records of a log that change earlier ones.

A fold that follows the log applies a correction or a revision only if its target is still in the journal. A fold that
knows the log up to some offsets applies every one before them, however far back its target is: it folds the target as
corrected. Where the first refuses nothing, both give the same bytes.

The target of a correction is the last event applied under its target's id; if there is none, the first response that
comes under it. So the events of the learner are gone through as a fold does it, with the same window.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from services.recommender.domain.learner.events import (
    CONTENT_UNKNOWN,
    AssessmentEvent,
    CorrectionEvent,
    ErasureEvent,
    LearnerEvent,
)
from services.recommender.domain.learner.seen import WINDOW_BYTES, holds


class _Applied(NamedTuple):
    """An event that was applied: its offset, what was last said under its id, and whether it is a response."""

    offset: int
    content: bytes
    is_response: bool


@dataclass(slots=True)
class LearnerCorrections:
    """The known corrections of one learner.

    Attributes:
        concerned: the fingerprints that corrections, their targets and revisions have; None: any may be one.
    """

    concerned: Collection[bytes] | None = None
    _window: bytearray = field(default_factory=bytearray)
    _applied: dict[bytes, _Applied] = field(default_factory=dict)
    _waiting: dict[bytes, tuple[float, list[int]]] = field(default_factory=dict)
    _responses: dict[int, float] = field(default_factory=dict)
    _targets: dict[int, int] = field(default_factory=dict)

    def note(self, offset: int, event: LearnerEvent) -> None:
        """Go through the learner's next event."""
        former = event.former if isinstance(event, AssessmentEvent) else b""
        for identity in (event.fingerprint, former):
            if identity and holds(self._window, identity):
                self._revise(offset, identity, event)
                return
        match event:
            case ErasureEvent():
                self._window.clear()
                self._applied.clear()
                self._waiting.clear()
            case CorrectionEvent():
                if not self._correct(offset, event.target, event.response):
                    return
            case AssessmentEvent() if event.fingerprint in self._waiting:
                self._responses[offset], corrections = self._waiting.pop(event.fingerprint)
                self._targets.update(dict.fromkeys(corrections, offset))
        self._window += event.fingerprint
        if len(self._window) > 2 * WINDOW_BYTES:
            del self._window[:-WINDOW_BYTES]
        if self.concerned is None or event.fingerprint in self.concerned:
            applied = _Applied(offset, event.content, isinstance(event, AssessmentEvent))
            self._applied[event.fingerprint] = applied

    def finish(self) -> None:
        """Drop what only going on would need."""
        self._window.clear()
        self._applied.clear()
        self._waiting.clear()

    @property
    def count(self) -> int:
        """How many corrections and revisions found their targets."""
        return len(self._targets)

    def target_of(self, offset: int) -> int | None:
        """The offset of the response that the correction or revision at an offset changes; None: not known."""
        return self._targets.get(offset)

    def response(self, offset: int) -> float | None:
        """The response that the last correction or revision assigns to the event at an offset.

        Returns:
            The response, or VOIDED; None when nothing corrects it.
        """
        return self._responses.get(offset)

    def _revise(self, offset: int, identity: bytes, event: LearnerEvent) -> None:
        if not isinstance(event, AssessmentEvent) or not event.revises:
            return
        before = self._applied.get(identity)
        if before is None or not before.is_response or event.content == before.content != CONTENT_UNKNOWN:
            return
        self._correct(offset, identity, event.response)
        self._applied[identity] = before._replace(content=event.content)
        self._window += identity

    def _correct(self, offset: int, target: bytes, response: float) -> bool:
        """Correct a target, or wait for it. Returns whether the correction may be applied."""
        found = self._applied.get(target)
        if found is None:
            _, earlier = self._waiting.get(target, (0.0, []))
            self._waiting[target] = (response, [*earlier, offset])
            return True
        if not found.is_response:
            return False
        self._responses[found.offset] = response
        self._targets[offset] = found.offset
        return True


@dataclass(slots=True)
class KnownCorrections:
    """The corrections in a log up to some offsets, by record key."""

    _learners: dict[bytes, LearnerCorrections] = field(default_factory=dict)

    def note(self, key: bytes, offset: int, event: LearnerEvent, concerned: Collection[bytes] | None = None) -> None:
        """Go through a record; those of a learner must come in log order, all of them.

        Args:
            key: the record's key.
            offset: its offset.
            event: its event.
            concerned: as of `LearnerCorrections`.
        """
        learner = self._learners.get(key)
        if learner is None:
            learner = self._learners[key] = LearnerCorrections(concerned)
        learner.note(offset, event)

    def finish(self) -> None:
        """Everything was noted: keep the learners that have corrections, and only what a fold asks for."""
        self._learners = {key: learner for key, learner in self._learners.items() if learner.count}
        for learner in self._learners.values():
            learner.finish()

    def add(self, others: KnownCorrections) -> None:
        """Add the corrections of other learners."""
        self._learners |= others._learners

    @property
    def count(self) -> int:
        """How many corrections there are."""
        return sum(learner.count for learner in self._learners.values())

    @property
    def learners(self) -> Mapping[bytes, LearnerCorrections]:
        """The corrections of learners that have any, by record key."""
        return self._learners


NOTHING_KNOWN = LearnerCorrections()
"""For a learner without known corrections. Never changed."""
