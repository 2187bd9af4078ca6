"""Counts the lists to which each law applies, and those in which it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.recommender.domain.learner.state import LearnerState
from services.recommender.domain.ranking.policy import ResourceFilter, eligibility
from services.recommender.domain.ranking.prepared import PreparedCatalog
from services.recommender.domain.ranking.request import RankedResource
from services.recommender.evaluation.laws import LAWS, Listed, verdicts
from services.recommender.evaluation.reason_facts import facts_of_columns, learner_facts
from services.recommender.evaluation.reason_recall import recall_of
from services.recommender.evaluation.results import Check
from services.recommender.evaluation.whereabouts import Whereabouts

_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """A list, and what it was made for.

    Attributes:
        learner: who it is for, as examples name them.
        state: the learner's state.
        as_of_s: the moment, Unix seconds.
        wanted: which resources the list may contain.
        resources: the list.
        gap: id of the most urgent gap that the answer names; empty without any.
        missed: ids of the skills of the learner's last answer, if it was wrong; else none.
    """

    learner: str
    state: LearnerState
    as_of_s: float
    wanted: ResourceFilter
    resources: Sequence[RankedResource]
    gap: str
    missed: frozenset[str]


def whereabouts_of(
    prepared: PreparedCatalog, state: LearnerState, as_of_s: float, wanted: ResourceFilter
) -> Whereabouts:
    """Where a learner is in a prepared catalog, of whose numbers only the difficulties and the recall model are used.

    Args:
        prepared: the prepared catalog.
        state: the learner's state.
        as_of_s: the moment, Unix seconds.
        wanted: which resources a list may contain.
    """
    catalog, difficulties = prepared.catalog, prepared.difficulties

    def difficulty(skill: str) -> tuple[float, float]:
        slot = catalog.slot_of_skill[skill]
        return float(difficulties.skill_logits[slot]), float(difficulties.skill_variances[slot])

    model = None if prepared.recall is None else prepared.recall.model
    recall = recall_of(model, state, difficulty, as_of_s)
    return Whereabouts(
        catalog=catalog,
        state=state,
        known=learner_facts(state, difficulties.settings, difficulty, facts_of_columns(catalog), recall).known,
        as_of_s=as_of_s,
        allowed=eligibility(catalog, wanted).allowed,
        usual=bool(prepared.ranker.ranker.models),
        by_recall=model is not None,
    )


class LawCount:
    """Counts, for lists from one prepared catalog, the cases of each law of `laws`.

    Attributes:
        lists: lists that were judged.
        cases: by law, lists to which it applies.
        held: by law, those of them in which it holds.
        examples: by law, the first few lists in which it does not hold, in words.
    """

    def __init__(self, prepared: PreparedCatalog) -> None:
        self.lists = 0
        self.cases: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {law: [] for law in LAWS}
        self._prepared = prepared

    def add(self, answer: Answer) -> None:
        """Judge a list."""
        where = whereabouts_of(self._prepared, answer.state, answer.as_of_s, answer.wanted)
        entries = [Listed(each.row, each.explanation.skill) for each in answer.resources]
        self.lists += 1
        for verdict in verdicts(where, entries, answer.gap, answer.missed):
            self.cases[verdict.law] += 1
            self.held[verdict.law] += verdict.holds
            if not verdict.holds and len(self.examples[verdict.law]) < _EXAMPLES:
                self.examples[verdict.law].append(f"{answer.learner}: {verdict.found}")

    def figures(self, law: str) -> str:
        """The cases of a law in words."""
        counted = f"{self.held[law]:,} of {self.cases[law]:,} lists"
        return "; ".join([counted, *self.examples[law]])

    def as_values(self) -> dict[str, dict[str, int]]:
        """The cases of each law, and in how many it held."""
        return {law: {"cases": self.cases[law], "held": self.held[law]} for law in LAWS}


def checks_of(counts: Mapping[str, LawCount]) -> tuple[Check, ...]:
    """Whether each law holds in every list of some rankings, by the name of the ranking."""
    return tuple(
        Check(
            f"law {law}: {words}",
            holds=all(count.held[law] == count.cases[law] for count in counts.values()),
            figures="; ".join(f"{name}: {count.figures(law)}" for name, count in counts.items()),
            required=True,
        )
        for law, words in LAWS.items()
    )
