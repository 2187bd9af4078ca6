"""What learners' responses say about the prerequisites of a catalog, for a person to decide on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from services.recommender.application.ports.catalog import CatalogTagsReader
from services.recommender.application.training.collect import TrainingLog, collect
from services.recommender.application.training.train import TenantWithoutEventsError
from services.recommender.domain.ranking.catalog import CatalogSkill
from services.recommender.domain.ranking.same_skills import equivalent_slots
from services.recommender.domain.training.prerequisites import Edge, Findings, SkillPairs, judge
from services.recommender.domain.training.responses import ResponseTable

Advance = Callable[[int, int | None], None]
"""Reports progress: how much is done, and the total."""


class FitSkillPairs(Protocol):
    """Measures what responses say about pairs of skills."""

    def __call__(self, table: ResponseTable, *, advance: Advance) -> SkillPairs:
        """The same responses give the same measures."""
        ...


async def logged_responses(
    log: TrainingLog, catalog: CatalogTagsReader, tenant: str, progress: Advance
) -> tuple[ResponseTable, Sequence[CatalogSkill]]:
    """Read a tenant's responses, corrected and without duplicates, and the skills of its catalog.

    Raises:
        TenantWithoutEventsError: when the log has no response of the tenant.

    Also raises what `log` and `catalog` raise.
    """
    tags = await catalog.read()
    _, responses = await collect(log, lambda _, done, total: progress(done, total))
    if tenant not in responses:
        known = ", ".join(sorted(responses)) or "nobody"
        raise TenantWithoutEventsError(f"the log holds no responses of the tenant {tenant}; it has those of {known}")
    return responses[tenant].evidence, tags.skills.get(tenant, ())


def judge_catalog(
    table: ResponseTable,
    skills: Sequence[CatalogSkill],
    fit: FitSkillPairs,
    *,
    rejected: Collection[Edge],
    rate: float,
    advance: Advance,
) -> Findings:
    """Judge the prerequisites of a catalog by responses, and propose others.

    Responses to a skill of one framework count for the same skill of another (decision 56).

    Args:
        table: the responses.
        skills: the catalog's.
        fit: measures pairs of skills.
        rejected: edges that are not proposed.
        rate: the share of what is found that may be there by chance.
        advance: reports progress.
    """
    names = [(skill.skill_id, *skill.equivalents) for skill in skills]
    everywhere = {
        skill.skill_id: tuple(dict.fromkeys((*names[slot], *(name for other in same for name in names[other]))))
        for slot, (skill, same) in enumerate(zip(skills, equivalent_slots(names), strict=True))
    }
    prerequisites = {skill.skill_id: skill.prerequisites for skill in skills}
    return judge(fit(table, advance=advance), prerequisites, everywhere, rejected=rejected, rate=rate)
