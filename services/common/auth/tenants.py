"""Tenants, their API keys (hashed at rest) and their pseudonym secrets, read from one private file.

The file is YAML, readable by its owner only:

    tenants:
      riverbend:
        secret: <hex, at least 16 bytes>
        encryption_key: <hex, 32 bytes>           # without it, learners' values in the log are plain
        next_encryption_key: <hex, 32 bytes>      # while the key is being replaced: the one to come
        former_encryption_key: <hex, 32 bytes>    # while the key is being replaced: the one before
        ranker: learned                           # without it: weights, the hand-weighted score
        need_share: 0.5                           # of the learned ranker's score, from 0 to 1
        encrypt: false                            # new values are plain, those encrypted before stay readable
        api_keys:
          - name: gradebook
            sha256: <hex of the key's SHA-256>
            scopes: [ingest, recommend]           # without it, the key may do everything
            created_at: 2026-03-01T08:00:00Z
            expires_at: 2026-03-02T08:00:00Z      # without it, the key does not expire
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import structlog
import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from services.common.auth.identity import TENANT_PATTERN, pseudonym

_log = structlog.get_logger(__name__)

_ID_CHARACTERS = 12
_NEED_SHARE = 0.5


class TenantsFileError(ValueError):
    """The tenants file cannot be used; the message says why and what to do."""


class ApiKeyMissingError(TenantsFileError):
    """The tenants file has no such key, or more than one; the message says how to name it."""


class Scope(StrEnum):
    """What an API key may be used for."""

    INGEST = "ingest"
    RECOMMEND = "recommend"
    CATALOG = "catalog"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)


class Ranker(StrEnum):
    """What ranks a tenant's lists."""

    LEARNED = "learned"
    WEIGHTS = "weights"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A district or platform.

    Attributes:
        name: `[a-z0-9-]{1,63}`.
        secret: key of its pseudonyms and freshness tokens.
        encryption_key: 32 bytes that its learners' data keys are wrapped with; None: none of them ever was.
        encrypt: whether new values in the log are encrypted, where there is a key.
        other_encryption_keys: what some data keys are wrapped with too, while the key is being replaced.
        ranker: what ranks its lists; the learned ranker only where a bundle has one for it.
        need_share: how much of the learned ranker's score is what a learner needs, rather than what learners are
            likely to work on next: from 0 to 1.
    """

    name: str
    secret: bytes
    encryption_key: bytes | None = field(default=None, repr=False)
    encrypt: bool = True
    ranker: Ranker = Ranker.WEIGHTS
    need_share: float = _NEED_SHARE
    other_encryption_keys: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def encryption_keys(self) -> tuple[bytes, ...]:
        """What its learners' data keys may be wrapped with, first what new ones are; empty: none of them ever was."""
        return () if self.encryption_key is None else (self.encryption_key, *self.other_encryption_keys)

    def pseudonym(self, learner_id: str) -> str:
        """The tenant's pseudonym for one of its platform's learner ids."""
        return pseudonym(self.secret, learner_id)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as it is kept: everything but the key itself.

    Attributes:
        tenant: whose it is.
        name: what it is for; several keys may share a name.
        key_id: the first characters of its hash; tells apart keys of one name, and reveals nothing.
        scopes: what it may be used for.
        created_at: when it was created; None for keys of older files.
        expires_at: from when on it is refused; None: never.
    """

    tenant: str
    name: str
    key_id: str
    scopes: frozenset[Scope] = ALL_SCOPES
    created_at: datetime | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Credential:
    """What an API key proves: the tenant, and the key it was."""

    tenant: Tenant
    api_key: ApiKey


def _now() -> datetime:
    return datetime.now(UTC)


class TenantRegistry:
    """Finds the tenant of an API key."""

    def __init__(
        self, tenants: Mapping[str, Tenant], api_keys: Mapping[str, ApiKey], clock: Callable[[], datetime] = _now
    ) -> None:
        """Args: `tenants` by name, `api_keys` by their hashes; `clock` says which have expired."""
        self._clock = clock
        self._tenants: Mapping[str, Tenant] = {}
        self._api_keys: Mapping[str, ApiKey] = {}
        self._hold(tenants, api_keys)

    def authenticate(self, api_key: str) -> Tenant | None:
        """The key's tenant, or None."""
        credential = self.credential(api_key)
        return None if credential is None else credential.tenant

    def credential(self, api_key: str) -> Credential | None:
        """The key's tenant and what it may be used for; None when it is not known, was revoked or has expired.

        Looking up a hash leaks no timing about the key: its SHA-256 cannot be steered towards a stored one.
        """
        kept = self._api_keys.get(hash_api_key(api_key))
        if kept is None or (kept.expires_at is not None and kept.expires_at <= self._clock()):
            return None
        return Credential(self._tenants[kept.tenant], kept)

    def get(self, name: str) -> Tenant | None:
        """The tenant of that name, or None."""
        return self._tenants.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """All tenants' names, sorted."""
        return tuple(sorted(self._tenants))

    @property
    def api_keys(self) -> tuple[ApiKey, ...]:
        """All keys, by tenant, name and id; expired ones too."""
        return tuple(sorted(self._api_keys.values(), key=lambda key: (key.tenant, key.name, key.key_id)))

    def _hold(self, tenants: Mapping[str, Tenant], api_keys: Mapping[str, ApiKey]) -> None:
        self._tenants = dict(tenants)
        self._api_keys = dict(api_keys)


