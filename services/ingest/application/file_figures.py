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
ITEMS_MAX = 10_000
_HASH_MASK = 2**64 - 1


@dataclass(frozen=True, slots=True)
class CatalogTags:
    """What the catalog has of a tenant.

    Attributes:
        skills: the ids of its skills.
        assessing: the ids of its resources that assess a skill, which events of this item or activity then get.
        not_asked: why it was not asked, with the remedy; empty: it was.
    """

    skills: frozenset[str] = frozenset()
    assessing: frozenset[str] = frozenset()
    not_asked: str = ""

    def tags(self, item: str, activity: str) -> bool:
        """Whether an event that names no skill gets one."""
        return normalised_id(item) in self.assessing or normalised_id(activity) in self.assessing


@dataclass(slots=True)
class FileFigures:
    """Counts of the events of a file, before anything checked them.

    Attributes:
        catalog: to which skills, items and activities are compared.
        acts: the events.
        skills: how many assessments name each skill; of the first 10,000 skills.
        without_skills: assessments that name no skill.
        untagged: those of them that the catalog gives no skill either.
        untagged_items: how many of those are of each item, or activity without an item; of the first 10,000.
        undated: events without a time.
        first_at: the earliest time; None when there is none.
        last_at: the latest time; None when there is none.
        identical: events that say the same as an earlier one with the same id, or of the same act. As `differing`, of
            the first two million events.
        differing: events that differ from every earlier one with the same id, or of the same act.
    """

    catalog: CatalogTags
    acts: int = 0
    skills: Counter[str] = field(default_factory=Counter)
    without_skills: int = 0
    untagged: int = 0
    untagged_items: Counter[str] = field(default_factory=Counter)
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

    @property
    def unknown_skills(self) -> Counter[str]:
        """Those of `skills` that the catalog does not have."""
        return Counter({name: n for name, n in self.skills.items() if normalised_id(name) not in self.catalog.skills})

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
            for skill in body.skills:
                if skill in self.skills or len(self.skills) < SKILLS_MAX:
                    self.skills[skill] += 1
            if not body.skills:
                self._count_without_skills(body)
        if at is None:
            self.undated += 1
        else:
            self.first_at = at if self.first_at is None or at < self.first_at else self.first_at
            self.last_at = at if self.last_at is None or at > self.last_at else self.last_at
        if body is not None and self.acts <= COMPARED_MAX:
            self._compare(submission, body)

    def _count_without_skills(self, body: Assessment) -> None:
        self.without_skills += 1
        if self.catalog.not_asked or self.catalog.tags(body.item, body.activity):
            return
        self.untagged += 1
        name = body.item or body.activity
        if name in self.untagged_items or len(self.untagged_items) < ITEMS_MAX:
            self.untagged_items[name] += 1

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
