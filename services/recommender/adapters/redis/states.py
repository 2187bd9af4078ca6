"""Learner states in Redis.

The keys of one epoch. The braces around tenant/learner keep a learner in one cluster slot:

    cairn:<epoch>:{<tenant>/<learner>}:state     hash: blob (the state), off (offset of the last record that changed it)
    cairn:<epoch>:{<tenant>/<learner>}:journal   hash: entries, checkpoint
    cairn:<epoch>:{<tenant>/<learner>}:seen      list of the events applied, oldest first (seen_entries.py);
                                                 appended to, only its last element is ever rewritten
    cairn:<epoch>:position:<partition>           hash: offset, counts of records, and marks (progress.py)
    cairn:<epoch>:quarantine                     learners whose values are damaged (quarantine.py)

State, entries and checkpoint carry a checksum (stored_values.py). An erased learner leaves a tombstone: an empty blob,
the erasure's offset, and its fingerprint in seen.

Storing a learner publishes a notification (change_notifications.py). Needs Redis 6.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any

from services.recommender.adapters.redis.change_notifications import notification_channel, notification_message
from services.recommender.adapters.redis.connection import Command, RedisConnection, is_wrong_type
from services.recommender.adapters.redis.keys import learner_keys, meta_key, position_key, quarantine_key
from services.recommender.adapters.redis.learner_cache import LearnerCache
from services.recommender.adapters.redis.progress import (
    COUNT_FIELDS,
    PROGRESS_FIELDS,
    counts_of,
    decode_progress,
    encode_mark,
    encode_marks,
)
from services.recommender.adapters.redis.quarantine import RedisQuarantine, decode_entry
from services.recommender.adapters.redis.reads import RedisReads
from services.recommender.adapters.redis.seen_entries import APPEND_SEEN, SEEN_ENTRY_BYTES
from services.recommender.adapters.redis.stored_values import (
    learner_record,
    seal,
    seal_state,
    stored_learner,
)
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
from services.recommender.application.ports.quarantine import (
    LearnerDamagedError,
    LearnersDamagedError,
    QuarantineChangedError,
    Skipped,
)
from services.recommender.domain.learner.journal import encode_journal
from services.recommender.domain.learner.record import NEW_LEARNER, LearnerRecord
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
-- A key of the wrong type ends the script here, or at the journal, before anything is written.
redis.call('LLEN', seen)
if erased == '1' then redis.call('DEL', journal, seen) end
if entries == '' then
  -- A tombstone has no journal.
elseif checkpoint == '' then
  redis.call('HSET', journal, 'entries', entries)
else
  redis.call('HSET', journal, 'entries', entries, 'checkpoint', checkpoint)
end
redis.call('HSET', state, 'blob', blob, 'off', offset)
{APPEND_SEEN}redis.call('PUBLISH', channel, message)
return 1
"""

# Says how far learners may be stored beyond the position.
_AHEAD = """
if ARGV[2] ~= '' and redis.call('HGET', KEYS[2], 'fold_id') ~= ARGV[2] then return -1 end
if redis.call('HEXISTS', KEYS[1], 'offset') == 1 then redis.call('HSET', KEYS[1], 'ahead', ARGV[1]) end
return 1
"""

# Moves a partition only if its position is still the one that was read, and the quarantine too. Records of quarantined
# learners are counted for each of them as well.
_ADVANCE = """
local fold_id, before, after, marks, ahead, version = unpack(ARGV, 1, 6)
if fold_id ~= '' and redis.call('HGET', KEYS[2], 'fold_id') ~= fold_id then return -1 end
if (redis.call('HGET', KEYS[1], 'offset') or '') ~= before then return 0 end
if version ~= '' and (redis.call('HGET', KEYS[3], 'version') or '0') ~= version then return -2 end
redis.call('HSET', KEYS[1], 'offset', after, 'marks', marks, 'ahead', ahead)
for at, field in ipairs({COUNTS}) do redis.call('HINCRBY', KEYS[1], field, ARGV[6 + at]) end
for at = 14, #ARGV, 2 do
  local place, records, reason = string.match(redis.call('HGET', KEYS[3], ARGV[at]), '^(%d+ %d+) (%d+) (.*)$')
  redis.call('HSET', KEYS[3], ARGV[at], place .. ' ' .. (records + ARGV[at + 1]) .. ' ' .. reason)
end
return 1
""".replace("COUNTS", ", ".join(f"'{field.decode()}'" for field in COUNT_FIELDS))

