"""The tenants file: tenants, their API keys (as hashes) and their secrets, readable by its owner and perhaps a group.

tenants:
riverbend:
secret: <hex, at least 16 bytes>
encryption_key: <hex, 32 bytes>           # without it, learners' values in the log are plain
next_encryption_key: <hex, 32 bytes>      # while the key is being replaced: the next key
former_encryption_key: <hex, 32 bytes>    # while the key is being replaced: the former key
ranker: auto                              # the default: what the newest bundle learned, and what is known without
need_share: 0.5                           # share of need in the score; 0: only what is likely to come next
encrypt: false                            # new values are plain; values encrypted before stay readable
api_keys:
- name: gradebook
sha256: <hex of the key's SHA-256>
scopes: [ingest, recommend]           # without it, the key may do everything
created_at: 2026-03-01T08:00:00Z
expires_at: 2026-03-02T08:00:00Z      # without it, the key does not expire
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import structlog
import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from services.common.auth.identity import TENANT_PATTERN
from services.common.auth.public_tenant import PublicTenantError
from services.common.auth.registry import TenantRegistry, utc_now
from services.common.auth.tenant import ALL_SCOPES, ApiKey, Credential, Scope, Tenant
from services.common.repeated_keys import load_yaml

_log = structlog.get_logger(__name__)

_ID_CHARACTERS = 12
# A group may read it: Kubernetes mounts a Secret for a process that is not root as root's file, readable by a group.
_NOT_FOR_OTHERS = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO

CheckSettings = Callable[[Mapping[str, object]], object]
"""Checks a tenant's settings for one service. It raises ValueError, with field, value and remedy."""


class TenantsFileError(ValueError):
    """The tenants file cannot be used; the message says why and what to do."""


class TenantMissingError(TenantsFileError):
    """The tenants file has no such tenant; the message lists the tenants."""


_Private = ConfigDict(extra="forbid", hide_input_in_errors=True)
_EncryptionKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ApiKeyEntry(BaseModel):
    """An API key in the file."""

    model_config = _Private
    name: str = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: Annotated[list[Scope], Field(min_length=1)] | None = None
    created_at: AwareDatetime | None = None
    expires_at: AwareDatetime | None = None

    @property
    def key_id(self) -> str:
        """The first characters of its hash."""
        return self.sha256[:_ID_CHARACTERS]

    def of(self, tenant: str) -> ApiKey:
        """The key as a value."""
        scopes = ALL_SCOPES if self.scopes is None else frozenset(self.scopes)
        return ApiKey(tenant, self.name, self.key_id, scopes, self.created_at, self.expires_at)


class TenantEntry(BaseModel):
    """A tenant in the file.

    `ranker` and `need_share` are settings of the recommender, which checks their values. They are named here so
    that every process refuses a misspelt name.
    """

    model_config = _Private
    secret: str
    encryption_key: _EncryptionKey | None = None
    next_encryption_key: _EncryptionKey | None = None
    former_encryption_key: _EncryptionKey | None = None
    encrypt: bool = True
    ranker: Any = None
    need_share: Any = None
    api_keys: list[ApiKeyEntry] = []

    @field_validator("secret")
    @classmethod
    def _hex_of_16_bytes(cls, value: str) -> str:
        if not re.fullmatch(r"(?:[0-9a-f]{2}){16,}", value):
            raise ValueError("must be at least 16 bytes in lower-case hex")
        return value

    def of(self, name: str) -> Tenant:
        """The tenant as a value."""
        given = {"ranker": self.ranker, "need_share": self.need_share}
        others = (self.former_encryption_key, self.next_encryption_key)
        return Tenant(
            name,
            bytes.fromhex(self.secret),
            encryption_key=None if self.encryption_key is None else bytes.fromhex(self.encryption_key),
            encrypt=self.encrypt,
            settings={setting: value for setting, value in given.items() if value is not None},
            other_encryption_keys=tuple(bytes.fromhex(key) for key in others if key),
        )


class TenantsFile(BaseModel):
    """The content of the file."""

    model_config = _Private
    tenants: dict[str, TenantEntry]

    @field_validator("tenants")
    @classmethod
    def _names(cls, value: dict[str, TenantEntry]) -> dict[str, TenantEntry]:
        for name in value:
            if not TENANT_PATTERN.fullmatch(name):
                raise ValueError(f"tenant {name!r} must match {TENANT_PATTERN.pattern}")
        return value


