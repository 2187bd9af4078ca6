"""`cairn topics create` against a real broker."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from deploy.local.broker import Broker
from deploy.processes import free_port
from services.cli.topics import app
from services.common.kafka.connection import KafkaConnection
from services.common.kafka.topics import load_declarations
from tests.conftest import TOPICS


def test_running_it_again_changes_nothing(kafka_broker: KafkaConnection):
    result = _create(kafka_broker.bootstrap_servers)

    assert result.exit_code == 0
    assert " ".join(result.output.split()).count("as declared") == len(load_declarations(TOPICS))


def test_a_topic_that_differs_is_named_with_a_remedy(fresh_kafka_broker: Broker, tmp_path):
    declaration = tmp_path / "topics.yaml"
    declaration.write_text("topics: {cairn.learner-events: {partitions: 7}, cairn.extra: {partitions: 1}}")

    result = _create(fresh_kafka_broker.connection.bootstrap_servers, "--file", str(declaration))

    assert result.exit_code == 1
    assert "has 4 partitions, 7 are declared" in " ".join(result.output.split())
    assert "created" in result.output


def test_the_log_may_have_another_number_of_partitions_than_declared(fresh_kafka_broker: Broker, tmp_path):
    declaration = tmp_path / "topics.yaml"
    declaration.write_text("topics: {cairn.learner-events: {partitions: 7}}")

    result = _create(fresh_kafka_broker.connection.bootstrap_servers, "--file", str(declaration), "--partitions", "4")

    assert (result.exit_code, "as declared" in result.output) == (0, True), result.output


# kafka-python leaves a socket open when it cannot connect, which causes a ResourceWarning when it is collected.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_an_unreachable_kafka_is_reported_with_a_remedy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("services.common.kafka.connection.BOOTSTRAP_TIMEOUT_MS", 300)

    result = _create(f"127.0.0.1:{free_port()}")

    assert result.exit_code == 1
    assert "cannot be reached" in result.stderr
    assert "CAIRN_KAFKA" in result.stderr


def _create(kafka: str, *options: str):
    return CliRunner().invoke(app, ["create", "--kafka", kafka, *options])
