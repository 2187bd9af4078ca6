"""Settings of the recommender's processes and commands."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from services.common.environment import OptionalPath
from services.common.kafka.settings import KafkaSettings
from services.common.settings import (
    ProcessSettings,
    RedisSettings,
    ServerSettings,
    TenantsSettings,
    leave_room_for_calls,
)
from services.recommender.application.subscriptions.subscriptions import SubscriptionLimits
from services.recommender.domain.ranking.weights import RankingPolicy


class BundleSettings(KafkaSettings, TenantsSettings):
    """The bundle store, and the log that bundles are trained on, with the tenants' keys to decrypt it."""

    bundles: str = Field(
        default="bundles", description="Where bundles are stored: a path or a URL that fsspec supports."
    )


class TrainingSettings(BundleSettings, RedisSettings):
    """Training, which stamps events again as the current epoch does; as they are stamped, where Redis is empty."""


class FoldSettings(BundleSettings, RedisSettings):
    """Folding the log into Redis, live or in a replay."""

    batch_records: int = Field(default=20_000, ge=1, description="Most events that are folded and stored at once.")
    allow_eviction: bool = Field(
        default=False,
        description="Fold into a Redis that evicts learners when its memory is full (maxmemory-policy allkeys-*).",
    )
    cache_mb: int = Field(default=256, ge=0, description="Memory for recently folded learners, per epoch, in MiB.")


class WorkerSettings(ProcessSettings, ServerSettings, FoldSettings):
    """The worker."""

    session_timeout_ms: int = Field(
        default=6_000, ge=1_000, description="How long the consumer group waits for a silent worker."
    )
    rewind_records: int = Field(
        default=1_000, ge=0, description="Events before a partition's position that are read again on assignment."
    )
    stuck_after_s: float = Field(
        default=30.0, gt=0, description="A partition that does not advance for this long makes the worker not serving."
    )
    fail_point: str = Field(
        default="",
        description="Tests only, with allow_fail_points: STEP:ACTION:OCCASION, for example after-commit:kill:5.",
    )
    allow_fail_points: bool = Field(
        default=False, validate_default=True, description="Tests only: let fail_point end or stop this worker."
    )

    @field_validator("allow_fail_points")
    @classmethod
    def _required_by_a_fail_point(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic calls it.
        if info.data.get("fail_point") and not value:
            raise ValueError("CAIRN_FAIL_POINT ends this worker on purpose: set CAIRN_ALLOW_FAIL_POINTS=true in a test")
        return value


class StatusSettings(BundleSettings, RedisSettings):
    """The addresses of everything that `cairn status` looks at. A process without an address is left out."""

    target_catalog: str = Field("", description="host:port of the catalog service.")
    target_ingest: str = Field("", description="host:port of the ingest service.")
    target_worker: str = Field("", description="host:port of a worker's health service.")
    target_recommender: str = Field("", description="host:port of the recommendation service.")

    @property
    def targets(self) -> dict[str, str]:
        """Addresses by name."""
        return {
            "catalog": self.target_catalog,
            "ingest": self.target_ingest,
            "worker": self.target_worker,
            "server": self.target_recommender,
        }


class LagSettings(ProcessSettings, KafkaSettings, RedisSettings):
    """The lag exporter."""

    redis_timeout_s: float = Field(default=5.0, gt=0, description="How long reading positions may take.")
    lag_every_s: float = Field(default=5.0, gt=0, description="Seconds between two readings of the lag.")
    address_file: OptionalPath = Field(default=None, description="File to write the address of the metrics to.")


class RecommenderServerSettings(ProcessSettings, BundleSettings, RedisSettings, ServerSettings):
    """The recommender server."""

    redis_timeout_s: float = Field(
        default=1.0, gt=0, description="How long a read of learner state may take; then UNAVAILABLE."
    )
    connection_age_s: float = Field(
        default=1_800,
        ge=0,
        description="Age at which clients are asked to reconnect; streams end a little before. 0: never.",
    )
    subscribe_streams: int = Field(default=100, ge=1, description="Subscriptions at once; they count as calls.")
    subscribe_streams_per_tenant: int = Field(default=25, ge=1, description="Subscriptions of a tenant at once.")
    subscribe_learners: int = Field(
        default=20_000, ge=1, description="Learners on subscriptions; one on two counts twice."
    )
    subscribe_learners_per_tenant: int = Field(
        default=10_000, ge=1, description="Learners of a tenant on subscriptions; one on two counts twice."
    )
    subscribe_write_timeout_s: float = Field(
        default=10.0, gt=0, description="How long a subscription waits for its reader before it ends."
    )

    @field_validator("subscribe_streams")
    @classmethod
    def _leave_room_for_calls(cls, value: int, info: ValidationInfo) -> int:
        return leave_room_for_calls(value, info, what="subscriptions")

    @property
    def subscription_limits(self) -> SubscriptionLimits:
        """How many subscriptions, and learners on them, there may be."""
        return SubscriptionLimits(
            streams_per_tenant=self.subscribe_streams_per_tenant,
            streams=self.subscribe_streams,
            learners_per_tenant=self.subscribe_learners_per_tenant,
            learners=self.subscribe_learners,
        )


class Ranker(StrEnum):
    """The ranker of a tenant's lists. The last two are of earlier releases and mean the same as the first."""

    AUTO = "auto"
    LEARNED = "learned"
    WEIGHTS = "weights"


class TenantRanking(BaseModel):
    """A tenant's settings in the tenants file that say how its lists are ranked."""

    model_config = ConfigDict(frozen=True)

    ranker: Ranker = Field(
        default=Ranker.AUTO,
        description="auto: what the newest bundle learned from the tenant's learners, and what is known without one.",
    )
    need_share: Annotated[float, Field(ge=0.0, le=1.0)] | None = Field(
        default=None,
        description=(
            "Share of need in the score, from 0, only what is likely to come next, to 1, only need. By default the "
            "largest share, up to 0.5, that costs little agreement with what learners did next; training chooses it."
        ),
    )

    @property
    def policy(self) -> RankingPolicy:
        """The settings as the domain takes them."""
        return RankingPolicy(self.need_share)
