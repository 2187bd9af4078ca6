"""Creating, rotating and revoking API keys in the tenants file."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from services.common.auth.encryption_keys import new_encryption_key
from services.common.auth.identity import TENANT_PATTERN
from services.common.auth.tenant import DEFAULT_SCOPES, ApiKey, Scope, hash_api_key
from services.common.auth.tenants_file import (
    ApiKeyEntry,
    TenantEntry,
    TenantsFileError,
    edited_tenants_file,
    entry_of,
)


class ApiKeyMissingError(TenantsFileError):
    """The tenants file has no such key, or more than one; the message says how to name it."""


def create_api_key(
    path: Path,
    tenant: str,
    key_name: str,
    scopes: Collection[Scope] = DEFAULT_SCOPES,
    *,
    created_at: datetime | None = None,
    encryption: bool = False,
) -> str:
    """Add a key for `tenant` to the file, creating file and tenant as needed, and return the key.

    Args:
        path: the tenants file.
        tenant: the tenant's name.
        key_name: what the key is for.
        scopes: what it may be used for, at least one.
        created_at: stored with the key.
        encryption: whether a new tenant gets an encryption key for its learners' values in the log.

    Raises:
        TenantsFileError: when the tenant's name is not allowed or the file is malformed.
    """
    if not TENANT_PATTERN.fullmatch(tenant):
        raise TenantsFileError(f"tenant {tenant!r} must match {TENANT_PATTERN.pattern}")
    with edited_tenants_file(path, create=True) as content:
        if tenant not in content.tenants:
            encryption_key = new_encryption_key() if encryption else None
            content.tenants[tenant] = TenantEntry(secret=secrets.token_hex(32), encryption_key=encryption_key)
        api_key = _new_api_key(tenant)
        listed = sorted(set(scopes))
        content.tenants[tenant].api_keys.append(
            ApiKeyEntry(name=key_name, sha256=hash_api_key(api_key), scopes=listed, created_at=created_at)
        )
    return api_key


def rotate_api_key(path: Path, tenant: str, key_name: str, *, now: datetime, overlap: timedelta) -> str:
    """Replace a key by a new one of the same name and scopes, and return it.

    Args:
        path: the tenants file.
        tenant: the tenant's name.
        key_name: the key's name, or its id where several keys share the name.
        now: stored as the new key's creation.
        overlap: how long the old key is still accepted; zero revokes it at once.

    Raises:
        ApiKeyMissingError: when there is no such key, or more than one.
        TenantsFileError: when there is no such tenant, or the file is missing or malformed.
    """
    with edited_tenants_file(path) as content:
        keys = entry_of(content, tenant).api_keys
        # Keys that are about to expire do not make the name ambiguous.
        lasting = [key for key in keys if _is_called(key, key_name) and key.expires_at is None]
        old = _only(lasting or [key for key in keys if _is_called(key, key_name)], tenant, key_name)
        if overlap > timedelta(0):
            end = now + overlap
            old.expires_at = end if old.expires_at is None else min(end, old.expires_at)
        else:
            keys.remove(old)
        api_key = _new_api_key(tenant)
        keys.append(ApiKeyEntry(name=old.name, sha256=hash_api_key(api_key), scopes=old.scopes, created_at=now))
    return api_key


def revoke_api_keys(path: Path, tenant: str, key_name: str) -> list[ApiKey]:
    """Remove a tenant's keys of that name, or the one of that id; return the removed keys.

    Raises:
        ApiKeyMissingError: when there is none.
        TenantsFileError: when there is no such tenant, or the file is missing or malformed.
    """
    with edited_tenants_file(path) as content:
        entry = entry_of(content, tenant)
        revoked = [key for key in entry.api_keys if _is_called(key, key_name)]
        if not revoked:
            raise ApiKeyMissingError(_missing(tenant, key_name))
        entry.api_keys = [key for key in entry.api_keys if key not in revoked]
    return [key.of(tenant) for key in revoked]


def _new_api_key(tenant: str) -> str:
    return f"cairn_{tenant}_{secrets.token_urlsafe(32)}"


def _is_called(key: ApiKeyEntry, name_or_id: str) -> bool:
    return name_or_id in {key.name, key.key_id}


def _only(keys: Sequence[ApiKeyEntry], tenant: str, key_name: str) -> ApiKeyEntry:
    if not keys:
        raise ApiKeyMissingError(_missing(tenant, key_name))
    if len(keys) > 1:
        ids = ", ".join(key.key_id for key in keys)
        raise ApiKeyMissingError(f"tenant {tenant!r} has {len(keys)} keys {key_name!r}; name one by its id: {ids}")
    return keys[0]


def _missing(tenant: str, key_name: str) -> str:
    return f"tenant {tenant!r} has no key {key_name!r}; list its keys with: cairn keys list --tenant {tenant}"
