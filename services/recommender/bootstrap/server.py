"""Wires the recommender server. It loads neither Faust nor the libraries that fit models."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from threadpoolctl import threadpool_limits

from cairn.v1 import recommender_pb2_grpc
from services.common.auth.registry import TenantRegistry
from services.common.auth.tenant import Tenant
from services.common.auth.tenants_file import load_tenants
from services.common.process import announce, run_until_stopped
from services.common.rpc.server import GrpcServer, ServerOptions
from services.common.telemetry.certificates import report_expiry
from services.common.telemetry.http import serve_http
from services.common.telemetry.traces import NO_TRACES, Traces
from services.common.turns import Turns
from services.recommender.adapters.kafka.catalog import KafkaCatalog
from services.recommender.application.answers.active_models import ActiveModels
from services.recommender.application.answers.answer_clock import AnswerClock
from services.recommender.application.answers.dependencies import AnswerDependencies
from services.recommender.application.answers.fresh_state import FreshStates
from services.recommender.application.answers.list_inputs import ListInputs
from services.recommender.application.answers.prepared_catalogs import PreparedCatalogs, RankingPolicies
from services.recommender.application.answers.rank_learner import RankLearner
from services.recommender.application.ports.catalog import CatalogReader
from services.recommender.application.ports.epochs import EpochReader
from services.recommender.application.ports.learners import (
    ChangeNotifications,
    LearnerReader,
    StateRefusedError,
    StateUnavailableError,
)
from services.recommender.application.ports.models import BundleReader
from services.recommender.application.ports.state_store import ServedLearners
from services.recommender.application.subscriptions.follow_changes import FollowChanges, FollowOptions
from services.recommender.application.subscriptions.subscribe import Subscribe
from services.recommender.application.subscriptions.subscriptions import SubscriptionLimits, Subscriptions
from services.recommender.bootstrap.stores import bundle_store, state_store
from services.recommender.domain.ranking.weights import DEFAULT_POLICY, RankingPolicy
from services.recommender.entrypoints.background_refresh import BackgroundRefresh, ReadableCatalog
from services.recommender.entrypoints.grpc import SERVICE_NAME, RecommendationServicer
from services.recommender.entrypoints.subscriptions import SubscriptionStreams
from services.recommender.settings import RecommenderServerSettings, TenantRanking


@dataclass(frozen=True, slots=True)
class AnswerAdapters:
    """The adapters that lists are computed from, and clocks.

    Attributes:
        learners: learners' states.
        epochs: which epoch is served.
        catalog: the tenants' catalogs.
        bundles: fitted models.
        policies: returns the ranking policy of a tenant.
        clock: the time, aware.
        clock_s: monotonic seconds, for waiting.
        timer: monotonic seconds, for measuring.
    """

    learners: LearnerReader
    epochs: EpochReader
    catalog: CatalogReader
    bundles: BundleReader
    policies: RankingPolicies
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    clock_s: Callable[[], float] = time.monotonic
    timer: Callable[[], float] = time.perf_counter


@dataclass(frozen=True, slots=True)
class ServerAdapters(AnswerAdapters):
    """The same, and the adapters that keep subscriptions up to date.

    Attributes:
        learners: learners' states and their offsets.
        catalog: the tenants' catalogs.
        notifications: reports changed learners.
        tenants: the tenants and their API keys.
    """

    learners: ServedLearners
    catalog: ReadableCatalog
    notifications: ChangeNotifications = field(kw_only=True)
    tenants: TenantRegistry = field(kw_only=True)


@dataclass(frozen=True, slots=True)
class RecommenderOptions:
    """How a server listens, and how it keeps subscriptions.

    Attributes:
        grpc: the gRPC server; streams also end before its `connection_age_s`.
        limits: the largest numbers of subscriptions and watched learners.
        follow: how often to check for changes.
        write_timeout_s: how long a write of a subscription may wait for its reader.
        traces: where spans go.
    """

    grpc: ServerOptions
    limits: SubscriptionLimits = field(default_factory=SubscriptionLimits)
    follow: FollowOptions = field(default_factory=FollowOptions)
    write_timeout_s: float = 10.0
    traces: Traces = NO_TRACES


@dataclass(frozen=True, slots=True)
class RecommenderServer:
    """A wired server.

    Attributes:
        answers: the dependencies of its use cases.
        subscriptions: the open subscriptions.
        subscribe: makes the messages of subscriptions.
        follow: marks changed learners of subscriptions; must be run.
        refresh: keeps models and catalogs current, and reports health; must be run.
        grpc: the gRPC server with the registered service; must be started.
    """

    answers: AnswerDependencies
    subscriptions: Subscriptions
    subscribe: Subscribe
    follow: FollowChanges
    refresh: BackgroundRefresh
    grpc: GrpcServer

    def jobs(self) -> list[Coroutine[Any, Any, None]]:
        """The coroutines to run while the server serves."""
        return [self.refresh.run(), self.follow.run()]

    async def stop(self) -> None:
        """End subscriptions, and let running calls finish."""
        self.subscriptions.stop()
        await self.grpc.stop()


def answer_dependencies(adapters: AnswerAdapters) -> AnswerDependencies:
    """The dependencies of the use cases that answer requests."""
    active_models = ActiveModels(adapters.epochs, adapters.bundles)
    clock = AnswerClock(adapters.clock)
    return AnswerDependencies(
        states=FreshStates(adapters.learners, active_models, adapters.clock_s),
        active_models=active_models,
        catalogs=PreparedCatalogs(adapters.catalog, active_models, adapters.policies),
        ranking=RankLearner(clock, adapters.timer),
        clock=clock,
        turns=Turns(),
        timer=adapters.timer,
    )


def recommender_server(adapters: ServerAdapters, options: RecommenderOptions) -> RecommenderServer:
    """A server over the adapters; nothing is started yet."""
    answers = answer_dependencies(adapters)
    inputs = ListInputs(answers.catalogs, answers.active_models, answers.clock)
    subscriptions = Subscriptions(
        adapters.notifications,
        inputs,
        options.limits,
        adapters.clock_s,
        options.grpc.connection_age_s,
        random.Random(),  # noqa: S311 - it spreads load and guards nothing.
    )
    subscribe = Subscribe(subscriptions, answers, adapters.learners, inputs, adapters.clock_s)
    streams = SubscriptionStreams(
        subscribe, subscriptions, write_timeout_s=options.write_timeout_s, traces=options.traces
    )
    servicer = RecommendationServicer(answers, streams)
    grpc = GrpcServer(options.grpc, adapters.tenants, options.traces)
    grpc.register(
        lambda server: recommender_pb2_grpc.add_RecommendationServiceServicer_to_server(servicer, server), SERVICE_NAME
    )
    return RecommenderServer(
        answers=answers,
        subscriptions=subscriptions,
        subscribe=subscribe,
        follow=FollowChanges(
            subscriptions,
            adapters.notifications,
            adapters.learners,
            answers.active_models,
            inputs,
            answers.catalogs,
            adapters.clock_s,
            options.follow,
        ),
        refresh=BackgroundRefresh(
            answers.active_models,
            adapters.catalog,
            answers.catalogs,
            adapters.tenants,
            lambda serving: grpc.set_serving(serving=serving),
        ),
        grpc=grpc,
    )


async def run_server(settings: RecommenderServerSettings) -> None:
    """Run a recommender server until it is stopped.

    Raises:
        ListenAddressError: when listening at the address is refused or fails.
        TenantsFileError: when the tenants file cannot be used.
        BundlesUrlInvalidError: when fsspec does not know the URL of the bundles.
        StateUrlInvalidError: when CAIRN_REDIS is not the URL of a state store.
        StateRefusedError: when it is a store of a kind that cannot be used.
        BrokerUnavailableError: when Kafka cannot be reached at the start.
        TopicMissingError: when a topic of the catalog does not exist.
        OSError: when the metrics port is taken.
    """
    # The matrices of a request are small: distributing them over threads costs far more than it saves.
    threadpool_limits(limits=1, user_api="blas")
    traces = settings.traces("recommender")
    tenants = load_tenants(settings.tenants, TenantRanking.model_validate)
    store = state_store(settings.redis_url, settings.redis_timeout_s)
    try:
        await store.check_is_one_server()
    except StateRefusedError:
        await store.aclose()
        raise
    except StateUnavailableError:
        # It may answer later; until then calls are answered UNAVAILABLE.
        pass
    catalog = KafkaCatalog(settings.connection)
    server = recommender_server(
        ServerAdapters(
            learners=store.learners,
            epochs=store.epochs,
            catalog=catalog,
            bundles=bundle_store(settings.bundles),
            policies=TenantPolicies(tenants),
            notifications=store.notifications,
            tenants=tenants,
        ),
        RecommenderOptions(
            replace(settings.server_options, connection_age_s=settings.connection_age_s or None),
            settings.subscription_limits,
            write_timeout_s=settings.subscribe_write_timeout_s,
            traces=traces,
        ),
    )
    report_expiry("CAIRN_TLS_CERTIFICATE", settings.tls_certificate, read_again=True)
    report_expiry("CAIRN_KAFKA_CERTIFICATE", settings.kafka_certificate)
    if settings.metrics_port:
        serve_http("server", settings.metrics_port, settings.metrics_host, lambda: server.grpc.serving)
    announce("recommender", await server.grpc.start(), settings.address_file)
    try:
        await run_until_stopped([catalog.run(), *server.jobs()])
    finally:
        await server.stop()
        # Calls that are finishing may still read state.
        await store.aclose()
        traces.close()


class TenantPolicies:
    """Returns the ranking policy of each tenant, from the tenants file."""

    def __init__(self, tenants: TenantRegistry) -> None:
        self._tenants = tenants
        # Every list asks, and a registry holds another object only after the tenant's entry was read again.
        self._known: dict[str, tuple[Tenant, RankingPolicy]] = {}

    def __call__(self, name: str) -> RankingPolicy:
        """The policy of a tenant; the default for one that the file does not name."""
        tenant = self._tenants.get(name)
        if tenant is None:
            return DEFAULT_POLICY
        known = self._known.get(name)
        if known is None or known[0] is not tenant:
            known = (tenant, TenantRanking.model_validate(tenant.settings).policy)
            self._known[name] = known
        return known[1]
