"""Checks of the fields of log records, shared by all kinds of events."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from cairn.v1 import events_pb2

ID_CHARACTERS_MAX = 256
WRONG_PARTITION = "partition"
"""The code of records that are not on the partition of their key."""

_LATEST_S = 2**32 - 1
_FLOAT32 = struct.Struct("<f")


class RecordInvalidError(ValueError):
    """A record of the log cannot be applied; the message names the field and what is wrong.

    Attributes:
        code: the reason in one word, for metrics: key, partition, encryption, content-type, value, identity, field or
            body.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def check_ids(identifiers: Iterable[str], characters_max: int = ID_CHARACTERS_MAX) -> None:
    """Raise RecordInvalidError when an id is too long or has a NUL character."""
    for identifier in identifiers:
        if len(identifier) > characters_max or "\0" in identifier:
            raise invalid_id(identifier, characters_max)


def invalid_id(identifier: str, characters_max: int = ID_CHARACTERS_MAX) -> RecordInvalidError:
    """The error for an id that is too long or has a NUL character."""
    if len(identifier) > characters_max:
        return RecordInvalidError("field", f"an id has {len(identifier)} characters, more than {characters_max}")
    return RecordInvalidError("field", f"the id {identifier[:40]!r} holds a NUL character")


def seconds_of(message: events_pb2.LearnerEvent) -> int:
    """When the learner acted, Unix seconds; 0: not known. Raises RecordInvalidError when it is out of range."""
    # An absent time reads as 0, which means not known here.
    seconds: int = message.occurred_at.seconds
    if not 0 <= seconds <= _LATEST_S:
        raise RecordInvalidError("field", f"occurred_at is {seconds} s from 1970, not between 1970 and 2106")
    return seconds


def as_float32(value: float) -> float:
    """The value in the precision of the journal."""
    return float(_FLOAT32.unpack(_FLOAT32.pack(value))[0])
