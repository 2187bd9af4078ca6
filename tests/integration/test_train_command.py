"""`cairn train`: from the log of a real broker to a bundle that a server loads."""

from __future__ import annotations

import math
import re

import numpy as np
import orjson
import pytest
from kafka import KafkaProducer
from typer.testing import CliRunner

from cairn.v1 import events_pb2
from deploy.processes import free_port
from services.common.auth.identity import pseudonym
from services.common.kafka.connection import BrokerUnavailableError, TopicMissingError
from services.common.kafka.envelope import LEARNER_EVENTS, record_key
from services.common.kafka.partitioner import partition_of
from services.recommender.adapters.kafka.training_log import KafkaTrainingLog
from services.recommender.application.training.collect import LogSpan, collect
from services.recommender.bootstrap import stores as bootstrap
from services.recommender.cli.train import app

EPOCH = 1_767_323_045
DAY_S = 86_400


def response(
    learner: int, number: int, *, correct: bool, tenant: str = "riverbend"
) -> tuple[bytes, events_pb2.LearnerEvent]:
    """Learners work on resources of their own group, `a` or `b`; even item numbers are hard."""
    group = "ab"[learner % 2]
    pseudonymous = pseudonym(b"0123456789abcdef", str(learner))
    event = events_pb2.LearnerEvent(event_id=f"{learner}-{number}", tenant=tenant, learner=pseudonymous, source="test")
    event.assessment.item = event.assessment.resource = f"{group}{number:02}"
    event.assessment.skills.append(f"skill-{group}")
    event.assessment.skills_from = events_pb2.SKILLS_FROM_EVENT
    event.assessment.grain = events_pb2.GRAIN_ITEM
    event.assessment.correct = correct
    event.assessment.response = float(correct)
    event.occurred_at.seconds = EPOCH
    return record_key(tenant, pseudonymous), event


def publish(broker, records) -> None:
    producer = KafkaProducer(bootstrap_servers=broker.connection.bootstrap_servers, linger_ms=20)
    try:
        for key, event in records:
            value = event if isinstance(event, bytes) else event.SerializeToString()
            producer.send(LEARNER_EVENTS, key=key, value=value, partition=partition_of(key, partitions(producer)))
        producer.flush()
    finally:
        producer.close()


def partitions(producer: KafkaProducer) -> int:
    return len(producer.partitions_for(LEARNER_EVENTS))


def district(*, learners: int = 120, tenant: str = "riverbend"):
    rng = np.random.default_rng(4)
    for learner in range(learners):
        ability = rng.normal()
        for number in rng.permutation(16)[:12]:
            difficulty = 1.5 if number % 2 == 0 else -1.5
            yield response(
                learner,
                int(number),
                correct=bool(rng.random() < 1 / (1 + math.exp(difficulty - ability))),
                tenant=tenant,
            )


@pytest.fixture
def run(fresh_kafka_broker, tmp_path, monkeypatch):
    monkeypatch.setenv("CAIRN_KAFKA", fresh_kafka_broker.connection.bootstrap_servers)
    monkeypatch.setenv("CAIRN_KAFKA_FETCH_WAIT_MS", "10")
    monkeypatch.setenv("CAIRN_REDIS", "")
    monkeypatch.setenv("CAIRN_BUNDLES", str(tmp_path / "bundles"))
    return lambda *arguments: CliRunner().invoke(app, ["train", *arguments])


