"""An installation of an earlier release is upgraded: this release goes on with its log, Redis, bundles and tenants."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cairn.v1 import ingest_pb2, recommender_pb2
from deploy.local.stack import Stack, StackOptions
from tests.releases.archive import Archive, write_topics
from tests.releases.running import Running

ARCHIVES = sorted((Path(__file__).parents[1] / "releases").glob("*.tar.gz"))


@pytest.fixture(params=ARCHIVES, ids=lambda archive: archive.name)
def archive(request, tmp_path):
    directory = tmp_path / "stack"
    directory.mkdir()
    return Archive(request.param, directory)


@pytest.fixture
def upgraded(archive, fresh_kafka_broker, redis_server):
    broker = fresh_kafka_broker.connection
    asyncio.run(write_topics(archive.topics, broker))
    asyncio.run(archive.restore_redis(redis_server, broker))
    options = StackOptions(
        archive.directory, kafka=broker.bootstrap_servers, kafka_fetch_wait_ms=broker.fetch_wait_ms, redis=redis_server
    )
    with Stack(options, lambda _component: None) as stack:
        # A platform keeps the API key that the earlier release gave it.
        yield Running(stack, archive.facts["api_key"])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_installation_of_an_earlier_release_goes_on_and_is_rebuilt_in_a_new_epoch(upgraded, archive):
    facts = archive.facts
    # The epoch that the earlier release folded is served at once, and nothing of it was rewritten.
    assert upgraded.digest(2) == facts["digest"]
    assert {learner: upgraded.responses(learner) for learner in facts["responses"]} == facts["responses"]
    before = upgraded.counts(2)

    # It is folded on: a new event counts, and one that the earlier release applied is a duplicate.
    assert ingest_pb2.EventStatus.Name(upgraded.answer("new", "learner-1").status) == "EVENT_STATUS_ACCEPTED"
    again = upgraded.answer("learner-1-0", "learner-1")
    upgraded.wait_until(lambda: sum(upgraded.counts(2).values()) == sum(before.values()) + 2)
    after = upgraded.counts(2)
    assert (after["applied"], after["duplicates"] + after["conflicts"]) == (
        before["applied"] + 1,
        before["duplicates"] + before["conflicts"] + 1,
    )
    reply = upgraded.recommended("learner-1", again.freshness_token)
    assert reply.recommendations
    assert reply.provenance.bundle == facts["bundle"]
    # So few learners give no collaborative model.
    assert set(reply.degraded) <= {recommender_pb2.DEGRADATION_NO_COLLABORATIVE_FILTERING}

    # What this release folds differently reaches learners through a new epoch, which equals every later replay.
    for epoch in ("3", "4"):
        upgraded.cairn("replay", "--epoch", epoch, "--parameters", "same")
    rebuilt, again_rebuilt = upgraded.digest(3), upgraded.digest(4)
    assert {**rebuilt, "epoch": 4} == again_rebuilt
    upgraded.cairn("epoch", "switch", "3", "--wait", "60")
    responses = {learner: upgraded.responses(learner) for learner in facts["responses"]}
    assert responses == facts["responses"] | {"learner-1": facts["responses"]["learner-1"] + 1}
    upgraded.cairn("epoch", "drop", "2")
    assert upgraded.recommended("learner-1").recommendations