_SCAN_COUNT = 2_000


class RedisLearnerReader:
    """Reads learner states for answers; implements LearnerReader and LearnerOffsets."""

    def __init__(self, reads: RedisReads) -> None:
        """Args: `reads` sends commands to Redis."""
        self._reads = reads

    async def read(self, epoch: int, key: LearnerKey) -> StoredLearner | None:
        """A learner's state, or None when the epoch has none for it."""
        (found,) = await self.read_many(epoch, [key])
        if isinstance(found, LearnerDamagedError):
            raise found
        return found

    async def read_many(
        self, epoch: int, keys: Sequence[LearnerKey]
    ) -> list[StoredLearner | LearnerDamagedError | None]:
        """States in the order of `keys`, in one round trip; the error where one cannot be read."""
        if not keys:
            return []
        names = [_record_key(key) for key in keys]
        commands: list[Command] = [("HMGET", learner_keys(epoch, name)[0], b"blob", b"off") for name in names]
        *states, quarantined = await self._reads.execute([*commands, ("HMGET", quarantine_key(epoch), *names)])
        return [_found(*one) for one in zip(names, states, quarantined, strict=True)]

    async def applied_offset(self, epoch: int, key: LearnerKey) -> int | None:
        """Offset of the last record that changed the learner, or None."""
        return (await self.applied_offsets(epoch, [key]))[0]

    async def position(self, epoch: int, partition: int) -> int | None:
        """One past the last record dealt with; None when the epoch never saw the partition."""
        (offset,) = await self._reads.execute([("HGET", position_key(epoch, partition), b"offset")])
        return None if offset is None else int(offset)

    async def applied_offsets(self, epoch: int, keys: Sequence[LearnerKey]) -> list[int | None]:
        """Offset of the last record that changed each learner, in the order of `keys`."""
        if not keys:
            return []
        names = [_record_key(key) for key in keys]
        commands: list[Command] = [("HGET", learner_keys(epoch, name)[0], b"off") for name in names]
        *offsets, quarantined = await self._reads.execute([*commands, ("HMGET", quarantine_key(epoch), *names)])
        return [_offset(offset) if entry is None else None for offset, entry in zip(offsets, quarantined, strict=True)]

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
        # A learner who was rebuilt may have been cached as read from a damaged value.
        self.quarantine = RedisQuarantine(connection, epoch, fold_id, self._cache.clear)
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

        Raises:
            LearnersDamagedError: when what is stored about some of them cannot be read.
        """
        positions_commands: list[Command] = [("HGET", position_key(self._epoch, p), b"offset") for p in partitions]
        commands: list[Command] = []
        kept = [self._cache.get(key) for key in keys]
        for key, learner in zip(keys, kept, strict=True):
            if learner is None:
                commands += self._read_commands(key)
            else:
                commands.append(("HGET", learner_keys(self._epoch, key)[0], b"off"))
        answers = iter(await self._connection.execute([*commands, *positions_commands], wrong_types=True))
        learners = []
        outdated = []
        damaged: dict[bytes, str] = {}
        for index, learner in enumerate(kept):
            if learner is None:
                learners.append(_read_record(keys[index], answers, damaged))
            else:
                if _offset(next(answers), -1) != learner.offset:
                    outdated.append(index)
                learners.append(learner)
        if outdated:
            again = [command for index in outdated for command in self._read_commands(keys[index])]
            answers = iter(await self._connection.execute([*again, *positions_commands], wrong_types=True))
            for index in outdated:
                learners[index] = _read_record(keys[index], answers, damaged)
        positions = {partition: int(value) for partition in partitions if (value := next(answers)) is not None}
        # Without its position, Redis has lost a partition, and with it parts of learners.
        if damaged and len(positions) == len(partitions):
            raise LearnersDamagedError(damaged)
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
                    b"" if stored.state is None else seal_state(encode_state(stored.state), stored.offset),
                    b"" if stored.state is None else seal(encode_journal(stored.journal)),
                    seal(stored.checkpoint) if commit.checkpoint_changed else b"",
                    commit.seen,
                    notification_channel(self._epoch, commit.key),
                    notification_message(commit.key, stored.offset, commit.traceparent),
                    b"1" if commit.erased else b"0",
                    self._fold_id,
                )
            )
        answers = await self._execute_scripts(commands)
        self._check_epoch(answers)
        stored_now = zip(commits, answers[len(ahead) :], strict=True)
        damaged = {commit.key: str(answer) for commit, answer in stored_now if is_wrong_type(answer)}
        refused = answers.count(0)
        if refused:
            raise CommitRefusedError(
                f"{refused} of {len(commits)} learners have changed since they were read: another worker folds their "
                "partition, or Redis lost data; this worker ends and starts again from what is stored"
            )
        for commit in commits:
            self._cache.put(commit.key, commit.stored)
        if damaged:
            self._cache.clear()
            raise LearnersDamagedError(damaged)

    async def advance(
        self, moves: Mapping[int, tuple[PartitionProgress | None, PartitionProgress]], skipped: Skipped | None = None
    ) -> None:
        """Move partitions from the progress that was read to the one reached."""
        commands = [
            (
                "EVALSHA",
                self._advance_sha,
                3,
                position_key(self._epoch, partition),
                meta_key(self._epoch),
                quarantine_key(self._epoch),
                self._fold_id,
                b"" if before is None else before.position,
                after.position,
                *encode_marks(after),
                b"" if skipped is None else skipped.version,
                *(now - then for then, now in zip(counts_of(before), counts_of(after), strict=True)),
                *(part for one in _skipped(skipped, partition) for part in one),
            )
            for partition, (before, after) in moves.items()
        ]
        answers = await self._execute_scripts(commands)
        self._check_epoch(answers)
        answered = dict(zip(moves, answers, strict=True))
        for partition, moved in answered.items():
            if not moved:
                raise CommitRefusedError(
                    f"the position of partition {partition} has changed since it was read: another worker folds it, or "
                    "Redis lost data; this worker ends and starts again from what is stored"
                )
        if -2 in answers:
            raise QuarantineChangedError([partition for partition, moved in answered.items() if moved > 0])

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
            return await self._connection.execute(commands, wrong_types=True)
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


def _record_key(key: LearnerKey) -> bytes:
    return f"{key.tenant}/{key.learner}".encode()


def _found(key: bytes, fields: Any, entry: bytes | None) -> StoredLearner | LearnerDamagedError | None:
    """A learner from the replies of Redis; `entry` of the quarantine, if any."""
    if entry is not None:
        return LearnerDamagedError(key, decode_entry(entry).reason)
    try:
        return stored_learner(key, fields)
    except LearnerDamagedError as error:
        return error


def _read_record(key: bytes, answers: Iterator[Any], damaged: dict[bytes, str]) -> LearnerRecord:
    """A learner from the next three replies; what is wrong with one that cannot be read goes to `damaged`."""
    try:
        return learner_record(key, next(answers), next(answers), next(answers))
    except LearnerDamagedError as error:
        damaged[key] = error.reason
        return NEW_LEARNER


def _offset(answer: Any, otherwise: int | None = None) -> int | None:
    """A stored offset; `otherwise` when there is none, or it is not a number."""
    return int(answer) if isinstance(answer, bytes) and answer.isdigit() else otherwise


def _skipped(skipped: Skipped | None, partition: int) -> Iterable[tuple[bytes, int]]:
    return () if skipped is None else sorted(skipped.records.get(partition, {}).items())
