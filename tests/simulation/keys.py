"""A topic of learners' keys that can lose records, and what workers read it with."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from cairn.v1 import events_pb2
from services.common.encryption.data_keys import DataKey, wrap
from services.common.encryption.erasure_evidence import ErasureEvidence, KeyUse
from services.common.encryption.headers import is_encrypted, key_id_or_none
from services.common.encryption.keyring import LearnerKeyring
from services.common.encryption.values import KeyedRecord, KeyGone, KeysMissingError, MissingKeys
from services.common.kafka.connection import BrokerUnavailableError
from services.common.kafka.envelope import LEARNER_KEYS, split_key
from tests.adapters.memory_keys import TENANT_KEY

_ERASES = ("ce_type", events_pb2.ErasureEvent.DESCRIPTOR.full_name.encode())

_KeyRecord = tuple[bytes, bytes | None]


class SimulatedKeyTopic:
    """The topic, as ingest writes to it.

    Attributes:
        records: what is on it.
        version: changes with every change.
        incomplete: whether it lost records; ingest then writes nothing under its keys.
        accepted: whether somebody accepted that.
    """

    def __init__(self) -> None:
        self.records: list[_KeyRecord] = []
        self.version = 0
        self.incomplete = False
        self.accepted = False
        self._complete: list[_KeyRecord] = []
        self._numbered = 0
        self._active: dict[bytes, DataKey] = {}

    def seal(self, record_key: bytes, value: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
        """A value encrypted with its learner's key, which is created if there is none, and the headers that say so."""
        key = self._active.get(record_key)
        if key is None:
            self._write(record_key, self._new_key(record_key))
            found = keyring_of(self.records).data_key(record_key)
            assert found is not None
            key = self._active[record_key] = found
        # What DataKey.encrypt does. Its nonce is random, and a schedule must follow from its seed.
        nonce = self._next_bytes(12)
        return nonce + key.cipher.encrypt(nonce, value, record_key), key.headers

    def destroy(self, record_key: bytes) -> None:
        """Destroy a learner's key."""
        if self._active.pop(record_key, None) is not None:
            self._write(record_key, None)

    def lose(self, records: int) -> None:
        """Lose the last records; 0: all, because the topic was recreated."""
        self.version += 1
        self.incomplete = True
        del self.records[len(self.records) - records if 0 < records <= len(self.records) else 0 :]

    def restore(self) -> None:
        """Restore the topic from a copy."""
        self.version += 1
        self.incomplete = False
        self.records = list(self._complete)

    def accept(self) -> None:
        """Go on without the keys that were lost; ingest makes new ones."""
        self.incomplete, self.accepted = False, True
        self._complete = list(self.records)
        known = keyring_of(self.records)
        self._active = {key: one for key, one in self._active.items() if known.key_id(key) == one.key_id}

    def complete_keyring(self, log: Any) -> LearnerKeyring:
        """Every key that is not lost for good, with what the log proves."""
        keyring = keyring_of(self._complete)
        keyring.lost = {key_id for _, key_id in lost_uses(log, keyring)}
        return keyring

    def _new_key(self, record_key: bytes) -> bytes:
        data_key = self._next_bytes(32)
        key_id = f"key-{self._numbered}"
        wrapped = wrap(TENANT_KEY, record_key, key_id, data_key)
        return events_pb2.LearnerDataKey(key_id=key_id, wrapped_key=wrapped).SerializeToString()

    def _next_bytes(self, length: int) -> bytes:
        self._numbered += 1
        return self._numbered.to_bytes(length, "big")

    def _write(self, record_key: bytes, value: bytes | None) -> None:
        self.version += 1
        self.records.append((record_key, value))
        self._complete.append((record_key, value))


class SimulatedLearnerKeys:
    """A worker's reader of the topic; implements ValueDecryptor. What proves an erasure is in the log."""

    def __init__(self, process: Any, log: Any) -> None:
        self._process = process
        self._log = log
        self._version = -1
        self._asked: list[KeyedRecord] = []
        self._keyring = keyring_of([])
        self._evidence = ErasureEvidence()

    async def load_keys(self, records: Iterable[KeyedRecord]) -> None:
        """Load the key of each record, or find out that it was destroyed; wait while the broker is away."""
        self._asked = [record for record in records if self.is_lost(record)]
        if not self._asked:
            return
        while True:
            with suppress(BrokerUnavailableError):
                await self._process.ask(self._log.server, [self._read])
                return
            await asyncio.sleep(0.1)

    def _read(self) -> None:
        topic = self._log.keys
        if self._version != topic.version:
            self._version, self._keyring = topic.version, keyring_of(topic.records)
        self._evidence, uses = evidence_in(self._log, self._keyring)
        self._keyring.lost = {key_id for _, key_id in _not_proven(self._evidence, uses, self._keyring)}

    def is_lost(self, record: KeyedRecord) -> bool:
        """Whether the record's key was neither found nor destroyed."""
        key_id = key_id_or_none(record.headers)
        return key_id is not None and record.key is not None and not self._keyring.knows(record.key, key_id)

    def missing_keys(self) -> KeysMissingError:
        """The error that names the records whose keys are lost."""
        found = self._evidence.missing(self._keyring.knows)
        if found is None:
            # The records are of a log that was replaced since they were read.
            (record, *_) = (each for each in self._asked if self.is_lost(each))
            assert record.key is not None
            key_id = key_id_or_none(record.headers) or ""
            found = MissingKeys(1, split_key(record.key)[0], record.partition, record.offset, key_id)
        return KeysMissingError(found, LEARNER_KEYS)

    def decrypt(
        self, record_key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]
    ) -> bytes | KeyGone | None:
        """As the port says."""
        return self._keyring.decrypt(record_key, value, headers)


def keyring_of(records: Iterable[_KeyRecord]) -> LearnerKeyring:
    """The keys on a topic with these records."""
    keyring = LearnerKeyring(lambda _: (TENANT_KEY,))
    for record_key, value in records:
        keyring.apply(record_key, value)
    return keyring


def evidence_in(log: Any, keyring: LearnerKeyring) -> tuple[ErasureEvidence, Mapping[KeyUse, tuple[int, int]]]:
    """What a log says of keys that are not known, and where each is used first: partition and offset."""
    evidence, uses = ErasureEvidence(), {}
    for partition, records in enumerate(log.records):
        for one in records:
            key_id = key_id_or_none(one.headers) if is_encrypted(one.headers) else None
            if key_id is not None and not keyring.knows(one.key, key_id):
                uses.setdefault((one.key, key_id), (partition, one.offset))
                evidence.note_use((one.key, key_id), partition, one.offset, right_partition=True)
            elif _ERASES in one.headers:
                evidence.note_erasure(one.key, one.offset)
    return evidence, uses


def lost_uses(log: Any, keyring: LearnerKeyring) -> dict[KeyUse, tuple[int, int]]:
    """Where each lost key is used first; keys that the log proves to be destroyed are marked so in the keyring."""
    evidence, uses = evidence_in(log, keyring)
    return _not_proven(evidence, uses, keyring)


def _not_proven(
    evidence: ErasureEvidence, uses: Mapping[KeyUse, tuple[int, int]], keyring: LearnerKeyring
) -> dict[KeyUse, tuple[int, int]]:
    proven = [use for use in uses if evidence.destroyed_before_an_erasure(use)]
    for _, key_id in proven:
        keyring.mark_erased(key_id)
    return {use: place for use, place in uses.items() if use not in proven}
