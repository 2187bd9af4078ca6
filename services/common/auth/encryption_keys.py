"""Switching a tenant's encryption in the tenants file, and replacing its encryption key in steps."""

from __future__ import annotations

import secrets
from pathlib import Path

from services.common.auth.tenants_file import (
    TenantEntry,
    TenantsFile,
    TenantsFileError,
    edited_tenants_file,
    entry_of,
    read_tenants_file,
)


def new_encryption_key() -> str:
    """A new key, 32 bytes in hex."""
    return secrets.token_hex(32)


def set_encryption(path: Path, tenant: str, *, encrypt: bool) -> None:
    """Encrypt a tenant's new values in the log, or stop. Values encrypted before stay readable either way.

    Raises:
        TenantsFileError: when there is no such tenant, or the file is missing or malformed.
    """
    with edited_tenants_file(path) as content:
        entry = entry_of(content, tenant)
        # The key is never removed: values encrypted under it would become unreadable.
        if encrypt and entry.encryption_key is None:
            entry.encryption_key = new_encryption_key()
        entry.encrypt = encrypt


def prepare_encryption_key(path: Path, tenant: str) -> None:
    """Create a tenant's next encryption key, if it has none yet. Until the switch it only unwraps data keys.

    Raises:
        TenantsFileError: when there is no such tenant, it has no encryption, a replacement is not finished, or the file
            is malformed.
    """
    with edited_tenants_file(path) as content:
        entry = _encrypted(content, tenant)
        if entry.former_encryption_key is not None:
            raise TenantsFileError(
                f"the encryption key of tenant {tenant!r} is already being replaced; finish that first: "
                f"cairn keys rotate-encryption finish --tenant {tenant}"
            )
        entry.next_encryption_key = entry.next_encryption_key or new_encryption_key()


def switch_encryption_key(path: Path, tenant: str) -> None:
    """Wrap new data keys with the prepared key; the former one only unwraps. Does nothing when already switched.

    Raises:
        TenantsFileError: when there is no such tenant, it has no encryption, no key was prepared, or the file is
            malformed.
    """
    with edited_tenants_file(path) as content:
        entry = _encrypted(content, tenant)
        if entry.next_encryption_key is not None:
            entry.former_encryption_key, entry.encryption_key = entry.encryption_key, entry.next_encryption_key
            entry.next_encryption_key = None
        elif entry.former_encryption_key is None:
            raise TenantsFileError(
                f"tenant {tenant!r} has no next encryption key; create one first: "
                f"cairn keys rotate-encryption prepare --tenant {tenant}"
            )


def check_encryption_key_switched(path: Path, tenant: str) -> None:
    """Raise TenantsFileError when the tenant's key was not switched."""
    _switched(read_tenants_file(path), tenant)


def forget_former_encryption_key(path: Path, tenant: str) -> None:
    """Remove the replaced key. Data keys still wrapped with it can no longer be unwrapped.

    Raises:
        TenantsFileError: when there is no such tenant, its key was not switched, or the file is malformed.
    """
    with edited_tenants_file(path) as content:
        _switched(content, tenant).former_encryption_key = None


def _encrypted(content: TenantsFile, tenant: str) -> TenantEntry:
    entry = entry_of(content, tenant)
    if entry.encryption_key is None:
        raise TenantsFileError(
            f"tenant {tenant!r} has no encryption key; switch encryption on with: "
            f"cairn keys encryption on --tenant {tenant}"
        )
    return entry


def _switched(content: TenantsFile, tenant: str) -> TenantEntry:
    entry = _encrypted(content, tenant)
    if entry.former_encryption_key is None:
        raise TenantsFileError(
            f"the encryption key of tenant {tenant!r} was not switched; do that first: "
            f"cairn keys rotate-encryption switch --tenant {tenant}"
        )
    return entry
