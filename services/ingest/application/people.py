"""Who the learners of a file are: several ids of one learner become one, and learners who were erased are left out.

Both happen before anything is sent, so that a learner has one pseudonym, and an erased one gets no new events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from services.common.auth.identity import normalised_id
from services.common.learners.ids import comparable_id
from services.common.learners.suppression import Suppression
from services.ingest.application.ports import FileRow, Row

_IDS_KEPT = 65_536

NoteUnmatched = Callable[[str, int], None]
"""Takes an id that no learner has, and the first line where it was."""


@dataclass(frozen=True, slots=True)
class Aliases:
    """The ids of learners who have several.

    Attributes:
        learners: the id to use, by each of the learner's ids in the form in which ids are compared. The id to use is
            among them, so that aliases applied twice are applied once.
    """

    learners: Mapping[str, str]

    def learner_of(self, learner_id: str) -> str | None:
        """The id to use for a learner; None: nobody has this id."""
        return self.learners.get(comparable_id(learner_id))


@dataclass(slots=True)
class PeopleCounts:
    """What was found of the learners of a file.

    Attributes:
        suppressed: rows left out because of their learner.
        unmatched: ids that are in no row of the aliases; their rows are taken as they are.
    """

    suppressed: int = 0
    unmatched: set[str] = field(default_factory=set)


class People:
    """Decides under which id each row counts, and whether it does.

    A learner is left out when any of their ids is in the list, whatever id the file has.
    """

    def __init__(self, aliases: Aliases | None = None, suppression: Suppression | None = None) -> None:
        """Args: the ids of learners who have several, None: nobody has; and whom to leave out, None: nobody."""
        self._aliases = aliases
        self._suppression = Suppression() if suppression is None else suppression
        learners = {} if aliases is None else aliases.learners
        self._left_out = {learner for alias, learner in learners.items() if alias in self._suppression}
        # A file has each learner in many rows, and hashing takes a microsecond.
        self._is_suppressed = lru_cache(_IDS_KEPT)(self._suppression.__contains__)

    def of(
        self,
        rows: Iterable[FileRow],
        counts: PeopleCounts,
        note_unmatched: NoteUnmatched = lambda _learner_id, _line: None,
    ) -> Iterator[FileRow]:
        """The rows of a file under the ids to use, without those of learners to leave out.

        Args:
            rows: as they were read.
            counts: updated as the rows are read.
            note_unmatched: called once for each unmatched id.
        """
        for row in rows:
            if not isinstance(row, Row):
                yield row
                continue
            sent = row.submission.learner_id
            learner = sent if self._aliases is None else self._aliases.learner_of(sent)
            if self._is_suppressed(sent) or learner in self._left_out:
                counts.suppressed += 1
                continue
            if learner is None and (unmatched := normalised_id(sent)) and unmatched not in counts.unmatched:
                counts.unmatched.add(unmatched)
                note_unmatched(unmatched, row.line)
            if learner is None or learner == sent:
                yield row
            else:
                yield replace(row, submission=replace(row.submission, learner_id=learner))
