"""Wires the keys that readers of the log decrypt values with."""

from __future__ import annotations

from pathlib import Path

from services.common.encryption.erasure_proofs import KafkaErasureProofs
from services.common.encryption.learner_keys import LearnerKeys
from services.common.encryption.tenant_keys import tenant_keys_in
from services.common.kafka.connection import KafkaConnection
from services.common.kafka.envelope import LEARNER_EVENTS


def learner_keys(connection: KafkaConnection, tenants: Path, *, topic: str = LEARNER_EVENTS) -> LearnerKeys:
    """The keys of learners; the log at `topic` proves erasures. The tenants file holds the tenants' keys."""
    return LearnerKeys(connection, tenant_keys_in(tenants), KafkaErasureProofs(connection, topic=topic))
