"""What a district wants back: mastery by learner and standard, under the platform's own ids where they are known."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from services.recommender.application.operations.columns import TENANT, Column, ColumnType
from services.recommender.application.operations.export import STATE_COLUMNS, ExportBatch

_PLATFORM = "platform"
_PSEUDONYM = "pseudonym"

_OF_STATE = {column.name: column for column in STATE_COLUMNS}

MASTERY_COLUMNS = (
    TENANT,
    Column("learner", ColumnType.TEXT, "the platform's own id of the learner, or their pseudonym"),
    Column("learner_form", ColumnType.TEXT, f"{_PLATFORM} or {_PSEUDONYM}: which of the two `learner` is"),
    _OF_STATE["skill"],
    Column("skill_name", ColumnType.TEXT, "what the catalog calls the skill; empty: it is not in the catalog"),
    *STATE_COLUMNS[3:],
)


class MasteryFormat(StrEnum):
    """In which files mastery is exported."""

    CSV = "csv"
    XLSX = "xlsx"
    PARQUET = "parquet"
    EDFI = "edfi"


@dataclass(slots=True)
class ListedLearners:
    """The learners whose ids are known.

    Attributes:
        ids: the platform's ids by pseudonym.
        found: pseudonyms of those who have state.
        others: how many learners have state and no known id.
    """

    ids: Mapping[str, str] = field(default_factory=dict)
    found: set[str] = field(default_factory=set)
    others: int = 0


async def export_mastery(
    states: AsyncIterator[ExportBatch], learners: ListedLearners, skill_names: Mapping[str, str]
) -> AsyncIterator[ExportBatch]:
    """A row per learner and skill.

    Args:
        states: batches of `export_state`, in each of which a learner has all of their rows, one after the other.
        learners: whose ids are known; updated as the rows are read.
        skill_names: what the catalog calls each skill.

    Raises:
        StateUnavailableError: when states cannot be read.
    """
    async for batch in states:
        present = {row["learner"] for row in batch.rows}
        listed = present & learners.ids.keys()
        learners.found |= listed
        learners.others += len(present) - len(listed)
        rows = [
            row
            | {
                "learner": learners.ids.get(row["learner"], row["learner"]),
                "learner_form": _PLATFORM if row["learner"] in listed else _PSEUDONYM,
                "skill_name": skill_names.get(row["skill"]),
            }
            for row in map(dict, batch.rows)
        ]
        yield replace(batch, rows=rows)
