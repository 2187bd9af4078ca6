"""Epochs in Redis.

cairn:epochs           set of the numbers of all epochs
cairn:<epoch>:meta     hash: what was fixed when it was created, its status, and which switch last made it current
cairn:<epoch>:skills   the skills with which it stamps events again, as JSON; only if it does
cairn:<epoch>:replay   lock with an expiry, held by the replay that folds into it
cairn:current-epoch    number of the epoch that is served
cairn:rewritten-in     the run of Redis in which its append-only file was last rewritten
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from typing import Any

import orjson
import redis.asyncio
import redis.exceptions
import structlog

from services.common.encryption.values import KeyTopicSeen
from services.recommender.adapters.redis.append_only_file import AppendOnlyFile
from services.recommender.adapters.redis.connection import NO_CLUSTER, unavailable_when_redis_is
from services.recommender.adapters.redis.epoch_fields import decode_meta, decode_skills, encode_meta, encode_skills
from services.recommender.adapters.redis.keys import (
    learner_keys,
    meta_key,
    position_key,
    position_prefix,
    quarantine_key,
)
from services.recommender.adapters.redis.progress import PROGRESS_FIELDS, decode_progress, encode_progress
from services.recommender.adapters.redis.quarantine import decode_quarantine
from services.recommender.adapters.redis.seen_entries import seen_elements
from services.recommender.adapters.redis.stored_values import learner_bytes, seal, seal_state, waiting_targets
from services.recommender.application.ports.epochs import (
    EpochBusyError,
    EpochExistsError,
    EpochMeta,
    EpochStatus,
    StoredLearnerBytes,
    epoch_behind,
    epoch_missing,
)
from services.recommender.application.ports.learners import PartitionProgress, StateRefusedError, StateUnavailableError
from services.recommender.application.ports.quarantine import Quarantine
from services.recommender.application.ports.state_store import EvictingStoreError
from services.recommender.domain.learner.restamp import AssessedSkills

_log = structlog.get_logger(__name__)

_EPOCHS = b"cairn:epochs"
_CURRENT = b"cairn:current-epoch"
_SCAN_COUNT = 2_000
_LEARNERS_PER_READ = 64
_HOLD_S = 30.0
# Workers look at the epochs every second: after this time none of them folds into a dropped epoch.
_SETTLE_S = 2.0

_CREATE = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
if ARGV[2] ~= '' then redis.call('SET', KEYS[3], ARGV[2]) end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('SADD', KEYS[2], ARGV[1])
return 1
"""
# Positions are compared inside Redis, because it might lose them between a read and the switch.
_MAKE_CURRENT = """
local ends = redis.call('HGET', KEYS[1], 'end_positions')
if not ends then return -1 end
for partition, offset in pairs(cjson.decode(ends)) do
  local reached = tonumber(redis.call('HGET', ARGV[2] .. partition, 'offset') or '0')
  if reached < offset then return 0 end
end
local before = redis.call('GET', KEYS[2])
local switch = before and redis.call('HGET', 'cairn:' .. before .. ':meta', 'last_switch') or '0'
redis.call('HSET', KEYS[1], 'status', ARGV[3], 'last_switch', tonumber(switch) + 1)
redis.call('SET', KEYS[2], ARGV[1])
return 1
"""
_SEE_KEYS = "if redis.call('HEXISTS', KEYS[1], 'fold_id') == 1 then redis.call('HSET', KEYS[1], 'keys', ARGV[1]) end"
_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
_LET_GO = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


# The journals of some learners in which corrections wait, each after its key; see `journal` for the header.
_JOURNALS_THAT_WAIT = """
local found = {}
for _, key in ipairs(KEYS) do
  -- A damaged value may be of another type.
  local entries = redis.pcall('HGET', key, 'entries')
  if type(entries) == 'string' and string.byte(entries, 5) ~= 0 then
    found[#found + 1] = key
    found[#found + 1] = entries
  end
end
return found
"""
_WAITING_SCAN_COUNT = 500


