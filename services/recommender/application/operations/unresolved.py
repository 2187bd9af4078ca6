"""Items and activities whose responses are evidence of no skill, so that somebody can tag what matters most first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from services.recommender.application.operations.export import EventRows, Row
from services.recommender.domain.learner.restamp import AssessedSkills, Restamp, RestampedEvents

ITEMS_MAX = 20_000
LEARNERS_MAX = 100

# 40 bits, enough to tell LEARNERS_MAX learners apart.
_PSEUDONYM_CHARACTERS = 8


@dataclass(slots=True)
class UnresolvedItem:
    """An item in an activity, or an activity that was scored as a whole.

    Attributes:
        item: the item; empty for an activity.
        activity: the activity; empty when it is not known.
        responses: responses without a skill. A copy that was sent again counts again.
        learners: parts of the pseudonyms of the learners, at most LEARNERS_MAX.
        first_at: when the first response was given, or received if that is not known; None: neither is known.
        last_at: the same of the last one.
        in_catalog: whether the catalog has a resource of the item's id, or of the activity's.
        skills_now: the skills that the catalog has for it now; then a replay with `--restamp` resolves it.
    """

    item: str
    activity: str
    responses: int = 0
    learners: set[str] = field(default_factory=set)
    first_at: datetime | None = None
    last_at: datetime | None = None
    in_catalog: bool = False
    skills_now: tuple[str, ...] = ()

    def add(self, row: Row) -> None:
        """Count a response."""
        self.responses += 1
        if len(self.learners) < LEARNERS_MAX:
            self.learners.add(row["learner"][:_PSEUDONYM_CHARACTERS])
        at = row["occurred_at"] or row["received_at"]
        if at is not None:
            self.first_at = at if self.first_at is None else min(self.first_at, at)
            self.last_at = at if self.last_at is None else max(self.last_at, at)


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A tenant's items without a skill.

    Attributes:
        items: those with the most responses first; at most ITEMS_MAX.
        other_responses: responses to items beyond those.
        erased: records of erased learners, which cannot be read.
        unreadable: records that are not learner events.
    """

    items: Sequence[UnresolvedItem]
    other_responses: int
    erased: int
    unreadable: int

    @property
    def responses(self) -> int:
        """All responses without a skill."""
        return sum(item.responses for item in self.items) + self.other_responses


async def unresolved_items(
    log: EventRows,
    tenant: str,
    served: Restamp | None,
    assessed: AssessedSkills,
    progress: Callable[[int, int | None], None],
) -> Unresolved:
    """Read the log, and count the responses of a tenant that are evidence of no skill in what is served.

    Memory is bounded by ITEMS_MAX: of further items only the responses are counted.

    Args:
        log: the log.
        tenant: whose responses.
        served: how the current epoch stamps events again; None: it does not.
        assessed: the skills that resources assess now.
        progress: called with the offsets read, and how many there are.
    """
    now = Restamp(RestampedEvents.WITHOUT_SKILLS, assessed, {})
    found: dict[tuple[str, str], UnresolvedItem] = {}
    other = erased = unreadable = 0
    total = await log.total()
    async for batch in log.batches(tenant):
        for row in batch.rows:
            if not _is_unresolved(row, tenant, served):
                continue
            key = row["item"] or "", row["activity"] or ""
            item = found.get(key)
            if item is None and len(found) == ITEMS_MAX:
                other += 1
                continue
            if item is None:
                skills, resource = now.stamp(tenant, *key)
                item = found[key] = UnresolvedItem(*key, in_catalog=bool(resource), skills_now=skills)
            item.add(row)
        erased, unreadable = batch.erased, batch.unreadable
        progress(batch.offsets, total)
    items = sorted(found.values(), key=lambda item: (-item.responses, item.item, item.activity))
    return Unresolved(items, other, erased, unreadable)


def _is_unresolved(row: Row, tenant: str, served: Restamp | None) -> bool:
    if row["kind"] != "assessment" or row["skills"]:
        return False
    if served is None or row["offset"] >= served.before.get(row["partition"], 0):
        return True
    return not served.stamp(tenant, row["item"] or "", row["activity"] or "")[0]
