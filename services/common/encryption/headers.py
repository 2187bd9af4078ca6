"""The record headers that say how a value was encrypted, and with which key."""

from __future__ import annotations

from collections.abc import Iterable

from services.common.encryption.values import ValueUnreadableError
from services.common.kafka.envelope import Headers

ENCRYPTION_HEADER = "cairn_enc"
KEY_ID_HEADER = "cairn_key_id"
ALGORITHM = b"A256GCM"


def encryption_headers(key_id: str) -> Headers:
    """The headers of a value encrypted with a key."""
    return [(ENCRYPTION_HEADER, ALGORITHM), (KEY_ID_HEADER, key_id.encode())]


def is_encrypted(headers: Iterable[tuple[str, bytes]]) -> bool:
    """Whether a record's headers say that its value is encrypted."""
    for name, _ in headers:  # noqa: SIM110 - called for every record: a generator would take twice as long.
        if name == ENCRYPTION_HEADER:
            return True
    return False


def key_id_of(headers: Iterable[tuple[str, bytes]]) -> str | None:
    """Id of the key that a record's value was encrypted with; None when it is not encrypted.

    Raises:
        ValueUnreadableError: when the headers name no key, or an algorithm that this program does not know.
    """
    named = dict(headers)
    algorithm = named.get(ENCRYPTION_HEADER)
    if algorithm is None:
        return None
    if algorithm != ALGORITHM:
        raise ValueUnreadableError(f"{ENCRYPTION_HEADER} is {algorithm[:40]!r}, this program knows {ALGORITHM!r}")
    key_id = named.get(KEY_ID_HEADER)
    if not key_id:
        raise ValueUnreadableError(f"the value is encrypted, and {KEY_ID_HEADER} does not say with which key")
    return key_id.decode(errors="replace")


def key_id_or_none(headers: Iterable[tuple[str, bytes]]) -> str | None:
    """`key_id_of`, with None also for invalid headers: decrypting reports those."""
    try:
        return key_id_of(headers)
    except ValueUnreadableError:
        return None
