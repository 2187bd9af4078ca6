"""Etags: equal for records of equal content, so that a writer can name the version it replaces."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import UTC, datetime

from services.catalog.domain.model import Resource, Rule, Skill, kind_of

_DIGEST_BYTES = 16
# Who wrote a rule last, and when, is not part of its content.
_NOT_CONTENT = ("updated_at", "updated_with")
# Fields that came later: a record without them keeps the etag that earlier releases gave it.
_LATER = ("equivalents", "parent")


def etag_of(record: Skill | Resource | Rule) -> str:
    """A hash of a record's kind and content in one canonical form, 32 hexadecimal characters (RFC 9110, 8.8.3)."""
    content = {
        name: value
        for name, value in asdict(record).items()
        if name not in _NOT_CONTENT and (value or name not in _LATER)
    }
    canonical = json.dumps([kind_of(record), content], sort_keys=True, separators=(",", ":"), default=_moment)
    return hashlib.blake2b(canonical.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def same_content(one: Skill | Resource | Rule, other: Skill | Resource | Rule) -> bool:
    """Whether two records have the same content, no matter who wrote them and when."""
    return etag_of(one) == etag_of(other)


def _moment(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(f"{value!r} has no canonical form")
