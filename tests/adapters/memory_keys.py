"""A topic of learners' keys in memory, and readers of encrypted values over it."""

from __future__ import annotations

from collections.abc import Iterable

from services.common.encryption.data_keys import DataKey, new_data_key
from services.common.encryption.headers import key_id_or_none
from services.common.encryption.keyring import LearnerKeyring
from services.common.encryption.values import KeyedRecord, KeyGone, KeysMissingError, KeyTopicSeen, MissingKeys
from services.common.kafka.envelope import LEARNER_KEYS

TENANT_KEY = b"t" * 32


class MemoryKeyTopic:
    """The records of the topic; `lose` makes it a new, empty one."""

    def __init__(self) -> None:
        self.number = 1
        self.records: list[tuple[bytes, bytes | None]] = []

    def key_of(self, record_key: bytes) -> DataKey:
        """The active key of a learner, created if there is none."""
        keyring = self.keyring()
        if keyring.key_id(record_key) is None:
            self.records.append((record_key, new_data_key(TENANT_KEY, record_key)))
            keyring = self.keyring()
        found = keyring.data_key(record_key)
        assert found is not None
        return found

    def destroy(self, record_key: bytes) -> None:
        """Destroy the active key of a learner."""
        self.records.append((record_key, None))

    def lose(self) -> list[tuple[bytes, bytes | None]]:
        """Delete the topic and create it again, empty; return what it held."""
        held, self.records = self.records, []
        self.number += 1
        return held

    def keyring(self) -> LearnerKeyring:
        """The keys on the topic now."""
        keyring = LearnerKeyring(lambda _: (TENANT_KEY,))
        for record_key, value in self.records:
            keyring.apply(record_key, value)
        return keyring


class MemoryLearnerKeys:
    """Implements ValueDecryptor and KeyTopic. It finds no proofs in a log."""

    def __init__(self, topic: MemoryKeyTopic) -> None:
        self.topic = topic
        self.seen: KeyTopicSeen | None = None
        self._keyring = topic.keyring()
        self._missing: list[KeyedRecord] = []

    async def load_keys(self, records: Iterable[KeyedRecord]) -> None:
        """Read the topic from its beginning."""
        await self.look()
        self._missing = [record for record in records if not self._knows(record)]
        self._keyring.lost = {key_id for one in self._missing if (key_id := key_id_or_none(one.headers))}

    def is_lost(self, record: KeyedRecord) -> bool:
        """Whether its key was not found."""
        return not self._knows(record)

    def missing_keys(self) -> KeysMissingError:
        """The error for the records of the last call of `load_keys`."""
        first = self._missing[0]
        tenant = (first.key or b"").decode().partition("/")[0]
        key_id = key_id_or_none(first.headers) or ""
        return KeysMissingError(
            MissingKeys(len(self._missing), tenant, first.partition, first.offset, key_id), LEARNER_KEYS
        )

    def decrypt(
        self, record_key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]
    ) -> bytes | KeyGone | None:
        """As the port says."""
        return self._keyring.decrypt(record_key, value, headers)

    async def look(self) -> KeyTopicSeen:
        """Read the topic, and say how it looks."""
        self._keyring = self.topic.keyring()
        identity = f"00000000-0000-0000-0000-{self.topic.number:012}/1"
        self.seen = KeyTopicSeen(identity, len(self.topic.records), self._keyring.learner_count)
        return self.seen

    def _knows(self, record: KeyedRecord) -> bool:
        key_id = key_id_or_none(record.headers)
        return record.key is None or key_id is None or self._keyring.knows(record.key, key_id)
