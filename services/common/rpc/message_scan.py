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
# A value has a tag and a length or content. Packed numbers take one byte, and decode at a hundredth of the cost.
UNSCANNED_BYTES_MAX = 2 * VALUES_MAX

_DELIMITED = 2
_PACKABLE = frozenset(range(1, 19)) - {
    FieldDescriptor.TYPE_STRING,
    FieldDescriptor.TYPE_BYTES,
    FieldDescriptor.TYPE_MESSAGE,
    FieldDescriptor.TYPE_GROUP,
}
_MESSAGES_MAX = 1_000


class MessageRefusedError(ValueError):
    """A message holds too much, or its bytes are no message; the text says which, and the remedy."""


def check_size_of(raw: bytes, descriptor: Descriptor) -> None:
    """Check the numbers of values and of fields of a message.

    Raises:
        MessageRefusedError: when there are too many, or the bytes are no message of this kind.
    """
    try:
        _Scan(raw).message(0, len(raw), descriptor)
    except IndexError as error:
        raise MessageRefusedError("it ends in the middle of a field") from error


class _Scan:
    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._values = 0
        self._fields = 0

    def message(self, at: int, end: int, descriptor: Descriptor) -> None:
        fields = _fields_of(descriptor)
        while at < end:
            self._fields += 1
            if self._fields > FIELDS_MAX:
                raise MessageRefusedError(f"it has more than {FIELDS_MAX:,} fields; send several smaller ones")
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
            if (field := fields.get(key >> 3)) is not None:
                self._count(field, start, at, delimited=key & 7 == _DELIMITED)

    def _count(self, field: FieldDescriptor, start: int, end: int, *, delimited: bool) -> None:
        if field.is_repeated:
            self._values += end - start if delimited and field.type in _PACKABLE else 1
            if self._values > VALUES_MAX:
                raise MessageRefusedError(
                    f"its repeated fields hold more than {VALUES_MAX:,} values, {field.full_name} among them; "
                    "send several smaller ones"
                )
        if delimited and field.message_type is not None:
            self.message(start, end, field.message_type)

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


@lru_cache(maxsize=_MESSAGES_MAX)
def _fields_of(descriptor: Descriptor) -> dict[int, FieldDescriptor]:
    """The fields that are repeated, or messages, which may have such fields."""
    return {field.number: field for field in descriptor.fields if field.is_repeated or field.message_type is not None}