def test_a_log_becomes_a_bundle_that_knows_hard_items_and_who_works_on_what(run, fresh_kafka_broker, tmp_path):
    records = list(district())
    publish(fresh_kafka_broker, records)
    # A copy of an event, and a record that is not a message.
    publish(fresh_kafka_broker, [records[7], (records[0][0], b"\xff\xff")])

    result = run("--json", str(tmp_path / "summary.json"))

    assert result.exit_code == 0, result.output
    assert re.sub(r"[0-9,]+", "N", result.stderr).splitlines() == [
        "reading the log: N",
        "riverbend: learner model: N",
        "riverbend: collaborative filtering: N",
        "riverbend: learning to rank: N",
    ]
    bundle_id = result.stdout.splitlines()[-1]
    store = bootstrap.bundle_store(str(tmp_path / "bundles"))
    assert store.latest_id() == bundle_id
    bundle = store.load(bundle_id)
    parameters = bundle.parameters.for_tenant("riverbend")
    hard = [entry.mean for item, entry in parameters.items.items() if int(item[1:]) % 2 == 0]
    easy = [entry.mean for item, entry in parameters.items.items() if int(item[1:]) % 2]
    assert min(hard) > max(easy) + 1
    model = bundle.collaborative["riverbend"]
    scores = dict(zip(model.resources, model.scores(["b00", "b01", "b02"]), strict=True))
    assert {resource[0] for resource in sorted(scores, key=scores.__getitem__)[-13:]} == {"b"}

    summary = orjson.loads((tmp_path / "summary.json").read_bytes())
    assert summary["bundle_id"] == bundle_id
    assert summary["window"]["records"] == len(records) + 2
    assert summary["window"]["duplicates"] == 1
    assert summary["window"]["skipped"] == {"value": 1}
    assert summary["tenants"]["riverbend"]["counts"]["responses"] == len(records)
    metrics = summary["tenants"]["riverbend"]["metrics"]
    assert metrics["tracing_log_loss"] < metrics["base_rate_log_loss"]
    manifest = store.manifest(bundle_id)["content"]
    assert sum(manifest["window"]["end_offsets"].values()) == len(records) + 2


def test_the_same_log_gives_the_same_content(run, fresh_kafka_broker):
    publish(fresh_kafka_broker, district(learners=60))
    hashes = [run().stdout.splitlines()[-1].partition("-")[2] for _ in range(2)]
    assert hashes[0] == hashes[1]
    publish(fresh_kafka_broker, [response(0, 15, correct=False)])
    assert run().stdout.splitlines()[-1].partition("-")[2] != hashes[0]


def test_the_file_of_a_bundle_names_no_learner(run, fresh_kafka_broker, tmp_path):
    records = list(district(learners=60))
    publish(fresh_kafka_broker, records)
    assert run().exit_code == 0
    stored = b"".join(path.read_bytes() for path in (tmp_path / "bundles").rglob("*") if path.is_file())
    assert b"riverbend" in stored
    for _, event in records[::50]:
        assert event.learner.encode() not in stored


def test_one_tenant_can_be_fitted_while_the_others_stay_as_they_were(run, fresh_kafka_broker, tmp_path):
    publish(fresh_kafka_broker, [*district(learners=60), *district(learners=40, tenant="hilltop")])
    store = bootstrap.bundle_store(str(tmp_path / "bundles"))
    first = store.load(run().stdout.splitlines()[-1])
    extra = [
        response(500 + n, n % 16, correct=True, tenant=tenant) for tenant in ("hilltop", "riverbend") for n in range(40)
    ]
    publish(fresh_kafka_broker, extra)
    result = run("--tenant", "hilltop")
    second = store.load(result.stdout.splitlines()[-1])
    assert second.parameters.for_tenant("riverbend") == first.parameters.for_tenant("riverbend")
    assert second.parameters.for_tenant("hilltop") != first.parameters.for_tenant("hilltop")
    assert store.manifest(second.bundle_id)["content"]["tenants"]["riverbend"]["carried_from"] == first.bundle_id
    assert f"resources; carried over from {first.bundle_id}\n" in result.stdout


def test_the_manifest_records_the_choice_of_tuning_and_training_keeps_it(run, fresh_kafka_broker, tmp_path):
    # All learners go through the items of their group in order, from different starts, so the next item is predictable.
    # Their outcomes differ: near-identical learners would be left out of the choice.
    publish(
        fresh_kafka_broker,
        (
            response(learner, learner % 9 + step, correct=(31 * learner + 17 * step) % 7 > 2)
            for learner in range(50)
            for step in range(22)
        ),
    )
    tuned = CliRunner().invoke(app, ["tune", "--json", str(tmp_path / "summary.json")])
    assert tuned.exit_code == 0, tuned.output
    assert "riverbend: choosing a model: " in tuned.stderr
    assert re.search(r"; chosen: sequential .*\(NDCG@10 sequential 0\.", tuned.stdout)
    store = bootstrap.bundle_store(str(tmp_path / "bundles"))
    choice = store.manifest(tuned.stdout.splitlines()[-1])["content"]["tenants"]["riverbend"]["choice"]
    assert choice["family"] == "sequential"
    assert orjson.loads((tmp_path / "summary.json").read_bytes())["tenants"]["riverbend"]["choice"] == choice
    trained = run().stdout.splitlines()[-1]
    assert store.manifest(trained)["content"]["tenants"]["riverbend"]["choice"] == choice
    model = store.load(trained).collaborative["riverbend"]
    scores = dict(zip(model.resources, model.scores(["a08", "a09"]), strict=True))
    assert max(scores, key=scores.__getitem__) in {"a10", "a11"}


