"""What readers of encrypted values handle: records, the erased value and the errors. No I/O, no cryptography."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, Protocol


class Erasure(Enum):
    """The result of decrypting a value whose key was destroyed."""

    ERASED = "erased"


ERASED: Final = Erasure.ERASED


class ValueUnreadableError(ValueError):
    """A value does not match its headers: it is damaged, moved from another learner, or of an unknown algorithm."""


class TenantKeyMissingError(LookupError):
    """A tenant's values are encrypted, and this process does not have the tenant's encryption key."""


class KeyedRecord(Protocol):
    """The parts of a record that say which data key its value needs, if any."""

    @property
    def key(self) -> bytes | None:
        """The record's key."""
        ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """The record's headers."""
        ...