class FollowedTenants(TenantRegistry):
    """The registry of a file, read again whenever the file changes, so that a revoked key is refused at once.

    A file that becomes unusable is logged and changes nothing: a slip of an editor must not shut every tenant out.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime] = _now) -> None:
        """Read the file.

        Raises:
            TenantsFileError: when it is missing, readable by others, or malformed.
        """
        self._path = path
        self._version = _version_of(path)
        super().__init__(*_contents(path), clock)

    def credential(self, api_key: str) -> Credential | None:
        """As the registry says, of the file as it stands."""
        self._follow()
        return super().credential(api_key)

    def get(self, name: str) -> Tenant | None:
        """As the registry says, of the file as it stands."""
        self._follow()
        return super().get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """As the registry says, of the file as it stands."""
        self._follow()
        return super().names

    @property
    def api_keys(self) -> tuple[ApiKey, ...]:
        """As the registry says, of the file as it stands."""
        self._follow()
        return super().api_keys

    def _follow(self) -> None:
        version = _version_of(self._path)
        if version == self._version:
            return
        # Noted before reading, so that a file that is replaced meanwhile is read again, and an unusable one only once.
        self._version = version
        try:
            self._hold(*_contents(self._path))
        except (TenantsFileError, OSError) as error:
            _log.error("tenants file not read again; the keys known before stay valid", reason=str(error))
        else:
            _log.info("tenants file read again", tenants=len(self._tenants), api_keys=len(self._api_keys))


_Private = ConfigDict(extra="forbid", hide_input_in_errors=True)
_EncryptionKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _ApiKey(BaseModel):
    model_config = _Private
    name: str = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: Annotated[list[Scope], Field(min_length=1)] | None = None
    created_at: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None

    def of(self, tenant: str) -> ApiKey:
        """The key as callers see it."""
        scopes = ALL_SCOPES if self.scopes is None else frozenset(self.scopes)
        key_id = self.sha256[:_ID_CHARACTERS]
        return ApiKey(tenant, self.name, key_id, scopes, self.created_at, self.expires_at)


class _Tenant(BaseModel):
    model_config = _Private
    secret: str
    encryption_key: _EncryptionKey | None = None
    next_encryption_key: _EncryptionKey | None = None
    former_encryption_key: _EncryptionKey | None = None
    encrypt: bool = True
    ranker: Ranker | None = None
    need_share: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    api_keys: list[_ApiKey] = []

    @field_validator("secret")
    @classmethod
    def _hex_of_16_bytes(cls, value: str) -> str:
        if not re.fullmatch(r"(?:[0-9a-f]{2}){16,}", value):
            raise ValueError("must be at least 16 bytes in lower-case hex")
        return value

    def of(self, name: str) -> Tenant:
        """The tenant as callers see it."""
        key = None if self.encryption_key is None else bytes.fromhex(self.encryption_key)
        ranker = Ranker.WEIGHTS if self.ranker is None else self.ranker
        need_share = _NEED_SHARE if self.need_share is None else self.need_share
        others = tuple(bytes.fromhex(one) for one in (self.former_encryption_key, self.next_encryption_key) if one)
        return Tenant(name, bytes.fromhex(self.secret), key, self.encrypt, ranker, need_share, others)


class _TenantsFile(BaseModel):
    model_config = _Private
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
    """The registry of a tenants file, which follows the file from then on.

    Raises:
        TenantsFileError: when it is missing, readable by others, or malformed.
    """
    return FollowedTenants(path)


def create_api_key(
    path: Path,
    tenant: str,
    key_name: str,
    scopes: Sequence[Scope] = (),
    *,
    created_at: datetime | None = None,
    encryption: bool = False,
) -> str:
    """Add a key for `tenant` to the file, creating file and tenant as needed, and return the key.

    Args:
        path: the tenants file.
        tenant: whose key it is.
        key_name: what it is for.
        scopes: what it may be used for; without any, everything.
        created_at: noted with the key.
        encryption: whether a tenant that is made here has its learners' values in the log encrypted.

    Raises:
        TenantsFileError: when the tenant's name is not allowed or the file is malformed.
    """
    if not TENANT_PATTERN.fullmatch(tenant):
        raise TenantsFileError(f"tenant {tenant!r} must match {TENANT_PATTERN.pattern}")
    with _changing(path, create=True) as content:
        if tenant not in content.tenants:
            encryption_key = _new_encryption_key() if encryption else None
            content.tenants[tenant] = _Tenant(secret=secrets.token_hex(32), encryption_key=encryption_key)
        entry = content.tenants[tenant]
        api_key = new_api_key(tenant)
        listed = sorted(set(scopes)) or None
        kept = _ApiKey(name=key_name, sha256=hash_api_key(api_key), scopes=listed, created_at=created_at)
        entry.api_keys.append(kept)
    return api_key


def set_encryption(path: Path, tenant: str, *, encrypt: bool) -> None:
    """Have a tenant's new values in the log encrypted, or not. Those encrypted before stay readable either way.

    Raises:
        ApiKeyMissingError: when there is no such tenant.
        TenantsFileError: when the file is missing or malformed.
    """
    with _changing(path) as content:
        _keys_of(content, tenant)
        entry = content.tenants[tenant]
        # Never thrown away: what was encrypted under it could no longer be read.
        if encrypt and entry.encryption_key is None:
            entry.encryption_key = _new_encryption_key()
        entry.encrypt = encrypt


def prepare_encryption_key(path: Path, tenant: str) -> None:
    """Make the encryption key that is to replace a tenant's; until it does, it only opens. One that is made is kept.

    Raises:
        ApiKeyMissingError: when there is no such tenant.
        TenantsFileError: when the tenant has no encryption, a replacement is not finished, or the file is malformed.
    """
    with _changing(path) as content:
        entry = _encrypted(content, tenant)
        if entry.former_encryption_key is not None:
            raise TenantsFileError(
                f"the encryption key of tenant {tenant!r} is being replaced already; first finish that: "
                f"cairn keys rotate-encryption finish --tenant {tenant}"
            )
        entry.next_encryption_key = entry.next_encryption_key or _new_encryption_key()


def switch_encryption_key(path: Path, tenant: str) -> None:
    """Have the key that was prepared wrap new data keys, and the one before it only open; nothing if that is so.

    Raises:
        ApiKeyMissingError: when there is no such tenant.
        TenantsFileError: when the tenant has no encryption, none was prepared, or the file is malformed.
    """
    with _changing(path) as content:
        entry = _encrypted(content, tenant)
        if entry.next_encryption_key is not None:
            entry.former_encryption_key, entry.encryption_key = entry.encryption_key, entry.next_encryption_key
            entry.next_encryption_key = None
        elif entry.former_encryption_key is None:
            raise TenantsFileError(
                f"tenant {tenant!r} has no next encryption key; first make one: "
                f"cairn keys rotate-encryption prepare --tenant {tenant}"
            )


def check_encryption_key_switched(path: Path, tenant: str) -> None:
    """Raise TenantsFileError when no key of the tenant is being replaced."""
    _switched(_read(path), tenant)


def forget_former_encryption_key(path: Path, tenant: str) -> None:
    """Remove the key that was replaced: from then on nothing that is wrapped with it opens.

    Raises:
        ApiKeyMissingError: when there is no such tenant.
        TenantsFileError: when no key of the tenant was replaced, or the file is malformed.
    """
    with _changing(path) as content:
        _switched(content, tenant).former_encryption_key = None


def rotate_api_key(path: Path, tenant: str, key_name: str, *, now: datetime, overlap: timedelta) -> str:
    """Replace a key by a fresh one of the same name and scopes, and return it.

    Args:
        path: the tenants file.
        tenant: whose key it is.
        key_name: the key's name, or its id where several keys share the name.
        now: noted as the new key's creation.
        overlap: how long the old key is still accepted; zero revokes it at once.

    Raises:
        ApiKeyMissingError: when there is no such key, or more than one.
        TenantsFileError: when the file is missing or malformed.
    """
    with _changing(path) as content:
        keys = _keys_of(content, tenant)
        # Keys that are on their way out do not make the name ambiguous.
        lasting = [key for key in keys if _is_called(key, key_name) and key.expires_at is None]
        old = _only(lasting or [key for key in keys if _is_called(key, key_name)], tenant, key_name)
        if overlap > timedelta(0):
            end = now + overlap
            old.expires_at = end if old.expires_at is None else min(end, old.expires_at)
        else:
            keys.remove(old)
        api_key = new_api_key(tenant)
        keys.append(_ApiKey(name=old.name, sha256=hash_api_key(api_key), scopes=old.scopes, created_at=now))
    return api_key


def revoke_api_keys(path: Path, tenant: str, key_name: str) -> list[ApiKey]:
    """Remove a tenant's keys of that name, or the one of that id; return what was removed.

    Raises:
        ApiKeyMissingError: when there is none.
        TenantsFileError: when the file is missing or malformed.
    """
    with _changing(path) as content:
        keys = _keys_of(content, tenant)
        revoked = [key for key in keys if _is_called(key, key_name)]
        if not revoked:
            raise ApiKeyMissingError(_missing(tenant, key_name))
        content.tenants[tenant].api_keys = [key for key in keys if key not in revoked]
    return [key.of(tenant) for key in revoked]


def _encrypted(content: _TenantsFile, tenant: str) -> _Tenant:
    _keys_of(content, tenant)
    entry = content.tenants[tenant]
    if entry.encryption_key is None:
        raise TenantsFileError(
            f"tenant {tenant!r} has no encryption key; switch encryption on with: "
            f"cairn keys encryption on --tenant {tenant}"
        )
    return entry


def _switched(content: _TenantsFile, tenant: str) -> _Tenant:
    entry = _encrypted(content, tenant)
    if entry.former_encryption_key is None:
        raise TenantsFileError(
            f"the encryption key of tenant {tenant!r} was not switched; first do that: "
            f"cairn keys rotate-encryption switch --tenant {tenant}"
        )
    return entry


def _new_encryption_key() -> str:
    return secrets.token_hex(32)


def _keys_of(content: _TenantsFile, tenant: str) -> list[_ApiKey]:
    if tenant not in content.tenants:
        known = ", ".join(sorted(content.tenants)) or "none"
        raise ApiKeyMissingError(f"there is no tenant {tenant!r}; known are: {known}")
    return content.tenants[tenant].api_keys


def _is_called(key: _ApiKey, name_or_id: str) -> bool:
    return name_or_id in {key.name, key.sha256[:_ID_CHARACTERS]}


def _only(keys: Sequence[_ApiKey], tenant: str, key_name: str) -> _ApiKey:
    if not keys:
        raise ApiKeyMissingError(_missing(tenant, key_name))
    if len(keys) > 1:
        ids = ", ".join(key.sha256[:_ID_CHARACTERS] for key in keys)
        raise ApiKeyMissingError(f"tenant {tenant!r} has {len(keys)} keys {key_name!r}; name one by its id: {ids}")
    return keys[0]


def _missing(tenant: str, key_name: str) -> str:
    return f"tenant {tenant!r} has no key {key_name!r}; list its keys with: cairn keys list --tenant {tenant}"


def _contents(path: Path) -> tuple[dict[str, Tenant], dict[str, ApiKey]]:
    """Tenants by name and keys by hash."""
    if not path.is_file():
        raise TenantsFileError(f"there is no tenants file at {path}; create one with: cairn keys create --tenant NAME")
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise TenantsFileError(f"the tenants file {path} holds secrets but others may read it; run: chmod 600 {path}")
    content = _read(path)
    tenants = {name: entry.of(name) for name, entry in content.tenants.items()}
    keys = {key.sha256: key.of(name) for name, entry in content.tenants.items() for key in entry.api_keys}
    return tenants, keys


def _version_of(path: Path) -> tuple[int, int, int] | None:
    """Differs whenever the file was written or replaced; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@contextmanager
