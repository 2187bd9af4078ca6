"""Corrections that are known before the fold reaches them: later records of a log that change earlier ones.

A fold that follows the log applies a correction only if its target is still in the journal. A fold that knows the log
up to some offsets applies every correction before them, however far back its target is: it folds the target as
corrected. For targets in the journal, both give the same bytes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.recommender.domain.learner.events import CorrectionEvent, ErasureEvent


@dataclass(slots=True)
class LearnerCorrections:
    """The known corrections of one learner.

    A correction applies only to events between the same two erasures as itself.
    """

    _erasures: list[int] = field(default_factory=list)
    _changes: dict[tuple[int, bytes], float] = field(default_factory=dict)
    _offsets: set[int] = field(default_factory=set)
    _fingerprints: set[bytes] = field(default_factory=set)

    def note(self, offset: int, event: CorrectionEvent | ErasureEvent) -> None:
        """Add the learner's next correction or erasure; a duplicate since the last erasure adds nothing."""
        if event.fingerprint in self._fingerprints:
            return
        if isinstance(event, ErasureEvent):
            self._erasures.append(offset)
            self._fingerprints.clear()
        else:
            self._changes[len(self._erasures), event.target] = event.response
            self._offsets.add(offset)
        self._fingerprints.add(event.fingerprint)

    @property
    def count(self) -> int:
        """How many corrections there are."""
        return len(self._offsets)

    def holds(self, offset: int) -> bool:
        """Whether the correction at an offset is known."""
        return offset in self._offsets

    def response(self, offset: int, target: bytes) -> float | None:
        """The response that the last correction assigns to an event, as seen from an offset.

        Args:
            offset: of the event itself or of one of its corrections.
            target: the event's fingerprint.

        Returns:
            The response, or VOIDED; None when nothing corrects it.
        """
        return self._changes.get((bisect_left(self._erasures, offset), target))


@dataclass(slots=True)
class KnownCorrections:
    """The corrections in a log up to some offsets, by record key."""

    _learners: dict[bytes, LearnerCorrections] = field(default_factory=dict)

    def note(self, key: bytes, offset: int, event: CorrectionEvent | ErasureEvent) -> None:
        """Add a record; the records of a learner must come in log order."""
        self._learners.setdefault(key, LearnerCorrections()).note(offset, event)

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
