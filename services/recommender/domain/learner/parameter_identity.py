"""The id of tracing parameters, a hash of their values: folds with equal parameters have equal ids."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping

from services.recommender.domain.learner.parameters import TenantParameters

_SCHEME = b"cairn tracing parameters 1\0"


def parameters_id(tenants: Mapping[str, TenantParameters]) -> str:
    """The id of tracing parameters: SHA-256 of their canonical bytes, as `sha256-` and 32 hexadecimal digits.

    Canonical: tenants, items and skills in the order of their ids' UTF-8 bytes, texts and counts preceded by their
    length, numbers as little-endian float64. The order of insertion into mappings does not matter; every number does.
    """
    digest = hashlib.sha256(_SCHEME)
    for tenant, parameters in sorted(tenants.items(), key=lambda entry: entry[0].encode()):
        settings = parameters.settings.stored().values()
        digest.update(_text(tenant) + struct.pack(f"<I{len(settings)}d", len(settings), *settings))
        digest.update(_difficulties({item: (entry.mean, entry.variance) for item, entry in parameters.items.items()}))
        digest.update(
            _difficulties(
                {
                    skill: (entry.mean, entry.variance, entry.mean_item_difficulty)
                    for skill, entry in parameters.skills.items()
                }
            )
        )
        # Parameters of releases that did not know recent items keep their ids.
        if parameters.recent_items:
            digest.update(b"recent items 1")
    return f"sha256-{digest.hexdigest()[:32]}"


def _difficulties(numbers_by_id: Mapping[str, tuple[float, ...]]) -> bytes:
    records = [
        _text(identifier) + struct.pack(f"<{len(numbers)}d", *numbers)
        for identifier, numbers in sorted(numbers_by_id.items(), key=lambda entry: entry[0].encode())
    ]
    return struct.pack("<I", len(records)) + b"".join(records)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<I", len(encoded)) + encoded
