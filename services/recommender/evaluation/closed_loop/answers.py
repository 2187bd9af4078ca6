"""The policies that Cairn's answers decide: events are folded as by a worker, lists are made as by a server.

This is the one place of the simulation that knows how models are trained and how lists are asked for. A change of
Cairn's defaults needs no change here: `SERVED` has no settings.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from services.common.kafka.envelope import LogIdentity
from services.recommender.adapters.files.bundle_store import FsspecBundleStore, ModelDecoder
from services.recommender.application.answers.active_models import ActiveModels
from services.recommender.application.answers.answer_clock import AnswerClock
from services.recommender.application.answers.fresh_state import FreshState
from services.recommender.application.answers.prepared_catalogs import (
    PreparedCatalogs,
    RankingPolicies,
    RankingSnapshot,
    by_default,
)
from services.recommender.application.answers.rank_learner import RankLearner, Recommendations, RecommendQuery
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.ports.learners import StoredLearner
from services.recommender.application.training.collect import LogBatch, LoggedEvent, LogSpan
from services.recommender.application.training.train import Trainer
from services.recommender.domain.learner.batch import LearnerEvents
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID
from services.recommender.domain.learner.record import NEW_LEARNER, LearnerRecord
from services.recommender.domain.learner.state import decode_state, encode_state
from services.recommender.domain.ranking.catalog import CatalogColumns, CatalogVersion
from services.recommender.domain.ranking.prepared import PreparedCatalog
from services.recommender.domain.ranking.rules import NO_RULE_BOOK, RuleBook
from services.recommender.domain.ranking.weights import RankingPolicy
from services.recommender.evaluation.closed_loop.classrooms import Pupil
from services.recommender.evaluation.closed_loop.policies import Events
from services.recommender.models.collaborative import als, neighbours
from services.recommender.models.collaborative.als_fit import AlsSettings
from services.recommender.models.collaborative.fit import choose_collaborative, fit_collaborative
from services.recommender.models.ranker.stored import ranker_from_arrays
from services.recommender.models.ranker.training import train_ranker
from services.recommender.models.tracing.fit import fit_tracing

TENANT = "simulated"
# As a request without a limit.
_LISTED = 10
_LOG = str(LogIdentity(bytes(16), 1))

SERVED: RankingPolicies = by_default
"""What a tenant without settings gets."""


def need_only(_tenant: str) -> RankingPolicy:
    """Only what the learner needs."""
    return RankingPolicy(need_share=1.0)


def next_item_only(_tenant: str) -> RankingPolicy:
    """Only what is likely to come next."""
    return RankingPolicy(need_share=0.0)


class Answers:
    """Lists from one catalog and one bundle, or without a bundle."""

    def __init__(self, catalog: CatalogColumns, bundles: FsspecBundleStore) -> None:
        """Args: `catalog`; `bundles`, of which the newest serves, if there is one."""
        self._catalog = catalog
        self._bundles = bundles

    @property
    def learned(self) -> bool:
        """Whether the bundle has a ranker that learned from lists, and does not consist of other models alone."""
        newest = self._bundles.latest_id()
        ranker = None if newest is None else self._bundles.load(newest).rankers.get(TENANT)
        return ranker is not None and ranker.ranker.blend_weight > 0.0

    def policy(self, policies: RankingPolicies) -> ServedPolicy:
        """A policy that starts without learners.

        Args:
            policies: how the tenant's lists are ranked.
        """
        return asyncio.run(self._policy(policies))

    async def _policy(self, policies: RankingPolicies) -> ServedPolicy:
        epochs = _OneEpoch()
        models = ActiveModels(epochs, self._bundles)
        await models.refresh_bundle()
        if models.bundle is not None:
            epochs.meta = _epoch(models.bundle.parameters.parameters_id, models.bundle.bundle_id)
        await models.refresh_epoch()
        catalogs = PreparedCatalogs(_OneCatalog(self._catalog), models, policies)
        return ServedPolicy(await catalogs.snapshot(TENANT, models.epoch), models)


class ServedPolicy:
    """The first resource of the list that a server answers with."""

    def __init__(self, snapshot: RankingSnapshot, models: ActiveModels) -> None:
        """Args: `snapshot` of the catalog and the models; `models`, whose epoch is folded into."""
        self._snapshot = snapshot
        self._epoch = models.epoch
        self._fold = LearnerFold(self._epoch.parameters)
        self._learners: dict[str, LearnerRecord] = {}
        self._now_s = 0.0
        clock = AnswerClock(lambda: datetime.fromtimestamp(self._now_s, UTC))
        self._ranking = RankLearner(clock, time.perf_counter)

    def observe(self, events: Events) -> None:
        """Fold the events."""
        batch = [
            LearnerEvents(TENANT, self._learners.get(learner, NEW_LEARNER), new) for learner, new in events.items()
        ]
        for learner, folded in zip(events, self._fold.fold(batch), strict=True):
            self._learners[learner] = folded.stored

    @property
    def prepared(self) -> PreparedCatalog:
        """The catalog that lists are made from."""
        return self._snapshot.prepared

    def choose(self, pupil: Pupil) -> int:
        """The next resource."""
        answer = self.answer(RecommendQuery(pupil.learner_id, _LISTED), self.known(pupil.learner_id), pupil.now_s)
        return answer.resources[0].row

    def known(self, learner: str) -> StoredLearner | None:
        """What is known about a learner; None for a new one."""
        record = self._learners.get(learner, NEW_LEARNER)
        return None if record.state is None else StoredLearner(decode_state(encode_state(record.state)), record.offset)

    def answer(self, query: RecommendQuery, stored: StoredLearner | None, now_s: float) -> Recommendations:
        """The answer to a request at some time, Unix seconds."""
        self._now_s = now_s
        return self._ranking.rank(self._snapshot, query, FreshState(self._epoch, stored, 0, stale=False))


def train(cohort: Events, folder: str, seed: int) -> FsspecBundleStore:
    """Fit models to the events of a cohort, as `cairn train` does, and return the store with the bundle.

    Args:
        cohort: everything that learners did.
        folder: where to write the bundle.
        seed: of the models.
    """
    bundles = store(folder)
    trainer = Trainer(
        log=_Cohort(cohort),
        fit_tracing=partial(fit_tracing, seed=seed),
        fit_collaborative=partial(fit_collaborative, default=AlsSettings(), seed=seed),
        choose_collaborative=partial(choose_collaborative, seed=seed),
        bundles=bundles,
        clock=lambda: datetime.fromtimestamp(0, UTC),
        libraries={},
        fit_ranker=partial(train_ranker, seed=seed),
    )
    asyncio.run(trainer.train())
    return bundles


def store(folder: str) -> FsspecBundleStore:
    """A store of bundles that reads every kind of model; it may be empty."""
    decoders: dict[str, ModelDecoder] = {
        als.KIND: als.AlsModel.from_arrays,
        neighbours.KIND: neighbours.ItemItemModel.from_arrays,
    }
    return FsspecBundleStore(folder, decoders, ranker_from_arrays)


@dataclass(frozen=True)
class _Cohort:
    """A cohort's events as the log that training reads."""

    events: Events

    async def span(self) -> LogSpan:
        """As the protocol says."""
        return LogSpan(_LOG, {0: 0}, {0: sum(map(len, self.events.values()))})

    async def batches(self, span: LogSpan) -> AsyncIterator[LogBatch]:  # noqa: ARG002 - of the protocol.
        """As the protocol says."""
        logged = [LoggedEvent(TENANT, learner, event) for learner, of in self.events.items() for _, event in of]
        yield LogBatch(logged, (), len(logged))


class _OneEpoch:
    """The epoch that learners are folded into."""

    def __init__(self) -> None:
        self.meta = _epoch(PRIOR_PARAMETERS_ID, "")

    async def current(self) -> EpochMeta | None:
        """As the protocol says."""
        return self.meta


def _epoch(parameters_id: str, bundle: str) -> EpochMeta:
    return EpochMeta(1, EpochStatus.LIVE, parameters_id, bundle, _LOG, {})


@dataclass(frozen=True)
class _OneCatalog:
    """A catalog without rules that never changes."""

    catalog: CatalogColumns
    reachable: bool = True
    version: CatalogVersion = field(default_factory=CatalogVersion)

    def columns(self, _tenant: str) -> CatalogColumns:
        """As the protocol says."""
        return self.catalog

    def rules(self, _tenant: str) -> RuleBook:
        """As the protocol says."""
        return NO_RULE_BOOK
