"""The topics declared in `deploy/topics.yaml`: create them on a cluster, and compare it with the declaration.

The wheel ships that file next to this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import tenacity
import yaml
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic
from kafka.errors import KafkaError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.common.kafka.connection import BrokerUnavailableError, KafkaConnection, admin_client, unavailable
from services.common.repeated_keys import load_yaml


class TopicDeclaration(BaseModel):
    """The declaration of a topic.

    Attributes:
        partitions: the number of partitions; changing it later moves learners, so it needs a new epoch.
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
_IN_THE_WHEEL = Path(__file__).with_name("topics.yaml")
_IN_A_CHECKOUT = Path(__file__).parents[3] / "deploy" / "topics.yaml"


class TopicsFileError(ValueError):
    """The declaration cannot be read."""


class _NoLeaderYetError(BrokerUnavailableError):
    """A topic that was just created has a partition without a leader."""


class TopicOutcome(Enum):
    """The outcome for one declared topic."""

    CREATED = "created"
    MISSING = "missing"
    AS_DECLARED = "as declared"
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class TopicReport:
    """One declared topic after the command.

    Attributes:
        topic: its name.
        outcome: created, missing, as declared, or different from the declaration.
        detail: what differs and what to do; empty otherwise.
    """

    topic: str
    outcome: TopicOutcome
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ExistingTopic:
    """A topic on the cluster.

    Attributes:
        partitions: the number of partitions.
        replicas: the smallest number of copies among them.
        config: values of the declared settings; None: the broker does not return them.
    """

    partitions: int
    replicas: int
    config: Mapping[str, str] | None


def load_declarations(path: Path | None = None) -> dict[str, TopicDeclaration]:
    """The declared topics by name.

    Args:
        path: a declaration; None: the one that ships with Cairn.

    Raises:
        TopicsFileError: when the file is missing or malformed.
    """
    if path is None:
        path = _IN_THE_WHEEL if _IN_THE_WHEEL.exists() else _IN_A_CHECKOUT
    try:
        return _Declarations.model_validate(load_yaml(path.read_text(encoding="utf-8"))).topics
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise TopicsFileError(f"the topics declaration {path} cannot be used: {error}") from error


def ensure_topics(
    connection: KafkaConnection, declarations: dict[str, TopicDeclaration], *, replication_factor: int | None = None
) -> list[TopicReport]:
    """Create the topics that do not exist; compare those that do. Running it again changes nothing.

    A difference is reported and never changed: state and replays depend on partitions and retention.

    Args:
        connection: the cluster.
        declarations: topics by name.
        replication_factor: instead of the declared one.

    Raises:
        BrokerUnavailableError: when the cluster cannot be reached or refuses.
    """
    with _administration(connection) as admin:
        existing = _existing(connection, admin, declarations)
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
            await_leaders(admin, [topic.name for topic in missing])
    return [
        compare(name, declared, existing[name], replication_factor)
        if name in existing
        else TopicReport(name, TopicOutcome.CREATED)
        for name, declared in declarations.items()
    ]


def check_topics(
    connection: KafkaConnection, declarations: dict[str, TopicDeclaration], *, replication_factor: int | None = None
) -> list[TopicReport]:
    """Compare the topics with their declarations; nothing is created or changed.

    Args:
        connection: the cluster.
        declarations: topics by name.
        replication_factor: instead of the declared one.

    Raises:
        BrokerUnavailableError: when the cluster cannot be reached or refuses.
    """
    with _administration(connection) as admin:
        existing = _existing(connection, admin, declarations)
    return [
        compare(name, declared, existing[name], replication_factor)
        if name in existing
        else TopicReport(name, TopicOutcome.MISSING, "create it with: cairn topics create")
        for name, declared in declarations.items()
    ]


def compare(
    name: str, declared: TopicDeclaration, existing: ExistingTopic, replication_factor: int | None = None
) -> TopicReport:
    """How an existing topic differs from its declaration, and what to do about it.

    More copies than declared are accepted: a declaration for a laptop also serves a cluster.
    """
    details = []
    if existing.partitions != declared.partitions:
        details.append(
            f"has {existing.partitions} partitions, {declared.partitions} are declared; state is keyed to the count: "
            "declare what exists, and if partitions were added, run cairn topics repartition, then replay"
        )
    copies = replication_factor or declared.replication_factor
    if existing.replicas < copies:
        details.append(
            f"has partitions with {existing.replicas} of {copies} copies: reassign them "
            "(kafka-reassign-partitions.sh), or a lost disk loses acknowledged records"
        )
    settings = existing.config
    actual = {} if settings is None else {key: settings.get(key, "nothing") for key in declared.config}
    for key, found in actual.items():
        value = declared.config[key]
        if found != value:
            details.append(
                f"has {key}={found}, {value} is declared: kafka-configs.sh --alter --entity-type topics "
                f"--entity-name {name} --add-config {key}={value}"
            )
    if details:
        return TopicReport(name, TopicOutcome.DIFFERS, "; ".join(details))
    unknown = settings is None and bool(declared.config)
    detail = "but this broker does not return its settings" if unknown else ""
    return TopicReport(name, TopicOutcome.AS_DECLARED, detail)


@contextmanager
def _administration(connection: KafkaConnection) -> Iterator[KafkaAdminClient]:
    admin = admin_client(connection)
    try:
        yield admin
    except KafkaError as error:
        raise unavailable(connection, error, "did not describe or create the topics") from error
    finally:
        admin.close()


def _existing(
    connection: KafkaConnection, admin: KafkaAdminClient, declarations: Mapping[str, TopicDeclaration]
) -> dict[str, ExistingTopic]:
    """The declared topics that exist, by name."""
    described = [topic for topic in admin.describe_topics(list(declarations)) if not topic["error_code"]]
    settings = _settings(connection, {topic["name"]: declarations[topic["name"]].config for topic in described})
    return {
        topic["name"]: ExistingTopic(
            len(topic["partitions"]),
            min((len(partition["replica_nodes"]) for partition in topic["partitions"]), default=0),
            None if settings is None else settings.get(topic["name"], {}),
        )
        for topic in described
    }


def _settings(
    connection: KafkaConnection, declared: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, str]] | None:
    """The topics' values of the declared settings, by topic; None when the broker does not return them.

    The embedded broker closes the connection on this request, so it uses a separate connection.
    """
    resources = [
        ConfigResource(ConfigResourceType.TOPIC, name, dict.fromkeys(config))
        for name, config in declared.items()
        if config
    ]
    if not resources:
        return {}
    try:
        with _administration(connection) as admin:
            described: Any = admin.describe_configs(resources, config_filter="all")
    except BrokerUnavailableError:
        return None
    return {
        name: {key: str(entry["value"]) for key, entry in values.items()}
        for by_name in described.values()
        for name, values in by_name.items()
    }


def await_leaders(admin: KafkaAdminClient, topics: list[str]) -> None:
    """Return once every partition has a leader: a cluster answers before all its brokers know a new topic."""
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
