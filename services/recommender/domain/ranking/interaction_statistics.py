"""What a tenant's learners usually work on, and in which order; the learned ranker reads it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.ranking.catalog import CatalogColumns, FloatColumn, IntColumn

_PLACE_UNKNOWN = 0.5


@dataclass(frozen=True)
class SkillLinks:
    """How strongly skills lead to others: compressed sparse rows, skill by skill.

    Attributes:
        starts: int32, one more than skills.
        skills: int32, where each link leads.
        strengths: float32, from 0.
    """

    starts: NDArray[np.int32]
    skills: NDArray[np.int32]
    strengths: NDArray[np.float32]


@dataclass(frozen=True)
class InteractionStatistics:
    """Counted once per training.

    Attributes:
        resources: R ids.
        skills: ids of the skills that `follows` and `together` are about.
        popularity: R; learners who worked on it.
        places: R; how far into what a learner worked on it usually came, from 0 to 1.
        follows: what is worked on soon after a skill, per visit of it.
        together: which skills the same learners work on, as a cosine.
        responses: one per skill; how many responses to it a learner who works on it gives, on average.
    """

    resources: tuple[str, ...]
    skills: tuple[str, ...]
    popularity: NDArray[np.float32]
    places: NDArray[np.float32]
    follows: SkillLinks
    together: SkillLinks
    responses: NDArray[np.float32]


_NO_LINKS = SkillLinks(np.zeros(1, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))
_NOTHING = np.zeros(0, np.float32)
NO_STATISTICS = InteractionStatistics((), (), _NOTHING, _NOTHING, _NO_LINKS, _NO_LINKS, _NOTHING)


@dataclass(frozen=True)
class InteractionColumns:
    """The statistics over a catalog; made once per catalog and training.

    Attributes:
        popularity: N; log(1 + learners).
        popularity_in_skill: N; learners, as a share of those of the most popular resource about one of its skills.
        rank_in_skill: N; log(1 + how many resources about one of its skills are more popular), the least.
        places: N.
        skill_sizes: S; resources about it.
        index_starts: S + 1.
        index: each skill's resources, the most popular first.
        follows: over the catalog's skills.
        together: the same.
        responses: S; at least 1, which it is where nothing is known.
    """

    popularity: FloatColumn
    popularity_in_skill: FloatColumn
    rank_in_skill: FloatColumn
    places: FloatColumn
    skill_sizes: FloatColumn
    index_starts: IntColumn
    index: IntColumn
    follows: SkillLinks
    together: SkillLinks
    responses: FloatColumn


def index_interactions(catalog: CatalogColumns, statistics: InteractionStatistics) -> InteractionColumns:
    """The statistics over a catalog. A resource they do not know counts as one that nobody worked on."""
    learners, places = np.zeros(len(catalog)), np.full(len(catalog), _PLACE_UNKNOWN)
    rows = np.fromiter((catalog.row_of_resource.get(each, -1) for each in statistics.resources), np.intp)
    here = rows >= 0
    learners[rows[here]], places[rows[here]] = statistics.popularity[here], statistics.places[here]
    skills = len(catalog.skill_ids)
    starts = catalog.skill_tags.starts
    tagged, slots = catalog.tag_rows, catalog.tags.values
    order = np.lexsort((tagged, -learners[tagged], slots))
    index = tagged[order]
    most = np.ones(skills)
    np.maximum.at(most, slots, learners[tagged])
    share, rank = np.zeros(len(catalog)), np.full(len(catalog), np.inf)
    np.maximum.at(share, tagged, learners[tagged] / most[slots])
    np.minimum.at(rank, index, np.arange(len(index)) - starts[slots[order]])
    rank[np.isinf(rank)] = len(catalog)
    slot_of = np.fromiter((catalog.slot_of_skill.get(each, -1) for each in statistics.skills), np.intp)
    responses = np.ones(skills)
    responses[slot_of[slot_of >= 0]] = np.maximum(statistics.responses[slot_of >= 0], 1.0)
    return InteractionColumns(
        popularity=np.log1p(learners),
        popularity_in_skill=share,
        rank_in_skill=np.log1p(rank),
        places=places,
        skill_sizes=np.diff(starts).astype(np.float64),
        index_starts=starts,
        index=index,
        follows=_over(statistics.follows, slot_of, skills),
        together=_over(statistics.together, slot_of, skills),
        responses=responses,
    )


def _over(links: SkillLinks, slot_of: IntColumn, skills: int) -> SkillLinks:
    """Links between skills of a catalog; those from or to what it does not have are left out."""
    begins = slot_of.repeat(np.diff(links.starts))
    ends = slot_of[links.skills]
    kept = ((begins >= 0) & (ends >= 0)).nonzero()[0]
    kept = kept[begins[kept].argsort(kind="stable")]
    starts = np.zeros(skills + 1, np.int32)
    np.cumsum(np.bincount(begins[kept], minlength=skills), out=starts[1:])
    return SkillLinks(starts, ends[kept].astype(np.int32), links.strengths[kept])
