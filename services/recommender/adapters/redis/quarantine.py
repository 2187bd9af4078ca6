"""The quarantine of an epoch in Redis.

cairn:<epoch>:quarantine    hash: version, and by record key `<partition> <since> <records> <reason>`
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from services.recommender.adapters.redis.change_notifications import notification_channel, notification_message
from services.recommender.adapters.redis.connection import Command, RedisConnection
from services.recommender.adapters.redis.keys import learner_keys, meta_key, position_key, quarantine_key
from services.recommender.adapters.redis.seen_entries import seen_elements
from services.recommender.adapters.redis.stored_values import seal, seal_state
from services.recommender.application.ports.learners import CommitRefusedError, epoch_replaced
from services.recommender.application.ports.quarantine import Quarantine, QuarantinedLearner, RepairedLearner
from services.recommender.domain.learner.journal import encode_journal
from services.recommender.domain.learner.state import encode_state

VERSION = b"version"

# Quarantines learners if the position is the one that was read.
_ADD = """
local fold_id, partition, position = ARGV[1], ARGV[2], ARGV[3]
if fold_id ~= '' and redis.call('HGET', KEYS[1], 'fold_id') ~= fold_id then return -1 end
if (redis.call('HGET', KEYS[2], 'offset') or '0') ~= position then return 0 end
for at = 4, #ARGV, 4 do
  if redis.call('HSETNX', KEYS[3], ARGV[at], partition .. ' ' .. position .. ' 0 ' .. ARGV[at + 1]) == 1 then
    redis.call('HINCRBY', KEYS[3], 'version', 1)
    redis.call('PUBLISH', ARGV[at + 2], ARGV[at + 3])
  end
