"""Wires the recommender server: neither Faust nor the libraries that fit are loaded here."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import redis.asyncio
from prometheus_client import start_http_server
from threadpoolctl import threadpool_limits

from cairn.v1 import recommender_pb2_grpc
from services.common.auth.registry import TenantRegistry
from services.common.auth.tenants_file import load_tenants
from services.common.rpc.server import GrpcServer, announce, run_until_stopped
from services.recommender.adapters.kafka.catalog import KafkaCatalog
from services.recommender.adapters.redis.change_notifications import RedisChangeNotifications
from services.recommender.adapters.redis.connection import RedisConnection
from services.recommender.adapters.redis.epochs import RedisEpochs
from services.recommender.adapters.redis.reads import RedisReads
from services.recommender.adapters.redis.states import RedisLearnerReader
from services.recommender.application.answers.active_models import ActiveModels
from services.recommender.application.answers.fresh_state import FreshStates
from services.recommender.application.answers.list_inputs import ListInputs
from services.recommender.application.answers.plan_group import PlanGroup
from services.recommender.application.answers.preview_rule import PreviewRule
from services.recommender.application.answers.recommend import Recommend
from services.recommender.application.answers.recommend_batch import RecommendBatch
from services.recommender.application.answers.show_learner import ShowLearner
from services.recommender.application.subscriptions.follow_changes import FollowChanges
from services.recommender.application.subscriptions.subscribe import Subscribe
from services.recommender.application.subscriptions.subscriptions import Subscriptions
from services.recommender.bootstrap.stores import bundle_store
from services.recommender.domain.ranking.weights import BY_WEIGHTS, RankingPolicy
from services.recommender.entrypoints.background_refresh import BackgroundRefresh
from services.recommender.entrypoints.grpc import SERVICE_NAME, Calls, RecommendationServicer
from services.recommender.entrypoints.subscriptions import SubscriptionStreams
from services.recommender.settings import RecommenderServerSettings, TenantRanking


async def run_server(settings: RecommenderServerSettings) -> None:
    """Run a recommender server until it is told to stop.

    Raises:
        ListenAddressError: when it may not or cannot listen where it was told to.
        TenantsFileError: when the tenants file cannot be used.
        BundlesUrlInvalidError: when fsspec does not know the URL of the bundles.
        BrokerUnavailableError: when Kafka cannot be reached at the start.
        TopicMissingError: when a topic of the catalog does not exist.
        OSError: when the metrics port is taken.
    """
    # One request's matrices are small: handing parts of them to other threads costs far more than it saves.
    threadpool_limits(limits=1, user_api="blas")
    traces = settings.traces("recommender")
    tenants = load_tenants(settings.tenants, TenantRanking.model_validate)
    reads = RedisReads(RedisConnection(settings.redis, settings.redis_timeout_s))
    client = redis.asyncio.Redis.from_url(
        settings.redis,
        protocol=2,
        socket_timeout=settings.redis_timeout_s,
        socket_connect_timeout=settings.redis_timeout_s,
    )
    active_models = ActiveModels(RedisEpochs(client), bundle_store(settings.bundles))
    catalog = KafkaCatalog(settings.connection)
    reader, notifications = RedisLearnerReader(reads), RedisChangeNotifications(settings.redis)
    states = FreshStates(reader, active_models, time.monotonic)
    recommend = Recommend(
        states,
        catalog,
        active_models,
        lambda: datetime.now(UTC),
        time.perf_counter,
        policy=partial(ranking_policy, tenants),
    )
    prepared = ListInputs(recommend, active_models, catalog)
    age_s = settings.connection_age_s or None
    subscriptions = Subscriptions(
        notifications,
        prepared,
        settings.subscription_limits,
        time.monotonic,
        age_s,
        random.Random(),  # noqa: S311 - it spreads load and guards nothing.
    )
    subscribe = Subscribe(subscriptions, states, reader, recommend, active_models, catalog, prepared, time.monotonic)
    follow = FollowChanges(subscriptions, notifications, reader, active_models, prepared, recommend, time.monotonic)
    servicer = RecommendationServicer(
        Calls(
            recommend=recommend,
            show_learner=ShowLearner(states),
            recommend_batch=RecommendBatch(states, recommend),
            plan_group=PlanGroup(states, recommend, active_models, catalog),
            preview_rule=PreviewRule(states, recommend, catalog),
            subscribe=SubscriptionStreams(
                subscribe, subscriptions, write_timeout_s=settings.subscribe_write_timeout_s, traces=traces
            ),
        )
    )
    server = GrpcServer(replace(settings.server_options, connection_age_s=age_s), tenants, traces)
    server.register(
        lambda grpc: recommender_pb2_grpc.add_RecommendationServiceServicer_to_server(servicer, grpc), SERVICE_NAME
    )
    refresh = BackgroundRefresh(
        active_models, catalog, recommend, tenants.names, lambda serving: server.set_serving(serving=serving)
    )
    if settings.metrics_port:
        start_http_server(settings.metrics_port, settings.metrics_host)
    announce("recommender", await server.start(), settings.address_file)
    try:
        await run_until_stopped([catalog.run(), refresh.run(), follow.run()])
    finally:
        subscriptions.stop()
        # Running calls may still read state while they finish.
        await server.stop()
        await reads.close()
        await client.aclose()
        traces.close()


def ranking_policy(tenants: TenantRegistry, name: str) -> RankingPolicy:
    """How a tenant's lists are ranked, according to the tenants file."""
    tenant = tenants.get(name)
    return BY_WEIGHTS if tenant is None else TenantRanking.model_validate(tenant.settings).policy
