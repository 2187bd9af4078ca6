"""The inputs of a tenant's lists except learners' states, numbered so that a change is noticed."""

from __future__ import annotations

from services.recommender.application.answers.active_models import ActiveModels
from services.recommender.application.answers.answer_clock import AnswerClock
from services.recommender.application.answers.prepared_catalogs import PreparedCatalogs


class ListInputs:
    """Numbers each combination of epoch, catalog, rules, models, policy and hour that a tenant's lists depend on.

    A new number means that lists may differ although no learner changed. Numbers are only valid within the process.
    """

    def __init__(self, catalogs: PreparedCatalogs, active_models: ActiveModels, clock: AnswerClock) -> None:
        self._catalogs = catalogs
        self._active_models = active_models
        self._clock = clock
        # By tenant: inputs compared by identity, inputs compared by value, and the number of this combination.
        self._held: dict[str, tuple[tuple[object, ...], tuple[object, ...], int]] = {}

    def held(self, tenant: str) -> int:
        """The number that `number` returned last; 0 before its first call."""
        return self._held[tenant][2] if tenant in self._held else 0

    def number(self, tenant: str) -> int:
        """The number now. While the tenant's catalog is not prepared for ranking, it stays as it was.

        Raises:
            NoEpochError: when there is no epoch.
        """
        snapshot = self._catalogs.current(tenant)
        if snapshot is None:
            return self.held(tenant)
        meta = self._active_models.epoch.meta
        things = (snapshot.rankable, snapshot.rules)
        values = (meta.epoch, meta.log_identity, snapshot.bundle, self._clock.now(), snapshot.policy)
        held = self._held.get(tenant)
        if held is not None and all(map(_is, held[0], things)) and held[1] == values:
            return held[2]
        number = self.held(tenant) + 1
        self._held[tenant] = (things, values, number)
        return number


def _is(one: object, other: object) -> bool:
    return one is other
