"""Counts the reasons of lists, and those that are not true."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from services.recommender.domain.ranking.prepared import PreparedCatalog
from services.recommender.domain.ranking.reasons import ReasonKind
from services.recommender.domain.ranking.render import render
from services.recommender.domain.ranking.request import RankedList, RankedResource, RankingRequest
from services.recommender.evaluation.reason_checker import problems_of
from services.recommender.evaluation.reason_facts import (
    NO_SCORES,
    NO_USUAL_WORK,
    Entry,
    Facts,
    GivenReason,
    facts_of_columns,
    learner_facts,
    rules_of,
    scores_of_rows,
    usual_work,
)
from services.recommender.evaluation.reason_recall import recall_of
from services.recommender.evaluation.results import Check

_EXAMPLES = 5


class ReasonCount:
    """Counts reasons of lists from one prepared catalog, and checks each with `reason_checker`.

    Attributes:
        lists: lists that were made.
        reasons: their reasons.
        without: their entries without a reason.
        false: problems found: a reason that is false or reads badly, or a step that does not fit.
        crashed: lists that could not be made.
        examples: the first few problems and crashes, in words.
    """

    def __init__(self, prepared: PreparedCatalog, *, first: int | None = None) -> None:
        """Args: `prepared`; `first`, how many entries of each list are checked, None for all."""
        self.lists = 0
        self.reasons = 0
        self.without = 0
        self.false = 0
        self.crashed = 0
        self.examples: list[str] = []
        self._first = first
        self._prepared = prepared
        self._catalog = facts_of_columns(prepared.catalog)
        ranker = prepared.ranker.ranker
        self._usual = usual_work(ranker.statistics) if ranker.models else NO_USUAL_WORK

    def __str__(self) -> str:
        lists = "1 list" if self.lists == 1 else f"{self.lists:,} lists"
        counted = f"{self.reasons:,} reasons in {lists}, {self.false:,} false, {self.crashed:,} crashed"
        return "; ".join([counted, *self.examples])

    def add(self, request: RankingRequest, ranked: RankedList) -> list[str]:
        """Count the reasons of a list that was made from a request.

        Returns:
            What is not true in them; see `reason_checker.problems_of`.
        """
        checked = ranked.resources[: self._first]
        problems = problems_of(self._facts(request), self._entries(checked))
        self.lists += 1
        self.reasons += sum(len(one.explanation.reasons) for one in checked)
        self.without += sum(not one.explanation.reasons for one in checked)
        self.false += len(problems)
        self._show(problems)
        return problems

    def made(self, make: Callable[[], RankedList], request: RankingRequest) -> RankedList:
        """Make a list and count its reasons; where that fails, count it and return an empty list."""
        try:
            ranked = make()
            self.add(request, ranked)
        except Exception as error:  # noqa: BLE001 - one list that fails is counted, and the others go on.
            self.crashed += 1
            self._show([f"{type(error).__name__}: {error}"])
            return RankedList((), 0, {})
        return ranked

    def _show(self, problems: list[str]) -> None:
        self.examples += problems[: max(_EXAMPLES - len(self.examples), 0)]

    def _entries(self, resources: Sequence[RankedResource]) -> list[Entry]:
        return [
            Entry(
                resource=self._prepared.catalog.resource_ids[one.row],
                skill=one.explanation.skill,
                step=one.explanation.step.name,
                success=one.success,
                reasons=[
                    GivenReason(ReasonKind(reason.kind).name, render(reason.message))
                    for reason in one.explanation.reasons
                ],
            )
            for one in resources
        ]

    def _facts(self, request: RankingRequest) -> Facts:
        """What a list that is made from a request must agree with."""
        catalog, difficulties = self._prepared.catalog, self._prepared.difficulties
        state, models, ranker = request.state, request.models, self._prepared.ranker.ranker
        scores, usual = NO_SCORES, NO_USUAL_WORK
        recent_resources = () if state is None else [recent.resource for recent in state.resources]
        if ranker.models and models is not None and catalog.has_any(recent_resources):
            best = int(np.argmax(ranker.base_weights))
            for_all = ranker.models[best] == "popular"
            history = sum(models.index_of_row[row] >= 0 for row in catalog.rows_of(recent_resources))
            scores = scores_of_rows(models.scores[best], models.index_of_row, catalog, history, for_all=for_all)
            usual = self._usual

        def difficulty(skill: str) -> tuple[float, float]:
            slot = catalog.slot_of_skill[skill]
            return float(difficulties.skill_logits[slot]), float(difficulties.skill_variances[slot])

        model = None if self._prepared.recall is None else self._prepared.recall.model
        recall = recall_of(model, state, difficulty, request.as_of_s)
        return Facts(
            catalog=self._catalog,
            learner=learner_facts(state, difficulties.settings, difficulty, self._catalog, recall),
            as_of_s=request.as_of_s,
            scores=scores,
            usual=usual,
            rules=rules_of(request.rules.subjects, catalog),
        )


def check_of(counts: Mapping[str, ReasonCount]) -> Check:
    """Whether every reason of some rankings is true, by the name of the ranking."""
    return Check(
        "every reason is true",
        holds=not any(count.false or count.crashed for count in counts.values()),
        figures="; ".join(f"{name}: {count}" for name, count in counts.items()),
    )
