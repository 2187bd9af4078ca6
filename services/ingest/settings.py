"""Settings of the ingest service."""

from __future__ import annotations

from pydantic import Field

from services.common.settings import KafkaSettings, ProcessSettings, ServerSettings


class IngestSettings(ProcessSettings, KafkaSettings, ServerSettings):
    """Environment of `python -m services.ingest`."""

    ingest_events_in_flight_max: int = Field(
        default=20_000, ge=500, description="Events that may await Kafka's confirmation; more get RESOURCE_EXHAUSTED."
    )
    connection_age_s: float = Field(
        default=1_800,
        ge=0,
        description="Age at which clients are asked to connect anew; streams end a little before. 0: never.",
    )
    ingest_delivery_timeout_s: float = Field(
        default=10.0,
        ge=0.5,
        le=120,
        description="How long Kafka may take to confirm an event; then UNAVAILABLE.",
    )
