"""Reading and extending a list of learners to leave out."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from services.common.learners.ids import comparable_id
from services.common.learners.suppression import Suppression, learner_hash
from services.common.learners.tables import LEARNER_COLUMNS, LearnerTable, open_learner_table
from services.common.tables import FileUnusableError

_COLUMNS = ("suppression_key", "learner_hash")
_HEX = re.compile(r"[0-9a-f]{32}")
_KEY_BYTES = 16


def read_suppression(path: Path) -> Suppression:
    """The learners whom a list says to leave out.

    Args:
        path: a table with the columns `suppression_key` and `learner_hash`, as `add_to_suppression` writes it; or one
            of the learners' ids, in a column as of a roster or one on each line.

    Raises:
        FileUnusableError: when it cannot be used; the message names the line and the remedy.
    """
    table = open_learner_table(path)
    if table.columns == _COLUMNS:
        return Suppression(hashes=_hashes(table))
    place = table.place_of(LEARNER_COLUMNS)
    if place is None and len(table.columns) > 1:
        raise FileUnusableError(
            f"{path} has the columns {', '.join(table.columns)}, and none of {', '.join(LEARNER_COLUMNS)}: "
            "name the column of the learners' ids so, or give a list that `cairn learner erase --suppress` wrote"
        )
    listed = table.listed(place or 0, header=place is not None)
    return Suppression(ids=frozenset(comparable_id(learner_id) for _, learner_id in listed))


def add_to_suppression(path: Path, learner_id: str) -> bool:
    """Add the hash of a learner to a list, which only its owner can read if it is new.

    Args:
        path: the list; it is created when there is none.
        learner_id: the learner as the platform knows them.

    Returns:
        Whether the learner was not in it.

    Raises:
        FileUnusableError: when the file is a list of another kind, or cannot be written.
    """
    try:
        content = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = [",".join(_COLUMNS)]
        key = secrets.token_hex(_KEY_BYTES)
        if content:
            table = open_learner_table(path)
            if table.columns != _COLUMNS:
                raise FileUnusableError(
                    f"{path} is not a list that this command writes, its first line is not {','.join(_COLUMNS)}: "
                    "name another file, or a new one"
                )
            lines = [] if content.endswith("\n") else [""]
            hashes = _hashes(table)
            if learner_id in Suppression(hashes=hashes):
                return False
            key = next(iter(hashes), key)
        lines.append(f"{key},{learner_hash(key, learner_id)}")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise FileUnusableError(f"{path} cannot be used as a list of learners to leave out: {error}") from error
    return True


def _hashes(table: LearnerTable) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for line, (key, learner) in table.rows([0, 1]):
        if not (_HEX.fullmatch(key) and _HEX.fullmatch(learner)):
            raise FileUnusableError(
                f"line {line} of {table.path} is not a key and a hash of 32 hexadecimal digits each: it was changed by "
                "hand; erase the learner again, which adds a new line, and remove this one"
            )
        found.setdefault(key, set()).add(learner)
    return {key: frozenset(hashes) for key, hashes in found.items()}
