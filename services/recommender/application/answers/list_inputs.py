"""What a tenant's lists are made from beside learners' states, numbered, so that a change of it is noticed."""

from __future__ import annotations

from services.recommender.application.answers.active_models import ActiveModels
from services.recommender.application.answers.recommend import Recommend
from services.recommender.application.ports.catalog import CatalogReader


class ListInputs:
    """Numbers, for each tenant, the epoch, catalog, rules, models, policy and hour that its lists are made from.

    Another number means that lists may differ though no learner changed. Numbers say nothing outside of the process.
    """

    def __init__(self, recommend: Recommend, active_models: ActiveModels, catalog: CatalogReader) -> None:
        """Args: where all of it is found."""
        self._recommend = recommend
        self._active_models = active_models
        self._catalog = catalog
        # By tenant: things that are the same or not, values that are equal or not, and the number of both.
        self._held: dict[str, tuple[tuple[object, ...], tuple[object, ...], int]] = {}

    def held(self, tenant: str) -> int:
        """The number when it was last asked for; 0 before that."""
        return self._held[tenant][2] if tenant in self._held else 0

    def number(self, tenant: str) -> int:
        """The number now. As long as the tenant's catalog is not prepared for ranking, it stays what it was.

        Raises:
            NoEpochError: when there is no epoch.
        """
        epoch, bundle = self._active_models.epoch, self._active_models.bundle
        if not self._recommend.is_prepared(tenant):
            return self.held(tenant)
        things = (self._recommend.prepared(tenant, epoch), self._catalog.rules(tenant))
        values = (
            epoch.meta.epoch,
            epoch.meta.log_identity,
            "" if bundle is None else bundle.bundle_id,
            self._recommend.now(),
            self._recommend.policy(tenant),
        )
        held = self._held.get(tenant)
        if held is not None and all(map(_is, held[0], things)) and held[1] == values:
            return held[2]
        number = self.held(tenant) + 1
        self._held[tenant] = (things, values, number)
        return number


def _is(one: object, other: object) -> bool:
    return one is other
