"""Tenants, their API keys (hashed at rest) and their pseudonym secrets, read from one private file.

The file is YAML, readable by its owner only:

    tenants:
      riverbend:
        secret: <hex, at least 16 bytes>
        api_keys:
          - {name: gradebook, sha256: <hex of the key's SHA-256>}
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from services.common.identity import TENANT_PATTERN, pseudonym


class TenantsFileError(ValueError):
    """The tenants file cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A district or platform.

    Attributes:
        name: `[a-z0-9-]{1,63}`.
        secret: key of its pseudonyms and freshness tokens.
    """

    name: str
    secret: bytes

    def pseudonym(self, learner_id: str) -> str:
        """The tenant's pseudonym for one of its platform's learner ids."""
        return pseudonym(self.secret, learner_id)


class TenantRegistry:
    """Finds the tenant of an API key."""

    def __init__(self, tenants: Mapping[str, Tenant], tenant_by_key_sha256: Mapping[str, str]) -> None:
        self._tenants = dict(tenants)
        self._tenant_by_key_sha256 = dict(tenant_by_key_sha256)

    def authenticate(self, api_key: str) -> Tenant | None:
        """The key's tenant, or None.

        Looking up a hash leaks no timing about the key: its SHA-256 cannot be steered towards a stored one.
        """
        name = self._tenant_by_key_sha256.get(hash_api_key(api_key))
        return None if name is None else self._tenants[name]

    def get(self, name: str) -> Tenant | None:
        """The tenant of that name, or None."""
        return self._tenants.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """All tenants' names, sorted."""
        return tuple(sorted(self._tenants))


class _ApiKey(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Tenant(BaseModel):
    model_config = ConfigDict(extra="forbid")
    secret: str
    api_keys: list[_ApiKey] = []

    @field_validator("secret")
    @classmethod
    def _hex_of_16_bytes(cls, value: str) -> str:
        if not re.fullmatch(r"(?:[0-9a-f]{2}){16,}", value):
            raise ValueError("must be at least 16 bytes in lower-case hex")
        return value


class _TenantsFile(BaseModel):
    model_config = ConfigDict(extra="forbid")
    tenants: dict[str, _Tenant]

    @field_validator("tenants")
    @classmethod
    def _names(cls, value: dict[str, _Tenant]) -> dict[str, _Tenant]:
        for name in value:
            if not TENANT_PATTERN.fullmatch(name):
                raise ValueError(f"tenant {name!r} must match {TENANT_PATTERN.pattern}")
        return value


def hash_api_key(api_key: str) -> str:
    """What is kept of an API key. Keys carry 256 random bits, so a plain hash cannot be searched."""
    return hashlib.sha256(api_key.encode()).hexdigest()


def new_api_key(tenant: str) -> str:
    """A fresh API key; only its hash is kept anywhere."""
    return f"cairn_{tenant}_{secrets.token_urlsafe(32)}"


def load_tenants(path: Path) -> TenantRegistry:
    """Read the tenants file.

    Raises:
        TenantsFileError: when it is missing, readable by others, or malformed.
    """
    if not path.is_file():
        raise TenantsFileError(f"there is no tenants file at {path}; create one with: cairn keys create --tenant NAME")
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise TenantsFileError(f"the tenants file {path} holds secrets but others may read it; run: chmod 600 {path}")
    content = _read(path)
    tenants = {name: Tenant(name, bytes.fromhex(entry.secret)) for name, entry in content.tenants.items()}
    by_key = {key.sha256: name for name, entry in content.tenants.items() for key in entry.api_keys}
    return TenantRegistry(tenants, by_key)


def create_api_key(path: Path, tenant: str, key_name: str) -> str:
    """Add a key for `tenant` to the file, creating file and tenant as needed, and return the key.

    Raises:
        TenantsFileError: when the tenant's name is not allowed or the file is malformed.
    """
    if not TENANT_PATTERN.fullmatch(tenant):
        raise TenantsFileError(f"tenant {tenant!r} must match {TENANT_PATTERN.pattern}")
    content = _read(path) if path.is_file() else _TenantsFile(tenants={})
    entry = content.tenants.setdefault(tenant, _Tenant(secret=secrets.token_hex(32)))
    api_key = new_api_key(tenant)
    entry.api_keys.append(_ApiKey(name=key_name, sha256=hash_api_key(api_key)))
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        yaml.safe_dump(content.model_dump(), file, sort_keys=True)
    temporary.replace(path)
    return api_key


def _read(path: Path) -> _TenantsFile:
    try:
        return _TenantsFile.model_validate(yaml.safe_load(path.read_text()) or {})
    except (yaml.YAMLError, ValidationError) as error:
        raise TenantsFileError(f"the tenants file {path} is malformed: {error}") from error
