"""What readers of encrypted values handle: records, the erased value and the errors. No I/O, no cryptography."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol


class KeyGone(Enum):
    """The result of decrypting a value without its key."""

    ERASED = "erased"  # its learner was erased
    LOST = "lost"  # nothing shows that its learner was erased


ERASED: Final = KeyGone.ERASED
LOST: Final = KeyGone.LOST


class ValueUnreadableError(ValueError):
    """A value does not match its headers: it is damaged, moved from another learner, or of an unknown algorithm."""


class TenantKeyMissingError(LookupError):
    """A tenant's values are encrypted, and this process does not have the tenant's encryption key."""


@dataclass(frozen=True, slots=True)
class MissingKeys:
    """Records whose key is not on the topic of keys, without a proof that their learner was erased.

    Attributes:
        records: how many there are in the log, as far as it was looked at.
        tenant: of one of them.
        partition: of the same one.
        offset: of the same one.
        key_id: the key that it was encrypted with.
    """

    records: int
    tenant: str
    partition: int
    offset: int
    key_id: str


class KeysMissingError(LookupError):
    """Values cannot be decrypted because their keys are not on the topic of keys, and no erasure explains it."""

    def __init__(self, missing: MissingKeys, topic: str) -> None:
        super().__init__(
            f"{missing.records:,} records of the log cannot be decrypted: {topic} does not hold their keys, and no "
            f"erasure of their learners was found. One of them: tenant {missing.tenant!r}, partition "
            f"{missing.partition}, offset {missing.offset}, key {missing.key_id}. Restore {topic} from a copy or a "
            "replica, and check that CAIRN_KAFKA and CAIRN_TENANTS are those of this log. To go on without these "
            "records, replay into a new epoch with --accept-lost-keys"
        )
        self.missing = missing


@dataclass(frozen=True, slots=True)
class KeyTopicSeen:
    """The topic of learners' keys as it was read.

    Attributes:
        identity: the topic, as `services.common.kafka.envelope.LogIdentity` text.
        end: one past the last record that was read.
        learners: how many learners had a key.
    """

    identity: str
    end: int
    learners: int


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

    @property
    def partition(self) -> int:
        """The record's partition in the log."""
        ...

    @property
    def offset(self) -> int:
        """The record's offset in that partition."""
        ...
