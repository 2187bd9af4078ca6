"""The stored values of a learner: as bytes in Redis, and as what folds and answers read.

A value is sealed when it is written: the highest bit of its first byte, the version, is set, and a CRC-32 follows. The
state's covers its offset too. Values of earlier releases are not sealed; they are decoded completely instead. The
fingerprints of seen events have no checksum.
"""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from services.recommender.adapters.redis.seen_entries import seen_of_elements
from services.recommender.application.ports.epochs import StoredLearnerBytes
from services.recommender.application.ports.learners import StoredLearner
from services.recommender.application.ports.quarantine import LearnerDamagedError
from services.recommender.domain.learner.journal import (
    EMPTY_JOURNAL,
    Journal,
    corrections_of,
    decode_journal,
    encode_journal,
    entries_of,
)
from services.recommender.domain.learner.record import NEW_LEARNER, LearnerRecord
from services.recommender.domain.learner.state import (
    PackedState,
    StateCorruptError,
    decode_state,
    encode_state,
    unpack_state,
)

_SEALED = 0x80
_CHECKSUM = struct.Struct("<I")
# What decoding damaged bytes may raise, StateCorruptError included.
_DAMAGED = (ValueError, LookupError, TypeError, struct.error)


def seal(value: bytes, context: bytes = b"") -> bytes:
    """A value with its checksum; an empty one stays empty. Args: `context`, what else the checksum covers."""
    if not value:
        return value
    marked = bytes((value[0] | _SEALED,)) + value[1:]
    return marked + _checksum(marked, context)


def seal_state(blob: bytes, offset: int) -> bytes:
    """An encoded state with its checksum, which covers the offset stored with it."""
    return seal(blob, b"%d" % offset)


def unseal(stored: bytes, context: bytes = b"") -> bytes:
    """The value without its checksum; one of an earlier release has none.

    Raises:
        StateCorruptError: when the checksum is not that of the value.
    """
    if not stored:
        return stored
    marked = bytes((stored[0] | _SEALED,)) + stored[1 : -_CHECKSUM.size]
    matches = stored[-_CHECKSUM.size :] == _checksum(marked, context)
    # A value that matches without the mark has lost the mark.
    if matches != bool(stored[0] & _SEALED):
        raise StateCorruptError(f"{len(stored)} bytes do not have the checksum they were stored with")
    return bytes((marked[0] ^ _SEALED,)) + marked[1:] if matches else stored


def stored_learner(key: bytes, fields: Any) -> StoredLearner | None:
    """What answers read; None: nothing is stored, or the learner was erased.

    Args:
        key: the learner's record key.
        fields: the reply to HMGET of blob and off.

    Raises:
        LearnerDamagedError: when it cannot be read.
    """
    with _damage_of(key):
        blob, offset = _values(fields)
        if blob is None and offset is None:
            return None
        if blob is None or offset is None:
            raise StateCorruptError("one of its parts is missing")
        if not blob:
            return None
        return StoredLearner(decode_state(unseal(blob, offset)), int(offset))


def learner_record(key: bytes, state: Any, journal: Any, seen: Any) -> LearnerRecord:
    """What folds read.

    Args:
        key: the learner's record key.
        state: the reply to HMGET of blob and off.
        journal: the reply to HMGET of entries and checkpoint.
        seen: the reply to LRANGE.

    Raises:
        LearnerDamagedError: when it cannot be read, or a part is missing.
    """
    with _damage_of(key):
        (blob, offset), (entries, checkpoint) = _values(state), _values(journal)
        window = seen_of_elements(_values(seen))
        parts = (blob is not None, offset is not None, bool(seen), bool(entries) or blob == b"")
        if not any((*parts, checkpoint)):
            return NEW_LEARNER
        if blob is None or offset is None or not all(parts):
            raise StateCorruptError("one of its parts is missing")
        # An erased learner's state is empty, and there is no journal; a checkpoint is never stored empty.
        if (not blob and entries) or checkpoint == b"":
            raise StateCorruptError("one of its parts is empty")
        return LearnerRecord(
            int(offset),
            _state(unseal(blob, offset), sealed=_is_sealed(blob)) if blob else None,
            _journal(unseal(entries), sealed=_is_sealed(entries)) if entries else EMPTY_JOURNAL,
            _checkpoint(checkpoint) if checkpoint else b"",
            *window,
        )


def learner_bytes(key: bytes, state: Any, journal: Any, seen: Any) -> StoredLearnerBytes | None:
    """A learner exactly as stored, without checksums; None: there is none. Args as for `learner_record`."""
    try:
        record = learner_record(key, state, journal, seen)
    except LearnerDamagedError as error:
        return StoredLearnerBytes(key, -1, b"", b"", b"", b"", damage=error.reason)
    if record is NEW_LEARNER:
        return None
    if record.state is None:
        return StoredLearnerBytes(key, record.offset, b"", b"", record.checkpoint, record.seen, record.contents)
    return StoredLearnerBytes(
        key,
        record.offset,
        encode_state(record.state),
        encode_journal(record.journal),
        record.checkpoint,
        record.seen,
        record.contents,
    )


def waiting_targets(entries: bytes) -> list[bytes]:
    """The targets that corrections in a stored journal wait for; none if the journal cannot be read."""
    try:
        return [target for target, _ in corrections_of(decode_journal(unseal(entries)))]
    except _DAMAGED:
        return []


def _state(blob: bytes, *, sealed: bool) -> PackedState:
    if not sealed:
        state = decode_state(blob)
        of_skills = [state.skill_records[name].tolist() for name in ("mean", "variance")]
        if not all(map(math.isfinite, (state.mean, state.variance, *itertools.chain(*of_skills)))):
            raise StateCorruptError("an estimate is not a finite number")
    return unpack_state(blob)


def _journal(blob: bytes, *, sealed: bool) -> Journal:
    journal = decode_journal(blob)
    if not sealed:
        entries_of(journal)
    return journal


def _checkpoint(stored: bytes) -> bytes:
    checkpoint = unseal(stored)
    _state(checkpoint, sealed=_is_sealed(stored))
    return checkpoint


def _is_sealed(stored: bytes) -> bool:
    return bool(stored[0] & _SEALED)


def _checksum(marked: bytes, context: bytes) -> bytes:
    return _CHECKSUM.pack(zlib.crc32(marked, zlib.crc32(context)))


def _values(reply: Any) -> Sequence[Any]:
    if isinstance(reply, Exception):
        raise StateCorruptError(f"Redis returned {reply}")
    values: Sequence[Any] = reply
    return values


@contextmanager
def _damage_of(key: bytes) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise LearnerDamagedError(key, str(error)) from error
