"""Tenants' encryption keys from the tenants file, read when the first one is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from services.common.auth.registry import TenantRegistry
from services.common.auth.tenants_file import TenantsFileError, load_tenants
from services.common.encryption.data_keys import TenantKeys
from services.common.encryption.values import TenantKeyMissingError


def tenant_keys_in(tenants_file: Path) -> TenantKeys:
    """The tenants' encryption keys in a file. The file is read when the first key is needed, and followed from then on.

    The returned function raises TenantKeyMissingError when the file cannot be used.
    """
    registry: TenantRegistry | None = None

    def tenant_keys(name: str) -> Sequence[bytes]:
        nonlocal registry
        if registry is None:
            try:
                registry = load_tenants(tenants_file)
            except TenantsFileError as error:
                raise TenantKeyMissingError(f"values in the log are encrypted, and {error}") from error
        tenant = registry.get(name)
        return () if tenant is None else tenant.encryption_keys

    return tenant_keys
