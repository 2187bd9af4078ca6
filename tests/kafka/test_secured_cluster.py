"""A cluster that checks who connects and what they do: TLS, SCRAM, tokens and ACLs on Apache Kafka."""

from __future__ import annotations

import asyncio
import base64
import json
import shlex
import sys
import time
import uuid
from dataclasses import replace

import aiokafka
import pytest
from aiokafka.errors import TopicAuthorizationFailedError
from typer.testing import CliRunner

from deploy.kafka.access import ClusterAccess, grant
from deploy.kafka.certificates import Authority
from deploy.kafka.cluster import KafkaCluster
from deploy.local.stack import KAFKA_LIBRARIES, TOPICS
from services.cli.topics import app
from services.common.kafka.connection import (
    BrokerUnavailableError,
    aiokafka_options,
    log_identity,
    topic_span,
)
from services.common.kafka.envelope import LEARNER_EVENTS
from services.common.kafka.security import KafkaSecurity, KafkaTls, Mechanism, Password
from services.common.kafka.tokens import RenewedTokens, TokenCommand
from services.common.kafka.topics import ensure_topics, load_declarations

USERS = ("ingest", "catalog", "worker", "server", "operator")


@pytest.fixture(scope="module")
def access(tmp_path_factory):
    return ClusterAccess(tmp_path_factory.mktemp("access") / "files", USERS)


@pytest.fixture(scope="module")
def cluster(access, tmp_path_factory):
    cluster = KafkaCluster(tmp_path_factory.mktemp("kafka") / "cluster", cache=KAFKA_LIBRARIES, access=access)
    cluster.start()
    try:
        ensure_topics(cluster.connection, load_declarations(TOPICS))
        grant(cluster.connection)
        yield cluster
    finally:
        cluster.stop()


async def written_by(connection, topic):
    producer = aiokafka.AIOKafkaProducer(**aiokafka_options(connection))
    await producer.start()
    try:
        await producer.send_and_wait(topic, b"value", partition=0)
    finally:
        await producer.stop()


async def test_of_the_services_only_ingest_may_write_events(cluster):
    await written_by(cluster.secured_connection("ingest"), LEARNER_EVENTS)
    for user in ("catalog", "worker", "server"):
        with pytest.raises(TopicAuthorizationFailedError):
            await written_by(cluster.secured_connection(user), LEARNER_EVENTS)


def test_an_operator_creates_the_topics_with_a_login_from_the_environment(cluster, access, tmp_path):
    topic = f"cairn.secured-{uuid.uuid4().hex[:8]}"
    file = tmp_path / "topics.yaml"
    file.write_text(f"topics: {{{topic}: {{partitions: 1, config: {{cleanup.policy: delete}}}}}}")
    environment = access.environment_of("operator", cluster.secured_servers)
    created = CliRunner().invoke(app, ["create", "--file", str(file)], env=environment, terminal_width=200)
    assert (created.exit_code, created.output.split()) == (0, ["topic", topic, "created"])
    ingest = access.environment_of("ingest", cluster.secured_servers)
    refused = CliRunner().invoke(app, ["create", "--file", str(file)], env=ingest, terminal_width=200)
    assert refused.exit_code == 1
    assert "allow it to the user 'ingest'; deploy/acls.yaml lists" in refused.output


def test_an_unsigned_token_of_a_command_logs_in_with_both_libraries(cluster, access):
    # The test cluster accepts tokens that nobody signed (RFC 7519, section 6).
    claims = {"sub": "worker", "iat": time.time() - 60, "exp": time.time() + 600}
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "none"}, claims)
    ]
    command = TokenCommand(shlex.join([sys.executable, "-c", f"print({'.'.join([*parts, ''])!r})"]))
    security = KafkaSecurity(KafkaTls(access.authority.certificate), RenewedTokens(command.fetch))
    connection = replace(cluster.secured_connection("worker"), security=security)
    assert asyncio.run(log_identity(connection, LEARNER_EVENTS)).partitions == 4
    assert asyncio.run(topic_span(connection, LEARNER_EVENTS)).keys() == {0, 1, 2, 3}


def log_identity_of(connection):
    asyncio.run(log_identity(connection, LEARNER_EVENTS, bootstrap_timeout_ms=3_000))


def topic_span_of(connection):
    asyncio.run(topic_span(connection, LEARNER_EVENTS))


def topics_of(connection):
    ensure_topics(connection, load_declarations(TOPICS))


@pytest.mark.parametrize("ask", [log_identity_of, topic_span_of, topics_of])
def test_what_to_check_is_named_when_a_login_a_certificate_or_the_security_is_wrong(cluster, access, tmp_path, ask):
    (tmp_path / "password").write_text("wrong")
    trusted, stranger = KafkaTls(access.authority.certificate), KafkaTls(Authority(tmp_path / "other").certificate)
    login = Password(Mechanism.SCRAM_SHA_512, "worker", tmp_path / "password")
    right = cluster.secured_connection("worker")
    for security, said in (
        (KafkaSecurity(trusted, login), "check.*CAIRN_KAFKA_USERNAME, its password"),
        (replace(right.security, tls=stranger), "no authority in CAIRN_KAFKA_CA=.*signed it"),
        (KafkaSecurity(), "check.*CAIRN_KAFKA_SECURITY"),
    ):
        with pytest.raises(BrokerUnavailableError, match=said):
            ask(replace(right, security=security))
