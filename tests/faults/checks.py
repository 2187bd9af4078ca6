"""What must hold after every fault."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import redis.asyncio

from services.recommender.adapters.redis.epochs import RedisEpochs
from services.recommender.adapters.redis.keys import position_key
from services.recommender.adapters.redis.progress import COUNT_FIELDS
from services.recommender.adapters.redis.stored_values import unseal
from services.recommender.application.state.epochs import EpochDigest, digest_epoch
from services.recommender.bootstrap.worker import replay
from services.recommender.domain.learner.state import applied_of
from services.recommender.settings import FoldSettings
from tests.faults.log_records import LogRecord, dead_letter_origins
from tests.faults.results import ScenarioFailedError

if TYPE_CHECKING:
    from tests.faults.scene import Scene

_PROOF_EPOCH = 1_000
# Every scenario sends events that can be applied, so other counts mean that one was misjudged.
_UNEXPECTED = ("erased", "lost", "conflicts", "quarantined")


def counts_of(scene: Scene, epoch: int) -> Counter[str]:
    """How an epoch accounts for its records, over all partitions, by the name of the count."""
    sums: Counter[str] = Counter()
    with scene.redis.client() as client:
        for partition in range(scene.partitions):
            found = client.hmget(position_key(epoch, partition), COUNT_FIELDS)
            for field, count in zip(COUNT_FIELDS, found, strict=True):
                sums[field.decode()] += int(count or 0)
    return sums


def digest_of(scene: Scene, epoch: int) -> EpochDigest:
    """The summary of an epoch."""

    async def read() -> EpochDigest:
        async with redis.asyncio.Redis.from_url(scene.redis.url) as client:
            return await digest_epoch(RedisEpochs(client), epoch)

    return asyncio.run(read())


def check_acknowledged(scene: Scene, log: Sequence[LogRecord]) -> None:
    """Every acknowledged event is in the log at its reported position: ingest never acknowledged and lost one."""
    platform = scene.platform
    at = {record.position: record.event_id for record in log}
    wrong = [event for event, place in platform.acknowledged.items() if at.get(place) != event]
    if wrong:
        raise ScenarioFailedError(
            f"{len(wrong)} acknowledged events are not at their reported positions, for example {wrong[0]} at "
            f"{platform.acknowledged[wrong[0]]}"
        )
    scene.row.events = len(platform.sent)
    scene.row.acknowledged = len(platform.acknowledged)


def check_counts(
    scene: Scene, epoch: int, log: Sequence[LogRecord], *, window_exceeded: bool, dead_letters: bool
) -> None:
    """Every record is applied, a duplicate, or a dead letter; every event counts once in its learner's state."""
    sums = counts_of(scene, epoch)
    scene.row.applied, scene.row.duplicates, scene.row.dead_lettered = sums["applied"], sums["duplicates"], sums["dlt"]
    unexpected = {name: sums[name] for name in (*_UNEXPECTED, *(() if dead_letters else ("dlt",))) if sums[name]}
    if unexpected:
        raise ScenarioFailedError(f"every record can be applied, but {unexpected} were counted")
    if sum(sums.values()) != len(log):
        raise ScenarioFailedError(f"the log holds {len(log)} records, but {dict(sums)} were counted")
    dead = asyncio.run(dead_letter_origins(scene.bench.cluster.connection))
    if len(dead) != sums["dlt"]:
        raise ScenarioFailedError(f"{sums['dlt']} dead letters were counted, {len(dead)} origins are in the topic")
    living = [record for record in log if record.position not in dead]
    expected = Counter(key for key, _ in {(record.key, (record.source, record.event_id)) for record in living})
    if not window_exceeded:
        check_held(scene, epoch, expected)


def check_held(scene: Scene, epoch: int, expected: Counter[bytes | None]) -> None:
    """Every learner, by record key, has this many events, and there are no others."""
    prefix = f"cairn:{epoch}:{{".encode()
    with scene.redis.client() as client:
        blobs = {
            key[len(prefix) : -len(b"}:state")]: client.hmget(key, "blob", "off")
            for key in client.scan_iter(match=prefix + b"*}:state", count=1_000)
        }
    held = {key: applied_of(unseal(blob, offset)) for key, (blob, offset) in blobs.items()}
    wrong = [key for key in expected.keys() | held.keys() if held.get(key) != expected.get(key)]
    if wrong:
        raise ScenarioFailedError(
            f"{len(wrong)} learners do not have each of their events once, for example {wrong[0]!r}: "
            f"{held.get(wrong[0])} in state, {expected.get(wrong[0])} expected"
        )


def check_against_replay(scene: Scene, epoch: int) -> None:
    """The epoch equals a replay of the log without faults."""
    settings = FoldSettings(
        kafka=scene.bench.cluster.connection.bootstrap_servers,
        redis=scene.redis.url,
        bundles=str(scene.directory / "bundles"),
        tenants=scene.tenants_file,
    )
    asyncio.run(replay(settings, _PROOF_EPOCH, "same", lambda _: None, lambda _, __: None))
    served, replayed = digest_of(scene, epoch).digest, digest_of(scene, _PROOF_EPOCH).digest
    scene.row.digest_equal = served == replayed
    if not scene.row.digest_equal:
        raise ScenarioFailedError(f"epoch {epoch} has the digest {served}, a replay of the log has {replayed}")
