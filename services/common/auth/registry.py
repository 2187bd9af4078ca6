"""Finds tenants by name, and credentials by API key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from services.common.auth.public_tenant import check_private
from services.common.auth.tenant import ApiKey, Credential, Tenant, hash_api_key


def utc_now() -> datetime:
    """The current time."""
    return datetime.now(UTC)


class TenantRegistry:
    """All tenants and their API keys."""

    def __init__(
        self, tenants: Mapping[str, Tenant], api_keys: Mapping[str, ApiKey], clock: Callable[[], datetime] = utc_now
    ) -> None:
        """Args: `tenants` by name, `api_keys` by their hashes, and the `clock` that decides which keys have expired."""
        self._clock = clock
        self._tenants: Mapping[str, Tenant] = {}
        self._api_keys: Mapping[str, ApiKey] = {}
        self._refuses_public = False
        self._replace(tenants, api_keys)

    def credential(self, api_key: str) -> Credential | None:
        """The key's tenant and scopes; None when the key is unknown, revoked or expired.

        Looking up a hash leaks no timing about the key: its SHA-256 cannot be steered towards a stored one.
        """
        stored = self._api_keys.get(hash_api_key(api_key))
        if stored is None or (stored.expires_at is not None and stored.expires_at <= self._clock()):
            return None
        return Credential(self._tenants[stored.tenant], stored)

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

    def refuse_public(self) -> None:
        """Refuse the key and the secret of `make demo`, which are public, from now on.

        Raises:
            PublicTenantError: when a tenant has one of them now.
        """
        check_private(self._tenants.values(), self._api_keys)
        self._refuses_public = True

    def _replace(self, tenants: Mapping[str, Tenant], api_keys: Mapping[str, ApiKey]) -> None:
        if self._refuses_public:
            check_private(tenants.values(), api_keys)
        self._tenants = dict(tenants)
        self._api_keys = dict(api_keys)