end
return 1
"""

# Removes what is stored about a quarantined learner.
_FORGET = """
if ARGV[1] ~= '' and redis.call('HGET', KEYS[1], 'fold_id') ~= ARGV[1] then return -1 end
if (redis.call('HGET', KEYS[2], 'offset') or '0') ~= ARGV[2] then return 0 end
if redis.call('HEXISTS', KEYS[3], ARGV[3]) == 1 then redis.call('DEL', KEYS[4], KEYS[5], KEYS[6]) end
return 1
"""

# Replaces what is stored about a learner, counts the quarantined records, and releases the learner.
_RELEASE = """
local key, records, fold_id, offset, blob, entries, checkpoint = unpack(ARGV, 1, 7)
if fold_id ~= '' and redis.call('HGET', KEYS[1], 'fold_id') ~= fold_id then return -1 end
local entry = redis.call('HGET', KEYS[3], key)
if not entry or string.match(entry, '^%d+ %d+ (%d+) ') ~= records then return 0 end
redis.call('DEL', KEYS[4], KEYS[5], KEYS[6])
if tonumber(offset) >= 0 then redis.call('HSET', KEYS[4], 'blob', blob, 'off', offset) end
if entries ~= '' then redis.call('HSET', KEYS[5], 'entries', entries) end
if checkpoint ~= '' then redis.call('HSET', KEYS[5], 'checkpoint', checkpoint) end
for at = 15, #ARGV do redis.call('RPUSH', KEYS[6], ARGV[at]) end
redis.call('HINCRBY', KEYS[2], 'applied', ARGV[8])
redis.call('HINCRBY', KEYS[2], 'duplicates', ARGV[9])
redis.call('HINCRBY', KEYS[2], 'dlt', ARGV[10])
redis.call('HINCRBY', KEYS[2], 'conflicts', ARGV[11])
redis.call('HINCRBY', KEYS[2], 'erased', ARGV[12])
redis.call('HINCRBY', KEYS[2], 'quarantined', 0 - tonumber(records))
redis.call('HDEL', KEYS[3], key)
redis.call('HINCRBY', KEYS[3], 'version', 1)
redis.call('PUBLISH', ARGV[13], ARGV[14])
return 1
"""


def decode_entry(entry: bytes) -> QuarantinedLearner:
    """A quarantined learner as stored."""
    partition, since, records, reason = entry.split(b" ", 3)
    return QuarantinedLearner(int(partition), int(since), int(records), reason.decode(errors="replace"))


def decode_quarantine(fields: Mapping[bytes, bytes]) -> Quarantine:
    """The quarantine from all fields of its hash."""
    learners = {key: decode_entry(entry) for key, entry in fields.items() if key != VERSION}
    return Quarantine(int(fields.get(VERSION, 0)), learners)


@dataclass(slots=True)
class RedisQuarantine:
    """Implements QuarantineStore.

    Attributes:
        connection: shared with the fold of the epoch.
        epoch: its number.
        fold_id: of the epoch; writes are refused once it is gone or another one has its number. Empty: not checked.
        on_change: called when learners were quarantined or released since the last `read`.
    """

    connection: RedisConnection
    epoch: int
    fold_id: str
    on_change: Callable[[], None]
    _known: Quarantine = field(default_factory=Quarantine)

    async def read(self) -> Quarantine:
        """See the port."""
        name = quarantine_key(self.epoch)
        (version,) = await self.connection.execute([("HGET", name, VERSION)])
        if int(version or 0) != self._known.version:
            (fields,) = await self.connection.execute([("HGETALL", name)])
            self._known = decode_quarantine(dict(zip(fields[::2], fields[1::2], strict=True)))
            self.on_change()
        return self._known

    async def add(self, partition: int, position: int, damaged: Mapping[bytes, str]) -> None:
        """See the port."""
        named: list[bytes | str] = []
        for key, reason in damaged.items():
            # The position is past everything that the learner's list may have been computed from.
            named += [key, reason, notification_channel(self.epoch, key), notification_message(key, position, "")]
        keys = (meta_key(self.epoch), position_key(self.epoch, partition), quarantine_key(self.epoch))
        (answer,) = await self.connection.execute([("EVAL", _ADD, 3, *keys, self.fold_id, partition, position, *named)])
        self._check(answer, partition)

    async def forget(self, partition: int, position: int, keys: Collection[bytes]) -> None:
        """See the port."""
        shared = (meta_key(self.epoch), position_key(self.epoch, partition), quarantine_key(self.epoch))
        for answer in await self.connection.execute(
            [
                ("EVAL", _FORGET, 6, *shared, *learner_keys(self.epoch, key), self.fold_id, position, key)
                for key in sorted(keys)
            ]
        ):
            self._check(answer, partition)

    async def progress_of(self, key: bytes, partition: int) -> tuple[QuarantinedLearner | None, int | None]:
        """See the port."""
        entry, position = await self.connection.execute(
            [("HGET", quarantine_key(self.epoch), key), ("HGET", position_key(self.epoch, partition), b"offset")]
        )
        return None if entry is None else decode_entry(entry), None if position is None else int(position)

    async def release(self, repaired: RepairedLearner) -> bool:
        """See the port."""
        stored, key = repaired.stored, repaired.key
        known = stored.state is not None
        command: Command = (
            "EVAL",
            _RELEASE,
            6,
            *(meta_key(self.epoch), position_key(self.epoch, repaired.partition), quarantine_key(self.epoch)),
            *learner_keys(self.epoch, key),
            *(key, repaired.records, self.fold_id, stored.offset),
            seal_state(encode_state(stored.state), stored.offset) if stored.state is not None else b"",
            seal(encode_journal(stored.journal)) if known else b"",
            seal(stored.checkpoint),
            *(repaired.applied, repaired.duplicates, repaired.dead_lettered, repaired.conflicts, repaired.erased),
            notification_channel(self.epoch, key),
            notification_message(key, max(stored.offset, 0), ""),
            *seen_elements(stored.seen, stored.contents),
        )
        (answer,) = await self.connection.execute([command])
        if answer < 0:
            raise epoch_replaced(self.epoch)
        return bool(answer)

    def _check(self, answer: int, partition: int) -> None:
        if answer < 0:
            raise epoch_replaced(self.epoch)
        if not answer:
            raise CommitRefusedError(
                f"the position of partition {partition} has changed since it was read: another worker folds it, or "
                "Redis lost data; this worker ends and starts again from what is stored"
            )
