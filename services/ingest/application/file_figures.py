"""What a file holds: its learners, acts, skills, dates and repeats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from services.common.auth.identity import normalised_id
from services.ingest.application.fingerprints import Fingerprints
from services.ingest.application.ports import FileRow, Row
from services.ingest.domain.kinds.assessment import Assessment
from services.ingest.domain.submission import Instant, Submission, SubmittedBody

COMPARED_MAX = 2_000_000
SKILLS_MAX = 10_000
_HASH_MASK = 2**64 - 1


@dataclass(slots=True)
class FileFigures:
    """Counts of the events of a file, before anything checked them.

    Attributes:
        acts: the events.
        skills: how many assessments name each skill; of the first 10,000 skills.
        without_skills: assessments that name no skill.
        undated: events without a time.
        first_at: the earliest time; None when there is none.
        last_at: the latest time; None when there is none.
        identical: events that say the same as an earlier one with the same id, or of the same act. As `differing`, of
            the first two million events.
        differing: events that differ from every earlier one with the same id, or of the same act.
    """

    acts: int = 0
    skills: Counter[str] = field(default_factory=Counter)
    without_skills: int = 0
    undated: int = 0
    first_at: Instant | None = None
    last_at: Instant | None = None
    identical: int = 0
    differing: int = 0
    # Hashes, because ids take more memory.
    _learners: set[int] = field(default_factory=set)
    _acts: Fingerprints = field(default_factory=Fingerprints)
    _contents: Fingerprints = field(default_factory=Fingerprints)

    @property
    def learners(self) -> int:
        """How many learners there are."""
        return len(self._learners)

    def watch(self, rows: Iterable[FileRow]) -> Iterator[FileRow]:
        """The rows of a file, which are counted as they pass."""
        for row in rows:
            if isinstance(row, Row):
                self._count(row.submission)
            yield row

    def _count(self, submission: Submission) -> None:
        self.acts += 1
        self._learners.add(hash(normalised_id(submission.learner_id)))
        body, at = submission.body, submission.occurred_at
        if isinstance(body, Assessment):
            self.without_skills += not body.skills
            for skill in body.skills:
                if skill in self.skills or len(self.skills) < SKILLS_MAX:
                    self.skills[skill] += 1
        if at is None:
            self.undated += 1
        else:
            self.first_at = at if self.first_at is None or at < self.first_at else self.first_at
            self.last_at = at if self.last_at is None or at > self.last_at else self.last_at
        if body is not None and self.acts <= COMPARED_MAX:
            self._compare(submission, body)

    def _compare(self, submission: Submission, body: SubmittedBody) -> None:
        if submission.event_id:
            act = hash((submission.learner_id, submission.source, submission.event_id))
        else:
            at, key, details = submission.occurred_at, body.natural_key(submission.source), body.natural_details()
            act = hash((submission.learner_id, submission.source, submission.source_sequence, at, key, details))
        content = hash((act, body, submission.occurred_at))
        known, is_same = not self._acts.add(act & _HASH_MASK), not self._contents.add(content & _HASH_MASK)
        self.identical += known and is_same
        self.differing += known and not is_same
