"""Topics as declared in `deploy/topics.yaml`, and making a cluster agree with the declaration."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import tenacity
import yaml
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.common.kafka import BOOTSTRAP_TIMEOUT_MS, BrokerUnavailableError, KafkaConnection


class TopicDeclaration(BaseModel):
    """One topic as it should be.

    Attributes:
        partitions: how many partitions it has; changing it later moves learners, so it needs a new epoch.
        replication_factor: copies of each partition; the command can override it for small clusters.
        config: the broker's settings for the topic.
        description: what it carries.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    partitions: int = Field(ge=1)
    replication_factor: int = Field(ge=1, default=1)
    config: dict[str, str] = {}
    description: str = ""


class _Declarations(BaseModel):
    model_config = ConfigDict(extra="forbid")
    topics: dict[str, TopicDeclaration]


_LEADERS_DEADLINE_S = 30.0


class TopicsFileError(ValueError):
    """The declaration cannot be read."""


class _NoLeaderYetError(BrokerUnavailableError):
    """A topic that was just created has a partition without a leader."""


class TopicOutcome(Enum):
    """What became of one declared topic."""

    CREATED = "created"
    AS_DECLARED = "as declared"
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class TopicReport:
    """One declared topic after the command.

    Attributes:
        topic: its name.
        outcome: created, as declared, or different from the declaration.
        detail: what differs and what to do; empty otherwise.
    """

    topic: str
    outcome: TopicOutcome
    detail: str = ""


def load_declarations(path: Path) -> dict[str, TopicDeclaration]:
    """The declared topics by name.

    Raises:
        TopicsFileError: when the file is missing or malformed.
    """
    try:
        return _Declarations.model_validate(yaml.safe_load(path.read_text())).topics
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise TopicsFileError(f"the topics declaration {path} cannot be used: {error}") from error


def ensure_topics(
    connection: KafkaConnection, declarations: dict[str, TopicDeclaration], *, replication_factor: int | None = None
) -> list[TopicReport]:
    """Create the topics that do not exist; compare those that do. Running it again changes nothing.

    Args:
        connection: the cluster.
        declarations: topics by name.
        replication_factor: instead of the declared one.

    Raises:
        BrokerUnavailableError: when the cluster cannot be reached or refuses.
    """
    try:
        admin = KafkaAdminClient(
            bootstrap_servers=connection.bootstrap_servers.split(","), bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS
        )
    except KafkaError as error:
        raise BrokerUnavailableError(f"Kafka at {connection.bootstrap_servers} cannot be reached: {error}") from error
    try:
        existing = {
            description["name"]: len(description["partitions"])
            for description in admin.describe_topics(list(declarations))
            if not description["error_code"]
        }
        missing = [
            NewTopic(
                name,
                declared.partitions,
                replication_factor or declared.replication_factor,
                topic_configs=declared.config,
            )
            for name, declared in declarations.items()
            if name not in existing
        ]
        if missing:
            admin.create_topics(missing)
            _await_leaders(admin, [topic.name for topic in missing])
    except KafkaError as error:
        raise BrokerUnavailableError(
            f"Kafka at {connection.bootstrap_servers} did not create the topics: {error}"
        ) from error
    finally:
        admin.close()
    return [_report(name, declared, existing.get(name)) for name, declared in declarations.items()]


def _await_leaders(admin: KafkaAdminClient, topics: list[str]) -> None:
    """Return once every partition has a leader: a cluster answers before its brokers have heard of a new topic."""
    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(_NoLeaderYetError),
        wait=tenacity.wait_fixed(0.05),
        stop=tenacity.stop_after_delay(_LEADERS_DEADLINE_S),
        reraise=True,
    ):
        with attempt:
            for description in admin.describe_topics(topics):
                leaders = [partition["leader_id"] for partition in description["partitions"]]
                if description["error_code"] or not leaders or min(leaders) < 0:
                    raise _NoLeaderYetError(
                        f"Kafka created the topic {description['name']} but named no leader for it "
                        f"within {_LEADERS_DEADLINE_S:g} s; look at the brokers' logs and run the command again"
                    )


def _report(name: str, declared: TopicDeclaration, partitions: int | None) -> TopicReport:
    if partitions is None:
        return TopicReport(name, TopicOutcome.CREATED)
    if partitions != declared.partitions:
        detail = (
            f"has {partitions} partitions, {declared.partitions} are declared; state is keyed to the count: "
            "declare what exists, or create a new topic and replay"
        )
        return TopicReport(name, TopicOutcome.DIFFERS, detail)
    return TopicReport(name, TopicOutcome.AS_DECLARED)
