"""Which data key of each learner is active, computed from the records of the topic of keys."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.common.encryption.data_keys import DataKey, TenantKeys, parse_data_key, unwrap, wrap
from services.common.encryption.headers import key_id_of
from services.common.encryption.values import ERASED, LOST, KeyGone
from services.common.kafka.envelope import split_key

# Ciphers to keep in memory; each takes about a kilobyte.
_CIPHERS_MAX = 100_000


class LearnerKeyring:
    """The active data key of each learner.

    The package describes which key is active. Records must be applied in the order of the topic.

    Attributes:
        overwritten: by record key, the record to write again because another one follows the active key's on the topic,
            and compaction would keep that one. None represents a null record: the key that follows was destroyed, and
            no key is active.
        lost: ids of keys that are not on the topic and were not destroyed, when they were last looked for.
    """

    def __init__(self, tenant_keys: TenantKeys) -> None:
        """Args: `tenant_keys`, which unwrap a tenant's data keys."""
        self._tenant_keys = tenant_keys
        self._ciphers: OrderedDict[str, AESGCM] = OrderedDict()
        # By record key: the active key's id and record value.
        self._active: dict[bytes, tuple[str, bytes]] = {}
        self._erased: set[str] = set()
        self._with_null: set[bytes] = set()
        self.overwritten: dict[bytes, bytes | None] = {}
        self.lost: set[str] = set()

    def apply(self, record_key: bytes, value: bytes | None) -> None:
        """Apply one record of the topic.

        Raises:
            KeyInvalidError: when the record's key is not tenant/learner.
            ValueUnreadableError: when the value is not a LearnerDataKey.
        """
        split_key(record_key)
        active = self._active.get(record_key)
        if value is None:
            self._with_null.add(record_key)
            if active is not None:
                self.mark_erased(active[0])
                del self._active[record_key]
            self.overwritten.pop(record_key, None)
            return
        message = parse_data_key(value)
        if message.key_id in self._erased:
            # A process wrote it again before it had read that the key was destroyed.
            self.overwritten[record_key] = None if active is None else _marked_active(active[1])
        elif active is None or active[0] == message.key_id or message.counts:
            self._active[record_key] = message.key_id, value
            if message.counts:
                self.overwritten.pop(record_key, None)
            elif record_key in self.overwritten:
                self.overwritten[record_key] = _marked_active(value)
        else:
            self.overwritten[record_key] = _marked_active(active[1])

    def key_id(self, record_key: bytes) -> str | None:
        """Id of a learner's active key, or None."""
        active = self._active.get(record_key)
        return None if active is None else active[0]

    def data_key(self, record_key: bytes) -> DataKey | None:
        """A learner's active key, or None.

        Raises:
            TenantKeyMissingError: when the tenant's own key is unknown or does not unwrap it.
        """
        active = self._active.get(record_key)
        if active is None:
            return None
        key_id, value = active
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            data_key, _ = unwrap(self._tenant_keys, record_key, parse_data_key(value))
            cipher = self._ciphers[key_id] = AESGCM(data_key)
            if len(self._ciphers) > _CIPHERS_MAX:
                self._ciphers.popitem(last=False)
        return DataKey(key_id, cipher)

    @property
    def learner_count(self) -> int:
        """The number of learners with an active key."""
        return len(self._active)

    def learners(self, tenant: str) -> list[bytes]:
        """Record keys of a tenant's learners that have an active key."""
        prefix = f"{tenant}/".encode()
        return [record_key for record_key in self._active if record_key.startswith(prefix)]

    def rewrapped(self, record_key: bytes) -> bytes | None:
        """A learner's active key, wrapped with the key that wraps new ones; None when it already is, or there is none.

        Raises:
            TenantKeyMissingError: when none of the tenant's keys unwraps it.
        """
        active = self._active.get(record_key)
        if active is None:
            return None
        message = parse_data_key(active[1])
        data_key, wrapped_with = unwrap(self._tenant_keys, record_key, message)
        wraps_new = self._tenant_keys(split_key(record_key)[0])[0]
        if wrapped_with == wraps_new:
            return None
        message.wrapped_key = wrap(wraps_new, record_key, message.key_id, data_key)
        message.counts = True
        return message.SerializeToString(deterministic=True)

    def knows(self, record_key: bytes, key_id: str) -> bool:
        """Whether the status of a key is known: it is active, or it was destroyed."""
        return self.key_id(record_key) == key_id or key_id in self._erased

    def has_null(self, record_key: bytes) -> bool:
        """Whether a null record of the learner was on the topic: a key of theirs was destroyed."""
        return record_key in self._with_null

    def mark_erased(self, key_id: str) -> None:
        """Mark a key as destroyed for good: ids are random, so none comes back."""
        self._erased.add(key_id)
        self._ciphers.pop(key_id, None)

    def decrypt(
        self, record_key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]
    ) -> bytes | KeyGone | None:
        """See `LearnerKeys.decrypt`."""
        if value is None or record_key is None:
            return value
        key_id = key_id_of(headers)
        if key_id is None:
            return value
        if self.key_id(record_key) != key_id:
            if key_id not in self._erased and key_id not in self.lost:
                raise AssertionError("decrypt before load_keys: the status of the key is not known")
            return ERASED if key_id in self._erased else LOST
        data_key = self.data_key(record_key)
        if data_key is None:
            raise AssertionError("an active key is always held")
        return data_key.decrypt(record_key, value)


def _marked_active(value: bytes) -> bytes:
    """A key's record value, with the mark that makes it the active one."""
    message = parse_data_key(value)
    message.counts = True
    return message.SerializeToString(deterministic=True)
