"""Topics that drifted from their declaration, on Apache Kafka, which reports settings and can add partitions."""

from __future__ import annotations

import uuid

import pytest
import yaml
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from typer.testing import CliRunner

from services.cli.topics import app


@pytest.fixture
def declared(tmp_path):
    """A file that declares one topic for the test, and the topic's name."""
    name = f"drift-{uuid.uuid4().hex[:8]}"
    config = {"retention.ms": "-1", "cleanup.policy": "delete", "max.message.bytes": "1048576"}
    file = tmp_path / "topics.yaml"
    file.write_text(yaml.safe_dump({"topics": {name: {"partitions": 4, "config": config}}}))
    return file, name


@pytest.fixture
def admin(kafka_broker):
    admin = KafkaAdminClient(bootstrap_servers=kafka_broker.bootstrap_servers)
    yield admin
    admin.close()


def topics(command: str, kafka_broker, file, *options: str):
    arguments = [command, "--kafka", kafka_broker.bootstrap_servers, "--file", str(file), *options]
    result = CliRunner().invoke(app, arguments, terminal_width=1_000)
    return result.exit_code, " ".join(result.output.split())


def test_missing_created_and_drifted_topics_are_distinguished(kafka_broker, admin, declared):
    file, name = declared
    assert topics("check", kafka_broker, file)[0] == 1
    assert topics("create", kafka_broker, file)[0] == 0
    assert topics("check", kafka_broker, file) == (0, f"topic {name} as declared")

    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"retention.ms": "604800000"})])
    code, said = topics("check", kafka_broker, file)
    assert code == 1
    assert "has retention.ms=604800000, -1 is declared" in said

    code, said = topics("check", kafka_broker, file, "--replication-factor", "3")
    assert "1 of 3 copies" in said

    admin.create_partitions({name: 6})
    code, said = topics("create", kafka_broker, file)
    assert code == 1
    assert "has 6 partitions, 4 are declared" in said
