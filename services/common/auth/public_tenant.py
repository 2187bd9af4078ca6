"""The tenant of `make demo`. Its API key and its secret are public, so that every run gives the same output.

Anybody may call with the key, and can link learners' ids to pseudonyms with the secret. Therefore a service that other
machines can reach refuses the tenant (`TenantRegistry.refuse_public`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from services.common.auth.tenant import Tenant, hash_api_key

PUBLIC_TENANT = "demo"
PUBLIC_SECRET = b"the secret of make demo is public".hex()
PUBLIC_API_KEY = "cairn_demo_this-key-is-public-and-works-on-loopback-only"

_PUBLIC_HASH = hash_api_key(PUBLIC_API_KEY)


class PublicTenantError(ValueError):
    """There is a public key or secret where it must not be; the message says how to remove it."""


def check_private(tenants: Iterable[Tenant], api_key_hashes: Collection[str]) -> None:
    """Refuse the public API key and the public secret, whatever tenant has them.

    Raises:
        PublicTenantError: when one of them is there.
    """
    public = bytes.fromhex(PUBLIC_SECRET)
    found = [f"tenant {tenant.name!r} has the secret of make demo" for tenant in tenants if tenant.secret == public]
    if _PUBLIC_HASH in api_key_hashes:
        found.append("the API key of make demo is accepted")
    if found:
        raise PublicTenantError(
            f"{' and '.join(found)}, which everybody knows: remove that tenant from the tenants file, and create one "
            "with: cairn keys create --tenant NAME"
        )
