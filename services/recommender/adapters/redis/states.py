"""Learner states in Redis.

The keys of one epoch. The braces around tenant/learner keep a learner in one cluster slot:

    cairn:<epoch>:{<tenant>/<learner>}:state     hash: blob (the state), off (offset of the last record that changed it)
    cairn:<epoch>:{<tenant>/<learner>}:journal   hash: entries, checkpoint
    cairn:<epoch>:{<tenant>/<learner>}:seen      list of the events applied, oldest first, as `seen_entries` has them;
                                                 appended to, only its last element is ever rewritten
    cairn:<epoch>:position:<partition>           hash: offset, applied, duplicates, dlt, erased, lost, conflicts,
                                                 marks, ahead

An erased learner leaves a tombstone: an empty blob, the erasure's offset, and its fingerprint in seen.

Storing a learner publishes a notification (change_notifications.py). Needs Redis 6.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence

from services.recommender.adapters.redis.change_notifications import notification_channel, notification_message
from services.recommender.adapters.redis.connection import Command, RedisConnection
from services.recommender.adapters.redis.keys import learner_keys, meta_key, position_key
from services.recommender.adapters.redis.learner_cache import LearnerCache
from services.recommender.adapters.redis.progress import PROGRESS_FIELDS, decode_progress, encode_mark, encode_progress
from services.recommender.adapters.redis.reads import RedisReads
from services.recommender.adapters.redis.seen_entries import APPEND_SEEN, SEEN_ENTRY_BYTES, seen_entries
from services.recommender.adapters.redis.stored_values import learner_record, stored_learner
from services.recommender.application.ports.learners import (
    NOTHING_AHEAD,
    CommitRefusedError,
    LearnerCommit,
    LearnerKey,
    PartitionProgress,
    StateUnavailableError,
    StoredLearner,
    epoch_replaced,
)
from services.recommender.application.ports.log import RecordMark
from services.recommender.domain.learner.journal import encode_journal
from services.recommender.domain.learner.record import FINGERPRINT_BYTES, LearnerRecord
from services.recommender.domain.learner.state import encode_state

# Compares the stored offset with the one that was read and writes everything about a learner, or nothing. Lua does not
# roll back, so arguments are checked before the first write. The epoch is checked too: what was folded for an epoch
# that Redis lost must not enter a later epoch of the same number, which may know other corrections.
_COMMIT = f"""
local state, journal, seen = KEYS[1], KEYS[2], KEYS[3]
local expected, offset, blob, entries, checkpoint, events, channel, message, erased, fold_id = unpack(ARGV)
if #KEYS ~= 4 or #ARGV ~= 10 or not string.find(offset, '^%d+$') or #events % {SEEN_ENTRY_BYTES} ~= 0
    or (#blob == 0) ~= (#entries == 0) or (#blob == 0 and erased ~= '1') then
  return redis.error_reply('ERR a learner commit has malformed arguments')
end
if fold_id ~= '' and redis.call('HGET', KEYS[4], 'fold_id') ~= fold_id then return -1 end
if (redis.call('HGET', state, 'off') or '') ~= expected then return 0 end
redis.call('HSET', state, 'blob', blob, 'off', offset)
if erased == '1' then redis.call('DEL', journal, seen) end
if entries == '' then
  -- A tombstone has no journal.
elseif checkpoint == '' then
  redis.call('HSET', journal, 'entries', entries)
else
  redis.call('HSET', journal, 'entries', entries, 'checkpoint', checkpoint)
end
{APPEND_SEEN}redis.call('PUBLISH', channel, message)
return 1
"""

# Says how far learners may be stored beyond the position.
_AHEAD = """
if ARGV[2] ~= '' and redis.call('HGET', KEYS[2], 'fold_id') ~= ARGV[2] then return -1 end
if redis.call('HEXISTS', KEYS[1], 'offset') == 1 then redis.call('HSET', KEYS[1], 'ahead', ARGV[1]) end
return 1
"""

# Moves a partition only if its position is still the one that was read.
_ADVANCE = """
if ARGV[11] ~= '' and redis.call('HGET', KEYS[2], 'fold_id') ~= ARGV[11] then return -1 end
if (redis.call('HGET', KEYS[1], 'offset') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'offset', ARGV[2], 'applied', ARGV[3], 'duplicates', ARGV[4], 'dlt', ARGV[5],
  'erased', ARGV[6], 'lost', ARGV[7], 'conflicts', ARGV[8], 'marks', ARGV[9],
  'ahead', ARGV[10])
return 1
"""

_SCAN_COUNT = 2_000


class RedisLearnerReader:
    """Reads learner states for answers; implements LearnerReader and LearnerOffsets."""

    def __init__(self, reads: RedisReads) -> None:
        """Args: `reads` sends commands to Redis."""
        self._reads = reads

    async def read(self, epoch: int, key: LearnerKey) -> StoredLearner | None:
        """A learner's state, or None when the epoch has none for it."""
        (fields,) = await self._reads.execute([_read_state(epoch, key)])
        return stored_learner(fields)

    async def read_many(self, epoch: int, keys: Sequence[LearnerKey]) -> list[StoredLearner | None]:
        """States in the order of `keys`, in one round trip."""
        return [
            stored_learner(fields) for fields in await self._reads.execute([_read_state(epoch, key) for key in keys])
        ]

    async def applied_offset(self, epoch: int, key: LearnerKey) -> int | None:
        """Offset of the last record that changed the learner, or None."""
        (offset,) = await self._reads.execute([("HGET", _state_key(epoch, key), b"off")])
        return None if offset is None else int(offset)

    async def position(self, epoch: int, partition: int) -> int | None:
        """One past the last record dealt with; None when the epoch never saw the partition."""
        (offset,) = await self._reads.execute([("HGET", position_key(epoch, partition), b"offset")])
        return None if offset is None else int(offset)

    async def applied_offsets(self, epoch: int, keys: Sequence[LearnerKey]) -> list[int | None]:
        """Offset of the last record that changed each learner, in the order of `keys`."""
        offsets = await self._reads.execute([("HGET", _state_key(epoch, key), b"off") for key in keys])
        return [None if offset is None else int(offset) for offset in offsets]

    async def learners_of(self, epoch: int, tenant: str) -> AsyncIterator[Sequence[str]]:
        """Pseudonyms of all learners of a tenant; scans all keys."""
        prefix, suffix = b"cairn:%d:{%b/" % (epoch, tenant.encode()), b"}:state"
        cursor = b"0"
        while True:
            command = ("SCAN", cursor, "MATCH", prefix + b"*" + suffix, "COUNT", _SCAN_COUNT)
            ((cursor, keys),) = await self._reads.execute([command])
            if keys:
                yield [key[len(prefix) : -len(suffix)].decode() for key in keys]
            if cursor == b"0":
                return


class RedisFoldStore:
    """Reads and writes what one epoch's fold needs; implements FoldStore.

    Recently folded learners are cached. State at an offset is a function of the log, so a cached learner is current if,
    and only if, Redis holds the same offset; every read checks that.
    """

    def __init__(self, connection: RedisConnection, epoch: int, *, cache_bytes: int, fold_id: str = "") -> None:
        """Prepare.

        Args:
            connection: used by this store only.
            epoch: its number.
            cache_bytes: about how much memory cached learners may take.
            fold_id: of the epoch that is folded into; writes are refused once that epoch is gone or another one has its
                number. Empty: not checked.
        """
        self._connection = connection
        self._epoch = epoch
        self._fold_id = fold_id
        self._cache = LearnerCache(cache_bytes)
        self._commit_sha = hashlib.sha1(_COMMIT.encode(), usedforsecurity=False).hexdigest()
        self._ahead_sha = hashlib.sha1(_AHEAD.encode(), usedforsecurity=False).hexdigest()
        self._advance_sha = hashlib.sha1(_ADVANCE.encode(), usedforsecurity=False).hexdigest()
        self._scripts_loaded = False

    async def progress(self, partitions: Sequence[int]) -> dict[int, PartitionProgress]:
        """Progress by partition; a partition the epoch never saw is absent."""
        answers = await self._connection.execute(
            [("HMGET", position_key(self._epoch, partition), *PROGRESS_FIELDS) for partition in partitions]
        )
        found = {partition: decode_progress(fields) for partition, fields in zip(partitions, answers, strict=True)}
        return {partition: progress for partition, progress in found.items() if progress is not None}

    async def read(
        self, partitions: Sequence[int], keys: Sequence[bytes]
    ) -> tuple[dict[int, int], list[LearnerRecord]]:
        """Positions by partition, and learners in the order of `keys`.

        Positions are read last. Redis may lose everything between two commands; a position that still exists shows that
        the learners read before it were not missing because of such a loss.
        """
        positions_commands: list[Command] = [("HGET", position_key(self._epoch, p), b"offset") for p in partitions]
        commands: list[Command] = []
        kept = [self._cache.get(key) for key in keys]
        for key, learner in zip(keys, kept, strict=True):
            if learner is None:
                commands += self._read_commands(key)
            else:
                commands.append(("HGET", learner_keys(self._epoch, key)[0], b"off"))
        answers = iter(await self._connection.execute([*commands, *positions_commands]))
        learners = []
        outdated = []
        for index, learner in enumerate(kept):
            if learner is None:
                learners.append(learner_record(next(answers), next(answers), next(answers)))
            else:
                offset = next(answers)
                if (-1 if offset is None else int(offset)) != learner.offset:
                    outdated.append(index)
                learners.append(learner)
        if outdated:
            answers = iter(
                await self._connection.execute(
                    [
                        *(command for index in outdated for command in self._read_commands(keys[index])),
                        *positions_commands,
                    ]
                )
            )
            for index in outdated:
                learners[index] = learner_record(next(answers), next(answers), next(answers))
        positions = {partition: int(value) for partition in partitions if (value := next(answers)) is not None}
        return positions, learners

    async def commit(self, commits: Sequence[LearnerCommit], ahead: Mapping[int, RecordMark] = NOTHING_AHEAD) -> None:
        """Store each learner completely or not at all, only where the stored offset is still the expected one."""
        commands: list[Command] = [
            (
                "EVALSHA",
                self._ahead_sha,
                2,
                position_key(self._epoch, partition),
                meta_key(self._epoch),
                encode_mark(mark),
                self._fold_id,
            )
            for partition, mark in ahead.items()
        ]
        for commit in commits:
            stored = commit.stored
            if stored.state is None and not commit.erased:
                raise AssertionError("a learner without events has nothing to store")
            commands.append(
                (
                    "EVALSHA",
                    self._commit_sha,
                    4,
                    *learner_keys(self._epoch, commit.key),
                    meta_key(self._epoch),
                    commit.expected_offset if commit.expected_offset >= 0 else b"",
                    stored.offset,
                    b"" if stored.state is None else encode_state(stored.state),
                    b"" if stored.state is None else encode_journal(stored.journal),
                    stored.checkpoint if commit.checkpoint_changed else b"",
                    seen_entries(stored.seen, stored.contents, len(commit.fingerprints) // FINGERPRINT_BYTES),
                    notification_channel(self._epoch, commit.key),
                    notification_message(commit.key, stored.offset, commit.traceparent),
                    b"1" if commit.erased else b"0",
                    self._fold_id,
                )
            )
        answers = await self._execute_scripts(commands)
        self._check_epoch(answers)
        refused = answers.count(0)
        if refused:
            raise CommitRefusedError(
                f"{refused} of {len(commits)} learners have changed since they were read: another worker folds their "
                "partition, or Redis lost data; this worker ends and starts again from what is stored"
            )
        for commit in commits:
            self._cache.put(commit.key, commit.stored)

    async def advance(self, moves: Mapping[int, tuple[PartitionProgress | None, PartitionProgress]]) -> None:
        """Move partitions from the progress that was read to the one reached."""
        commands = [
            (
                "EVALSHA",
                self._advance_sha,
                2,
                position_key(self._epoch, partition),
                meta_key(self._epoch),
                b"" if before is None else before.position,
                *encode_progress(after),
                self._fold_id,
            )
            for partition, (before, after) in moves.items()
        ]
        answers = await self._execute_scripts(commands)
        self._check_epoch(answers)
        for partition, moved in zip(moves, answers, strict=True):
            if not moved:
                raise CommitRefusedError(
                    f"the position of partition {partition} has changed since it was read: another worker folds it, or "
                    "Redis lost data; this worker ends and starts again from what is stored"
                )

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    def _check_epoch(self, answers: Sequence[int]) -> None:
        if -1 in answers:
            raise epoch_replaced(self._epoch)

    async def _execute_scripts(self, commands: Sequence[Command]) -> list[int]:
        if not self._scripts_loaded:
            scripts = (_COMMIT, _AHEAD, _ADVANCE)
            await self._connection.execute([("SCRIPT", "LOAD", script) for script in scripts])
            self._scripts_loaded = True
        try:
            return await self._connection.execute(commands)
        except StateUnavailableError:
            # Redis may have been restarted, without the scripts.
            self._scripts_loaded = False
            raise

    def _read_commands(self, key: bytes) -> list[Command]:
        state, journal, seen = learner_keys(self._epoch, key)
        return [
            ("HMGET", state, b"blob", b"off"),
            ("HMGET", journal, b"entries", b"checkpoint"),
            ("LRANGE", seen, 0, -1),
        ]


def _read_state(epoch: int, key: LearnerKey) -> Command:
    return ("HMGET", _state_key(epoch, key), b"blob", b"off")


def _state_key(epoch: int, key: LearnerKey) -> bytes:
    return learner_keys(epoch, f"{key.tenant}/{key.learner}".encode())[0]
