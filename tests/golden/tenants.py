"""Tenants whose secrets and API keys never change, so that pseudonyms, tokens and key ids are the same on every run."""

from __future__ import annotations

import hashlib

import yaml

TENANTS = ("riverbend", "lakeside", "hilltop")
SCOPES = ("ingest", "recommend", "catalog", "admin")


def api_key(tenant, scope=""):
    """A tenant's key: for that scope only, or for everything."""
    return f"cairn_{tenant}_golden{scope}"


def write_tenants(path):
    """Write a tenants file."""
    content = {
        tenant: {
            "secret": hashlib.sha256(tenant.encode()).hexdigest(),
            "api_keys": [
                {
                    "name": f"golden-{scope or 'all'}",
                    "sha256": hashlib.sha256(api_key(tenant, scope).encode()).hexdigest(),
                }
                | ({"scopes": [scope]} if scope else {})
                for scope in ("", *SCOPES)
            ],
        }
        for tenant in TENANTS
    }
    path.touch(0o600)
    path.write_text(yaml.safe_dump({"tenants": content}))


def metadata(key):
    """Metadata of a call with that key; None: without one."""
    return () if key is None else (("authorization", f"Bearer {key}"),)