def test_factors_can_be_requested(run, fresh_kafka_broker, tmp_path):
    publish(fresh_kafka_broker, district(learners=60))
    bundle_id = run("--factors", "5").stdout.splitlines()[-1]
    tenant = bootstrap.bundle_store(str(tmp_path / "bundles")).manifest(bundle_id)["content"]["tenants"]["riverbend"]
    assert tenant["hyperparameters"]["als_factors"] == 5


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 1, "the log holds no events yet; load some first"),
        (("--bundles", "gopher://x"), 2, "'gopher://x' cannot be used"),
        (("--json", "/nowhere/at/all.json"), 2, "the folder /nowhere/at does not exist"),
        (("--factors", "0"), 2, "factors"),
    ],
)
def test_impossible_requests_are_reported_with_an_exit_code(run, arguments, code, message):
    result = run(*arguments)
    assert result.exit_code == code
    assert message in result.stderr


def test_an_unknown_tenant_is_an_error_that_lists_the_tenants_with_events(run, fresh_kafka_broker):
    publish(fresh_kafka_broker, district(learners=2))
    result = run("--tenant", "riverbed")
    assert result.exit_code == 2
    assert "no event of the tenant riverbed; it has events of riverbend" in result.stderr


def test_an_unreachable_broker_is_reported_with_a_remedy(run, fresh_kafka_broker):
    fresh_kafka_broker.stop()
    result = run()
    assert result.exit_code == 1
    assert "cannot be reached" in result.stderr
    assert "CAIRN_KAFKA" in result.stderr


def test_an_unreachable_redis_is_reported_with_the_way_to_do_without(run, fresh_kafka_broker, monkeypatch):
    publish(fresh_kafka_broker, district(learners=2))
    monkeypatch.setenv("CAIRN_REDIS", f"redis://127.0.0.1:{free_port()}/0")
    result = run()
    assert result.exit_code == 1
    assert "cannot be reached" in result.stderr or "did not answer" in result.stderr
    assert "To train on events as they are stamped in the log, set CAIRN_REDIS to nothing" in result.stderr


async def test_records_after_the_end_that_was_seen_are_not_read(fresh_kafka_broker):
    log = KafkaTrainingLog(fresh_kafka_broker.connection)
    publish(fresh_kafka_broker, district(learners=10))
    span = await log.span()
    publish(fresh_kafka_broker, district(learners=20))
    read = [batch async for batch in log.batches(span)]
    assert sum(len(batch.events) for batch in read) == 120 == span.offsets
    assert read[-1].offsets == 120


async def test_a_missing_topic_is_reported_with_a_remedy(fresh_kafka_broker):
    with pytest.raises(TopicMissingError, match="cairn topics create"):
        await KafkaTrainingLog(fresh_kafka_broker.connection, topic="nowhere").span()


async def test_a_broker_that_goes_silent_ends_the_reading_with_an_error_message(fresh_kafka_broker):
    log = KafkaTrainingLog(fresh_kafka_broker.connection, stalled_s=1.0)
    publish(fresh_kafka_broker, district(learners=10))
    span = await log.span()
    beyond = LogSpan(span.log_identity, span.begin_offsets, {p: end + 1 for p, end in span.end_offsets.items()})
    with pytest.raises(BrokerUnavailableError, match=r"sent nothing for 1 s, .* records before the end"):
        await collect(_Fixed(log, beyond))


class _Fixed:
    def __init__(self, log, span):
        self._log, self._span = log, span

    async def span(self):
        return self._span

    def batches(self, span):
        return self._log.batches(span)
