"""The tenants file of `make demo`: a fixed API key and a fixed secret, so that every run gives the same output."""

from __future__ import annotations

from pathlib import Path

from services.common.auth.encryption_keys import new_encryption_key
from services.common.auth.public_tenant import PUBLIC_API_KEY, PUBLIC_SECRET, PUBLIC_TENANT
from services.common.auth.tenant import ALL_SCOPES, hash_api_key
from services.common.auth.tenants_file import ApiKeyEntry, TenantEntry, edited_tenants_file


def create_demo_tenant(path: Path) -> str:
    """Add the demo's tenant to a tenants file, creating it as needed, and return its API key.

    Its encryption key is random like any other's: nothing that can be seen depends on it.

    Raises:
        TenantsFileError: when the file is malformed.
    """
    with edited_tenants_file(path, create=True) as content:
        entry = content.tenants.setdefault(
            PUBLIC_TENANT, TenantEntry(secret=PUBLIC_SECRET, encryption_key=new_encryption_key())
        )
        entry.api_keys = [ApiKeyEntry(name="demo", sha256=hash_api_key(PUBLIC_API_KEY), scopes=sorted(ALL_SCOPES))]
    return PUBLIC_API_KEY
