"""Settings of the ingest service."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from services.common.kafka.settings import KafkaSettings
from services.common.settings import ProcessSettings, RedisSettings, ServerSettings, leave_room_for_calls


class OpenEdxSettings(ProcessSettings, KafkaSettings):
    """Environment of `python -m services.ingest.openedx`. The Kafka is the one of Open edX."""

    openedx_topics: str = Field(
        default="analytics", min_length=1, description="Topics of Open edX's event bus to read, separated by commas."
    )
    openedx_dead_letters: str = Field(
        default="cairn.openedx.dlt", min_length=1, description="Topic next to them for messages that are not taken."
    )
    openedx_group: str = Field(
        default="cairn-openedx", min_length=1, description="Consumer group that keeps how far the topics were read."
    )
    openedx_source: str = Field(default="openedx", min_length=1, description="Source of the events.")
    openedx_api_key_file: Path = Field(
        default=Path("openedx-api-key"), description="File with the tenant's API key for ingest."
    )
    openedx_insecure: bool = Field(
        default=False, description="Call ingest on another machine without TLS: the key can then be read."
    )
    target_ingest: str = Field(default="127.0.0.1:50051", description="host:port of the ingest service.")


class IngestSettings(ProcessSettings, KafkaSettings, RedisSettings, ServerSettings):
    """Environment of `python -m services.ingest`."""

    ingest_events_in_flight_max: int = Field(
        default=20_000, ge=500, description="Events that may await Kafka's confirmation; more get RESOURCE_EXHAUSTED."
    )
    connection_age_s: float = Field(
        default=1_800,
        ge=0,
        description="Age at which clients are asked to reconnect; streams end a little before. 0: never.",
    )
    ingest_streams: int = Field(default=100, ge=1, description="Streams of events open at once; they count as calls.")
    ingest_streams_per_tenant: int = Field(default=25, ge=1, description="Streams of events of a tenant open at once.")
    ingest_delivery_timeout_s: float = Field(
        default=10.0,
        ge=0.5,
        le=120,
        description="How long Kafka may take to confirm an event; then UNAVAILABLE.",
    )

    ingest_http_listen: str = Field(
        default="", description="host:port of events over HTTP, with the TLS and the limits of gRPC. Empty: none."
    )
    ingest_statements_kept_s: int = Field(
        default=86_400,
        ge=0,
        description="How long Redis keeps xAPI statements, encrypted, to answer for them by id. 0: not at all.",
    )
    ingest_statements_kept: int = Field(
        default=50_000, ge=1, description="Statements of a tenant that Redis keeps; then the oldest go."
    )
    ingest_accept_lost_keys: bool = Field(
        default=False,
        description="Start although cairn.learner-keys does not hold the keys of the log's last records.",
    )

    @field_validator("ingest_streams")
    @classmethod
    def _leave_room_for_calls(cls, value: int, info: ValidationInfo) -> int:
        return leave_room_for_calls(value, info, what="streams")
