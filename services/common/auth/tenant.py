"""Tenants and their API keys, as values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from services.common.auth.identity import pseudonym


class Scope(StrEnum):
    """What an API key may be used for."""

    INGEST = "ingest"
    RECOMMEND = "recommend"
    CATALOG = "catalog"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)
DEFAULT_SCOPES = frozenset({Scope.INGEST, Scope.RECOMMEND})
"""What a new key may be used for, where it is not said: what a platform needs, and nothing that changes or erases."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A district or platform.

    Attributes:
        name: `[a-z0-9-]{1,63}`.
        secret: the key of its pseudonyms and freshness tokens.
        encryption_key: 32 bytes that wrap its learners' data keys; None when it never had encryption.
        encrypt: whether new values in the log are encrypted, where there is a key.
        settings: its settings for the services, by their names in the tenants file. Each service reads its own.
        other_encryption_keys: keys that wrap some of its data keys too, while the encryption key is being replaced.
    """

    name: str
    secret: bytes
    encryption_key: bytes | None = field(default=None, repr=False)
    encrypt: bool = True
    settings: Mapping[str, object] = field(default_factory=dict, hash=False)
    other_encryption_keys: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def encryption_keys(self) -> tuple[bytes, ...]:
        """The keys that may wrap its learners' data keys; the first wraps new ones. Empty: it never had encryption."""
        return () if self.encryption_key is None else (self.encryption_key, *self.other_encryption_keys)

    def pseudonym(self, learner_id: str) -> str:
        """The tenant's pseudonym for one of its platform's learner ids."""
        return pseudonym(self.secret, learner_id)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as it is stored: everything but the key itself.

    Attributes:
        tenant: the tenant's name.
        name: what it is for; several keys may share a name.
        key_id: the first characters of its hash; distinguishes keys of one name, and reveals nothing.
        scopes: what it may be used for.
        created_at: when it was created; None for keys of older files.
        expires_at: when it expires; None: never.
    """

    tenant: str
    name: str
    key_id: str
    scopes: frozenset[Scope] = ALL_SCOPES
    created_at: datetime | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Credential:
    """What an API key proves: its tenant, and which key it is."""

    tenant: Tenant
    api_key: ApiKey


def hash_api_key(api_key: str) -> str:
    """The hash of an API key; the key itself is not stored.

    Keys carry 256 random bits, so a plain hash cannot be searched.
    """
    return hashlib.sha256(api_key.encode()).hexdigest()
