"""Counts what a message holds from its bytes, without decoding it.

Decoding, and the objects it makes, cost far more than the bytes: 4 MB can hold 2,000,000 empty messages. A count stops
as soon as a limit is exceeded.
"""

from __future__ import annotations

from functools import lru_cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor

# The values of repeated fields in a whole request, and its fields of any kind.
VALUES_MAX = 50_000
FIELDS_MAX = 400_000
# The values of one list inside a record of a request: more than any field of the contracts may have.
VALUES_OF_RECORD_MAX = 2_000
# One text: far more than any field of the contracts may have.
TEXT_BYTES_MAX = 262_144
# So few bytes cannot hold more: requests and records as they usually are need no look.
UNSCANNED_BYTES_MAX = VALUES_OF_RECORD_MAX
# More bytes may hold too many values although no part of them does, so every part is counted.
PARTLY_SCANNED_BYTES_MAX = 2 * VALUES_MAX
# Counting more fields takes long enough to be worth a thread.
FIELDS_AT_ONCE_MAX = 3_000

DELIMITED = 2
_PACKABLE = frozenset(range(1, 19)) - {
    FieldDescriptor.TYPE_STRING,
    FieldDescriptor.TYPE_BYTES,
    FieldDescriptor.TYPE_MESSAGE,
    FieldDescriptor.TYPE_GROUP,
}
_MESSAGES_MAX = 1_000


class MessageRefusedError(ValueError):
    """A message holds too much, or its bytes are no message; the text says which, and the remedy."""


class ManyFieldsError(Exception):
    """A message has more fields than may be counted at once."""


def check_size_of(raw: bytes, descriptor: Descriptor, *, at_once: bool = False) -> None:
    """Check the numbers of values and of fields of a message.

    Args:
        raw: the message.
        descriptor: what kind of message it is.
        at_once: stop when it takes more than a few milliseconds.

    Raises:
        MessageRefusedError: when there are too many, or the bytes are no message of this kind.
        ManyFieldsError: when it would take longer.
    """
    try:
        _Scan(raw, FIELDS_AT_ONCE_MAX if at_once else None).message(0, len(raw), descriptor)
    except IndexError as error:
        raise MessageRefusedError("it ends in the middle of a field") from error


class _Scan:
    def __init__(self, raw: bytes, at_once_max: int | None) -> None:
        self._raw = raw
        self._at_once_max = FIELDS_MAX if at_once_max is None else at_once_max
        # As few bytes as this hold few values; of many bytes, every part counts.
        self._unscanned_bytes_max = UNSCANNED_BYTES_MAX if len(raw) <= PARTLY_SCANNED_BYTES_MAX else 0
        self._values = 0
        self._fields = 0

    def message(self, at: int, end: int, descriptor: Descriptor, values_max: int = VALUES_MAX) -> None:
        """Count a message, of whose repeated fields each may have `values_max` values."""
        fields, counts = _fields_of(descriptor), dict[int, int]()
        while at < end:
            self._count_field()
            key, at = self._varint(at)
            match key & 7:
                case 0:
                    _, at = self._varint(at)
                    length = 0
                case 1:
                    length = 8
                case 5:
                    length = 4
                case 2:
                    length, at = self._varint(at)
                case other:
                    raise MessageRefusedError(f"it has a field of the wire type {other}, which no contract uses")
            start, at = at, at + length
            if at > end:
                raise IndexError
            if length > TEXT_BYTES_MAX:
                _check_long(descriptor.fields_by_number.get(key >> 3), length)
            if (field := fields.get(key >> 3)) is not None:
                delimited = key & 7 == DELIMITED
                values = at - start if delimited and field.type in _PACKABLE else 1
                counts[field.number] = counts.get(field.number, 0) + values
                self._count(field, values, counts[field.number], values_max)
                if delimited and field.message_type is not None and at - start > self._unscanned_bytes_max:
                    self.message(start, at, field.message_type, VALUES_OF_RECORD_MAX)

    def _count_field(self) -> None:
        self._fields += 1
        if self._fields > self._at_once_max:
            if self._at_once_max < FIELDS_MAX:
                raise ManyFieldsError
            raise MessageRefusedError(f"it has more than {FIELDS_MAX:,} fields; send several smaller ones")

    def _count(self, field: FieldDescriptor, values: int, of_field: int, values_max: int) -> None:
        if not field.is_repeated:
            # Nobody writes a message in parts. Their lists become one, of which no part shows the length.
            if of_field > 1:
                raise MessageRefusedError(f"it sets {field.full_name} more than once; set it once")
            return
        self._values += values
        if self._values > VALUES_MAX or of_field > values_max:
            most = f"{VALUES_MAX:,} values in all" if self._values > VALUES_MAX else f"{values_max:,} values"
            raise MessageRefusedError(f"a repeated field holds more than {most}: {field.full_name}; send fewer at once")

    def _varint(self, at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = self._raw[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, at
            shift += 7
            if shift > 63:
                raise MessageRefusedError("it has a number of more than 64 bits")


def _check_long(field: FieldDescriptor | None, length: int) -> None:
    if field is not None and field.type in {FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES}:
        raise MessageRefusedError(
            f"{field.full_name} has {length:,} bytes; no text of a request has more than {TEXT_BYTES_MAX:,}"
        )


@lru_cache(maxsize=_MESSAGES_MAX)
def _fields_of(descriptor: Descriptor) -> dict[int, FieldDescriptor]:
    """The fields that are repeated, or messages, which may have such fields."""
    return {field.number: field for field in descriptor.fields if field.is_repeated or field.message_type is not None}