class FollowedTenants(TenantRegistry):
    """The registry of a file that is read again whenever it changes, so that a revoked key is refused at once.

    A file that becomes unusable is logged and changes nothing: an editing mistake must not lock out every tenant.
    """

    def __init__(
        self, path: Path, clock: Callable[[], datetime] = utc_now, check_settings: CheckSettings | None = None
    ) -> None:
        """Read the file.

        Args:
            path: the tenants file.
            clock: decides which keys have expired.
            check_settings: checks each tenant's settings for the service that runs; None: they are not checked.

        Raises:
            TenantsFileError: when it is missing, readable by others, or malformed.
        """
        self._path = path
        self._check_settings = check_settings
        self._version = _version_of(path)
        super().__init__(*self._contents(), clock)

    def credential(self, api_key: str) -> Credential | None:
        """See `TenantRegistry.credential`; reads the file again if it changed."""
        self._follow()
        return super().credential(api_key)

    def get(self, name: str) -> Tenant | None:
        """See `TenantRegistry.get`; reads the file again if it changed."""
        self._follow()
        return super().get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """See `TenantRegistry.names`; reads the file again if it changed."""
        self._follow()
        return super().names

    @property
    def api_keys(self) -> tuple[ApiKey, ...]:
        """See `TenantRegistry.api_keys`; reads the file again if it changed."""
        self._follow()
        return super().api_keys

    def _follow(self) -> None:
        version = _version_of(self._path)
        if version == self._version:
            return
        # Saved before reading, so that a file replaced meanwhile is read again, and an unusable one only once.
        self._version = version
        try:
            self._replace(*self._contents())
        except (TenantsFileError, PublicTenantError, OSError) as error:
            _log.error("tenants file not read again; the keys known before stay valid", reason=str(error))
        else:
            _log.info("tenants file read again", tenants=len(self._tenants), api_keys=len(self._api_keys))

    def _contents(self) -> tuple[dict[str, Tenant], dict[str, ApiKey]]:
        """Tenants by name and keys by hash."""
        path = self._path
        if not path.is_file():
            raise TenantsFileError(_no_file(path))
        if path.stat().st_mode & _NOT_FOR_OTHERS:
            raise TenantsFileError(
                f"the tenants file {path} holds secrets, but every user can read it or its group can change it; run: "
                f"chmod 600 {path}, or mount it with mode 0440 where a group reads it"
            )
        content = read_tenants_file(path)
        tenants = {name: entry.of(name) for name, entry in content.tenants.items()}
        for name, tenant in tenants.items():
            self._check(name, tenant.settings)
        keys = {key.sha256: key.of(name) for name, entry in content.tenants.items() for key in entry.api_keys}
        return tenants, keys

    def _check(self, tenant: str, settings: Mapping[str, object]) -> None:
        if self._check_settings is None:
            return
        try:
            self._check_settings(settings)
        except ValueError as error:
            raise TenantsFileError(f"the tenants file {self._path} is malformed: tenants.{tenant}: {error}") from error


def load_tenants(path: Path, check_settings: CheckSettings | None = None) -> TenantRegistry:
    """The registry of a tenants file, which follows the file from then on. See `FollowedTenants`."""
    return FollowedTenants(path, check_settings=check_settings)


def read_tenants_file(path: Path) -> TenantsFile:
    """The content of the file.

    Raises:
        TenantsFileError: when it is malformed.
    """
    try:
        return TenantsFile.model_validate(load_yaml(path.read_text(encoding="utf-8")) or {})
    except yaml.MarkedYAMLError as error:
        # The error's own text quotes the file, which holds secrets.
        line = "" if error.problem_mark is None else f" in line {error.problem_mark.line + 1}"
        raise TenantsFileError(f"the tenants file {path} is malformed{line}: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TenantsFileError(f"the tenants file {path} is malformed: it is not YAML in UTF-8") from error
    except ValidationError as error:
        raise TenantsFileError(f"the tenants file {path} is malformed: {error}") from error


def entry_of(content: TenantsFile, tenant: str) -> TenantEntry:
    """A tenant's entry.

    Raises:
        TenantMissingError: when there is none.
    """
    if tenant not in content.tenants:
        known = ", ".join(sorted(content.tenants)) or "none"
        raise TenantMissingError(f"there is no tenant {tenant!r}; known are: {known}")
    return content.tenants[tenant]


@contextmanager
def edited_tenants_file(path: Path, *, create: bool = False) -> Iterator[TenantsFile]:
    """The file's content, written back as a whole when the block ends without an exception; one writer at a time.

    Args:
        path: the tenants file.
        create: whether to start from an empty file when there is none.

    Raises:
        TenantsFileError: when there is no file and `create` is false, or it is malformed.
    """
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        if not path.is_file() and not create:
            raise TenantsFileError(_no_file(path))
        content = read_tenants_file(path) if path.is_file() else TenantsFile(tenants={})
        yield content
        temporary = path.with_name(path.name + ".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yaml.safe_dump(_dumped(content), file, sort_keys=True)
            file.flush()
            # Without a tenant's secret its learners cannot be found again.
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        os.close(directory)


def _no_file(path: Path) -> str:
    return f"there is no tenants file at {path}; create one with: cairn keys create --tenant NAME"


def _version_of(path: Path) -> tuple[int, int, int] | None:
    """Changes whenever the file is written or replaced; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _dumped(content: TenantsFile) -> dict[str, object]:
    dumped: dict[str, object] = content.model_dump(mode="json", exclude_none=True)
    for name, entry in content.tenants.items():
        if entry.encrypt:
            del dumped["tenants"][name]["encrypt"]  # type: ignore[index]  # What pydantic dumps are dicts.
    return dumped
