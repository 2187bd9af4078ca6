"""The log of learner events and its dead letters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from services.common.encryption.values import KeyedRecord, KeyGone, KeysMissingError, KeyTopicSeen
from services.recommender.domain.learner.corrections import KnownCorrections


class RecordMark(NamedTuple):
    """A record of one partition: its offset, and the `services.common.kafka.envelope.record_fingerprint` of it."""

    offset: int
    fingerprint: str


class LogReader(Protocol):
    """The log of learner events as it is now. Every call may raise ConnectionError or LookupError (no such topic)."""

    async def identity(self) -> str:
        """The identity of the log, as `services.common.kafka.envelope.LogIdentity` text."""
        ...

    async def end_offsets(self) -> Mapping[int, int]:
        """One past the last record, by partition."""
        ...

    async def beginnings(self) -> Mapping[int, int]:
        """The first offset that the log still holds, by partition."""
        ...

    async def fingerprints(self, offsets: Mapping[int, Sequence[int]]) -> Mapping[tuple[int, int], str]:
        """The fingerprint of each record asked for, by partition and offset, without those that the log does not hold.

        Args:
            offsets: the offsets to read, ascending, by partition.
        """
        ...


class LogTruncatedError(RuntimeError):
    """The log no longer holds records that were not yet processed, or records that were."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record of the log that cannot be applied, and why.

    Attributes:
        partition: its partition.
        offset: its offset.
        key: its key.
        value: its value.
        headers: its headers.
        code: the reason in one word.
        reason: the reason in a sentence.
    """

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    code: str
    reason: str


class ValueDecryptor(Protocol):
    """Decrypts values of the log that are encrypted with their learner's key."""

    async def load_keys(self, records: Iterable[KeyedRecord]) -> None:
        """Load the records' keys, or learn that they were destroyed or lost; waits while the broker is away."""
        ...

    def is_lost(self, record: KeyedRecord) -> bool:
        """Whether the record's key was neither found nor destroyed when it was loaded: `decrypt` returns LOST."""
        ...

    def missing_keys(self) -> KeysMissingError:
        """The error that names the records whose keys are lost."""
        ...

    def decrypt(
        self, record_key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]
    ) -> bytes | KeyGone | None:
        """The value as it was before encryption; ERASED when its key was destroyed; LOST when it was not found.

        Raises:
            ValueUnreadableError: when it cannot be decrypted with its key.
        """
        ...


class KeyTopic(Protocol):
    """The topic of learners' keys."""

    @property
    def seen(self) -> KeyTopicSeen | None:
        """The topic as it was read; None: not read yet."""
        ...

    async def look(self) -> KeyTopicSeen:
        """Read the topic, and say how it looks. Raises LookupError when it does not exist."""
        ...


class ReadAhead(Protocol):
    """Reads the log ahead of a fold."""

    async def read(self, spans: Mapping[int, tuple[int, int]]) -> KnownCorrections:
        """Every correction and revision of some stretches.

        Args:
            spans: the first offset, and one past the last, by partition.

        Raises:
            BrokerUnavailableError: when the log cannot be read.
            KeysMissingError: when records there may be corrections, and their keys are lost.
        """
        ...


class DeadLetters(Protocol):
    """Receives records that cannot be applied."""

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Return once every letter is confirmed. Raises ConnectionError when one is not."""
        ...
