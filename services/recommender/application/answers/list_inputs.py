"""What a tenant's lists are made from, besides learners' states, numbered so that a change is noticed."""

from __future__ import annotations

from services.recommender.application.answers.active_models import ActiveModels
from services.recommender.application.answers.answer_clock import AnswerClock
from services.recommender.application.answers.prepared_catalogs import PreparedCatalogs


class ListInputs:
    """Numbers, for each tenant, the epoch, catalog, rules, models, policy and hour that its lists are made from.

    Another number means that lists may differ though no learner changed. Numbers mean nothing outside the process.
    """

    def __init__(self, catalogs: PreparedCatalogs, active_models: ActiveModels, clock: AnswerClock) -> None:
        self._catalogs = catalogs
        self._active_models = active_models
        self._clock = clock
        # By tenant: things that are the same or not, values that are equal or not, and the number of both.
        self._held: dict[str, tuple[tuple[object, ...], tuple[object, ...], int]] = {}

    def held(self, tenant: str) -> int:
        """The number at the last call of `number`; 0 before that."""
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