class RedisEpochs:
    """Keeps the epochs; implements EpochStore, EpochReader and EpochRestorer."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        *,
        settle_s: float = _SETTLE_S,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            client: returns replies as bytes.
            settle_s: time between closing a dropped epoch and removing it.
            clock_s: monotonic.
        """
        self._client: Any = client
        self._settle_s = settle_s
        self._append_only_file = AppendOnlyFile(client, clock_s)

    async def check_is_one_server(self) -> None:
        """Check that Redis is no Redis Cluster.

        Raises:
            StateRefusedError: when it is one.
            StateUnavailableError: when it does not answer.
        """
        with unavailable_when_redis_is():
            clustered = (await self._client.info("cluster")).get("cluster_enabled")
        if clustered:
            raise StateRefusedError(NO_CLUSTER)

    async def check_nothing_is_evicted(self) -> None:
        """Check that Redis refuses writes when its memory is full instead of evicting learners.

        A policy that evicts only keys with an expiry (`volatile-*`) is safe as well: learners' keys have none.

        Raises:
            EvictingStoreError: when Redis evicts any key.
        """
        with unavailable_when_redis_is():
            policy = (await self._client.info("memory")).get("maxmemory_policy", "")
        if policy.startswith("allkeys-"):
            raise EvictingStoreError(
                f"Redis evicts keys when its memory is full (maxmemory-policy {policy}), and would lose learners "
                "silently: set maxmemory-policy noeviction, or set CAIRN_ALLOW_EVICTION=true to accept it"
            )

    async def keep_readable(self) -> None:
        """Have Redis rewrite its append-only file once after each start."""
        await self._append_only_file.keep_readable()

    async def current_epoch(self) -> int | None:
        """Number of the epoch that is served, or None when there is none."""
        with unavailable_when_redis_is():
            number = await self._client.get(_CURRENT)
        return None if number is None else int(number)

    async def current(self) -> EpochMeta | None:
        """The epoch to answer from, or None when there is none."""
        number = await self.current_epoch()
        return None if number is None else await self.get(number)

    async def get(self, epoch: int) -> EpochMeta | None:
        """The epoch, or None."""
        with unavailable_when_redis_is():
            fields = await self._client.hgetall(meta_key(epoch))
        return decode_meta(epoch, fields) if fields else None

    async def epochs(self) -> Sequence[EpochMeta]:
        """Every epoch that exists, by number."""
        with unavailable_when_redis_is():
            numbers = sorted(int(number) for number in await self._client.smembers(_EPOCHS))
        found = [await self.get(number) for number in numbers]
        return [meta for meta in found if meta is not None]

    async def progress(self, epoch: int) -> Mapping[int, PartitionProgress]:
        """Progress by partition, without partitions that the epoch never saw."""
        meta = await self.get(epoch)
        if meta is None:
            return {}
        partitions = sorted(meta.end_positions)
        pipeline = self._client.pipeline(transaction=False)
        for partition in partitions:
            pipeline.hmget(position_key(epoch, partition), *PROGRESS_FIELDS)
        with unavailable_when_redis_is():
            answers = await pipeline.execute()
        found = {partition: decode_progress(fields) for partition, fields in zip(partitions, answers, strict=True)}
        return {partition: progress for partition, progress in found.items() if progress is not None}

    async def create(self, meta: EpochMeta, restamp_skills: AssessedSkills | None = None) -> None:
        """Create an epoch, and keep the skills that `meta.restamp` is about."""
        skills = b"" if restamp_skills is None else encode_skills(restamp_skills)
        keys = meta_key(meta.epoch), _EPOCHS, _skills_key(meta.epoch)
        with unavailable_when_redis_is():
            fields = [item for pair in encode_meta(meta).items() for item in pair]
            created = await self._client.eval(_CREATE, len(keys), *keys, meta.epoch, skills, *fields)
        if not created:
            raise EpochExistsError(f"epoch {meta.epoch} already exists")

    async def restamp_skills(self, epoch: int) -> AssessedSkills | None:
        """The skills kept with an epoch; None when there are none."""
        with unavailable_when_redis_is():
            encoded = await self._client.get(_skills_key(epoch))
        return None if encoded is None else decode_skills(encoded)

    async def set_status(self, epoch: int, status: EpochStatus) -> None:
        """Set the status of an epoch."""
        await self._require(epoch)
        with unavailable_when_redis_is():
            await self._client.hset(meta_key(epoch), "status", status.value)

    async def accept_lost_keys(self, epoch: int) -> None:
        """Let records of the epoch count as lost when their keys are not found."""
        await self._require(epoch)
        with unavailable_when_redis_is():
            await self._client.hset(meta_key(epoch), "accepts_lost_keys", 1)

    async def see_keys(self, epoch: int, keys: KeyTopicSeen) -> None:
        """Note how the topic of keys looked."""
        with unavailable_when_redis_is():
            await self._client.eval(_SEE_KEYS, 1, meta_key(epoch), orjson.dumps(asdict(keys)))

    async def make_current(self, epoch: int) -> None:
        """Mark an epoch live and make it current, in one step, if it has reached its end."""
        arguments = (epoch, position_prefix(epoch), EpochStatus.LIVE.value)
        with unavailable_when_redis_is():
            answer = await self._client.eval(_MAKE_CURRENT, 2, meta_key(epoch), _CURRENT, *arguments)
        if answer < 0:
            raise epoch_missing(epoch)
        if not answer:
            raise epoch_behind(epoch)

    async def drop(self, epoch: int) -> int:
        """Remove an epoch and everything stored in it; return the number of learners."""
        await self._require(epoch)
        with unavailable_when_redis_is():
            await self._client.srem(_EPOCHS, epoch)
            await asyncio.sleep(self._settle_s)
            # From here on nobody can store anything in it. Its metadata is removed last: an interrupted drop can be
            # repeated, and until then nobody can create an epoch of that number.
            await self._client.hdel(meta_key(epoch), "fold_id")
        learners = await self.clear(epoch)
        with unavailable_when_redis_is():
            await self._client.delete(meta_key(epoch), _replay_key(epoch), _skills_key(epoch))
        return learners

    async def clear(self, epoch: int) -> int:
        """Remove the learners and positions of an epoch, but not the epoch; return the number of learners."""
        with unavailable_when_redis_is():
            await self._client.unlink(quarantine_key(epoch))
        return await self._remove(position_prefix(epoch) + b"*") + await self._remove(b"cairn:%d:{*" % epoch)

    async def _remove(self, pattern: bytes) -> int:
        learners = 0
        batch: list[bytes] = []
        with unavailable_when_redis_is():
            async for key in self._client.scan_iter(match=pattern, count=_SCAN_COUNT):
                learners += key.endswith(b"}:state")
                batch.append(key)
                if len(batch) == _SCAN_COUNT:
                    await self._client.unlink(*batch)
                    batch = []
            if batch:
                await self._client.unlink(*batch)
        return learners

    async def contents(self, epoch: int) -> AsyncIterator[StoredLearnerBytes]:
        """Everything stored about the epoch's learners, sorted by key."""
        prefix, suffix = b"cairn:%d:{" % epoch, b"}:state"
        keys = set()
        with unavailable_when_redis_is():
            async for key in self._client.scan_iter(match=prefix + b"*" + suffix, count=_SCAN_COUNT):
                keys.add(key[len(prefix) : -len(suffix)])
        quarantined = (await self.quarantine(epoch)).learners
        # What was stored about a quarantined learner may be gone.
        ordered = sorted(keys | quarantined.keys())
        for start in range(0, len(ordered), _LEARNERS_PER_READ):
            some = ordered[start : start + _LEARNERS_PER_READ]
            for key, learner in zip(some, await self._read(epoch, some), strict=True):
                if entry := quarantined.get(key):
                    yield StoredLearnerBytes(key, -1, b"", b"", b"", b"", damage=entry.reason)
                elif learner is not None:
                    yield learner

    @asynccontextmanager
    async def exclusive(self, epoch: int) -> AsyncIterator[None]:
        """Lock the epoch for one replay.

        The lock is a convenience: it stops a second replay early. What protects an epoch from two replays is that
        positions and learners are stored only where they are still as they were read.
        """
        key, token = _replay_key(epoch), secrets.token_hex(16)
        with unavailable_when_redis_is():
            held = await self._client.set(key, token, nx=True, px=int(_HOLD_S * 1000))
        if not held:
            raise EpochBusyError(
                f"another process is replaying into epoch {epoch}; wait for it, or choose another number. If it was "
                f"killed, its lock expires within {_HOLD_S:.0f} s"
            )
        over = asyncio.Event()
        renewing = asyncio.create_task(self._renew(key, token, over))
        try:
            yield
        finally:
            over.set()
            await renewing
            with unavailable_when_redis_is():
                await self._client.eval(_LET_GO, 1, key, token)

    async def _renew(self, key: bytes, token: str, over: asyncio.Event) -> None:
        while not over.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_HOLD_S / 3):
                    await over.wait()
                    return
            try:
                with unavailable_when_redis_is():
                    held = await self._client.eval(_RENEW, 1, key, token, int(_HOLD_S * 1000))
            except StateUnavailableError as error:
                _log.warning("the lock of the replay could not be renewed", error=str(error))
                continue
            if not held:
                _log.warning("the lock of the replay was lost")
                return

    async def waiting_corrections(self, epoch: int) -> AsyncIterator[tuple[bytes, Sequence[bytes]]]:
        """The learners for whom corrections wait, with the targets. Redis looks at the journals, few are sent."""
        prefix, suffix = b"cairn:%d:{" % epoch, b"}:journal"
        cursor = 0
        while True:
            with unavailable_when_redis_is():
                cursor, keys = await self._client.scan(cursor, match=prefix + b"*" + suffix, count=_WAITING_SCAN_COUNT)
                found = await self._client.eval(_JOURNALS_THAT_WAIT, len(keys), *keys) if keys else []
            for key, entries in zip(found[::2], found[1::2], strict=True):
                if targets := waiting_targets(entries):
                    yield key[len(prefix) : -len(suffix)], targets
            if not cursor:
                return

    async def put_learners(self, epoch: int, learners: Sequence[StoredLearnerBytes]) -> None:
        """Store learners that the epoch does not hold."""
        pipeline = self._client.pipeline(transaction=False)
        for learner in learners:
            state, journal, seen = learner_keys(epoch, learner.key)
            pipeline.hset(state, mapping={"blob": seal_state(learner.state, learner.offset), "off": learner.offset})
            # An erased learner has no journal.
            if learner.journal:
                pipeline.hset(journal, mapping={"entries": seal(learner.journal)})
            if learner.checkpoint:
                pipeline.hset(journal, mapping={"checkpoint": seal(learner.checkpoint)})
            if elements := seen_elements(learner.seen, learner.contents):
                pipeline.rpush(seen, *elements)
        with unavailable_when_redis_is():
            await pipeline.execute()

    async def put_progress(self, epoch: int, progress: Mapping[int, PartitionProgress]) -> None:
        """Store how far the epoch has come."""
        pipeline = self._client.pipeline(transaction=True)
        for partition, one in sorted(progress.items()):
            fields = dict(zip(PROGRESS_FIELDS, encode_progress(one), strict=True))
            pipeline.hset(position_key(epoch, partition), mapping=fields)
        with unavailable_when_redis_is():
            await pipeline.execute()

    async def quarantine(self, epoch: int) -> Quarantine:
        """The learners of an epoch that are quarantined."""
        with unavailable_when_redis_is():
            return decode_quarantine(await self._client.hgetall(quarantine_key(epoch)))

    async def _read(self, epoch: int, keys: Sequence[bytes]) -> list[StoredLearnerBytes | None]:
        # Read atomically, so that state and journal are of the same event.
        pipeline = self._client.pipeline(transaction=True)
        for key in keys:
            state, journal, seen = learner_keys(epoch, key)
            pipeline.hmget(state, "blob", "off")
            pipeline.hmget(journal, "entries", "checkpoint")
            pipeline.lrange(seen, 0, -1)
        with unavailable_when_redis_is():
            answers = iter(await pipeline.execute(raise_on_error=False))
        return [learner_bytes(key, next(answers), next(answers), next(answers)) for key in keys]

    async def _require(self, epoch: int) -> None:
        if await self.get(epoch) is None:
            raise epoch_missing(epoch)


def _replay_key(epoch: int) -> bytes:
    return b"cairn:%d:replay" % epoch


def _skills_key(epoch: int) -> bytes:
    return b"cairn:%d:skills" % epoch
