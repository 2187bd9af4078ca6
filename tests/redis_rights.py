"""The rights of a Redis user that docs/security.md calls enough."""

from __future__ import annotations

import re
from pathlib import Path

DOCUMENT = Path(__file__).parents[1] / "docs" / "security.md"


def documented_rights() -> list[str]:
    """The rules after the password in the documented `ACL SETUSER`."""
    found = re.search(
        r"^ACL SETUSER cairn on >PASSWORD (.+)$", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert found is not None
    return found[1].split()
