"""A table of the ids of learners who have several."""

from __future__ import annotations

from pathlib import Path

from services.common.learners.ids import comparable_id
from services.common.learners.tables import open_learner_table
from services.common.tables import FileUnusableError
from services.ingest.application.people import Aliases

_ID = "id"


def read_aliases(path: Path) -> Aliases:
    """The aliases in a table.

    Args:
        path: a table in which the column `id` has the id to use, and every other column another id of the same learner.
            A learner may have several rows.

    Raises:
        FileUnusableError: when it cannot be used; the message names the line and the remedy.
    """
    table = open_learner_table(path)
    place = table.place_of([_ID])
    if place is None or len(table.columns) < 2:
        raise FileUnusableError(
            f"{path} has the columns {', '.join(table.columns)}: it needs a column {_ID}, which has the id to use, and "
            "a column for each other kind of id"
        )
    learners: dict[str, str] = {}
    lines: dict[str, int] = {}
    for line, ids in table.rows(range(len(table.columns))):
        learner = ids[place]
        if not learner and any(ids):
            raise FileUnusableError(f"line {line} of {path} has no {_ID}: fill it in, or remove the line")
        for column, alias in zip(table.columns, ids, strict=True):
            key = comparable_id(alias)
            if not alias or learners.setdefault(key, learner) == learner:
                lines.setdefault(key, line)
                continue
            raise FileUnusableError(
                f"{alias!r} in column {column!r} in line {line} of {path} is an id of the learner {learner!r}, and in "
                f"line {lines[key]} of {learners[key]!r}: an id belongs to one learner; leave the cell empty, or "
                "remove the column if it holds something else than ids"
            )
    return Aliases(learners)