def _changing(path: Path, *, create: bool = False) -> Iterator[_TenantsFile]:
    """The file's content, written back whole when the block ends without an exception; one writer at a time."""
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        if not path.is_file() and not create:
            raise TenantsFileError(
                f"there is no tenants file at {path}; create one with: cairn keys create --tenant NAME"
            )
        content = _read(path) if path.is_file() else _TenantsFile(tenants={})
        yield content
        temporary = path.with_name(path.name + ".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            yaml.safe_dump(_dumped(content), file, sort_keys=True)
            file.flush()
            # Without a tenant's secret its learners cannot be found again.
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        os.close(directory)


def _dumped(content: _TenantsFile) -> dict[str, object]:
    dumped: dict[str, object] = content.model_dump(mode="json", exclude_none=True)
    for name, entry in content.tenants.items():
        if entry.encrypt:
            del dumped["tenants"][name]["encrypt"]  # type: ignore[index]  # What pydantic dumps are dicts.
    return dumped


def _read(path: Path) -> _TenantsFile:
    try:
        return _TenantsFile.model_validate(yaml.safe_load(path.read_text()) or {})
    except yaml.MarkedYAMLError as error:
        # The error's own text quotes the file, which holds secrets.
        line = "" if error.problem_mark is None else f" in line {error.problem_mark.line + 1}"
        raise TenantsFileError(f"the tenants file {path} is malformed{line}: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TenantsFileError(f"the tenants file {path} is malformed: it is not YAML in UTF-8") from error
    except ValidationError as error:
        raise TenantsFileError(f"the tenants file {path} is malformed: {error}") from error
