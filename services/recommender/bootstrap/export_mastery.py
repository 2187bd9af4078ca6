"""Wires the export of mastery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.common.auth.tenants_file import TenantMissingError, load_tenants
from services.recommender.adapters.files.exported_tables import ExportedTable
from services.recommender.adapters.files.parquet_tables import PARQUET
from services.recommender.adapters.files.text_tables import CSV, JSON_LINES
from services.recommender.adapters.files.workbooks import WORKBOOK
from services.recommender.application.operations.export import Row
from services.recommender.application.operations.mastery import (
    MASTERY_COLUMNS,
    ListedLearners,
    MasteryFormat,
    export_mastery,
)
from services.recommender.bootstrap.environment import server_settings
from services.recommender.bootstrap.export import Progress, current_states, served_catalog
from services.recommender.wire.student_assessments import SKILL_CHARACTERS_MAX, StudentAssessments

_KINDS = {
    MasteryFormat.CSV: CSV,
    MasteryFormat.XLSX: WORKBOOK,
    MasteryFormat.PARQUET: PARQUET,
    MasteryFormat.EDFI: JSON_LINES,
}


@dataclass(frozen=True, slots=True)
class MasteryExport:
    """What to export.

    Attributes:
        file_format: in which files.
        learner_ids: the platform's ids of learners; the others appear under their pseudonyms.
        assessments: how Ed-Fi names them; None: rows of a table are written.
    """

    file_format: MasteryFormat
    learner_ids: Sequence[str] = ()
    assessments: StudentAssessments | None = None


@dataclass(frozen=True, slots=True)
class MasteryResult:
    """The result of an export of mastery.

    Attributes:
        rows: rows, or learners, written.
        files: their paths.
        without_state: listed learners of whom nothing is known.
        pseudonyms: learners who appear under their pseudonyms.
        damaged: pseudonyms of learners left out because what is stored about them is damaged.
        skills_left_out: skills whose ids are too long for Ed-Fi.
    """

    rows: int
    files: tuple[Path, ...]
    without_state: int
    pseudonyms: int
    damaged: tuple[str, ...]
    skills_left_out: tuple[str, ...]


async def mastery_to_files(
    environment_file: Path, tenant: str, directory: Path, progress: Progress, wanted: MasteryExport
) -> MasteryResult:
    """Runs `cairn export mastery`.

    Raises:
        SettingsError: when a setting is invalid.
        NoCurrentEpochError: when there is no current epoch.
        StateUnavailableError: when Redis cannot be read.
        ExportExistsError: when the export already exists.
        TenantsFileError: when there are ids, and the tenants file cannot be used or lacks the tenant.
        BrokerUnavailableError: when the catalog cannot be read.
    """
    settings = server_settings(environment_file)
    learners = ListedLearners(_pseudonyms(settings.tenants, tenant, wanted.learner_ids))
    name = "mastery" if wanted.assessments is None else "studentAssessments"
    kind = _KINDS[wanted.file_format]
    damaged: list[str] = []
    too_long: set[str] = set()
    with ExportedTable(directory, name, tenant, MASTERY_COLUMNS, kind, private=True) as table:
        async with served_catalog(settings) as catalog, current_states(settings, tenant) as states:
            columns = catalog.columns(tenant)
            skill_names = dict(zip(columns.skill_ids, columns.skill_labels, strict=True))
            async for batch in export_mastery(states, learners, skill_names):
                rows: Sequence[Row] = batch.rows
                if wanted.assessments is not None:
                    too_long |= {row["skill"] for row in rows if len(row["skill"]) > SKILL_CHARACTERS_MAX}
                    rows = wanted.assessments.of([row for row in rows if row["skill"] not in too_long])
                table.add(rows)
                damaged += batch.damaged
                progress(batch.done, None)
    without_state = len(learners.ids) - len(learners.found)
    return MasteryResult(
        table.rows, tuple(table.files), without_state, learners.others, tuple(damaged), tuple(sorted(too_long))
    )


def _pseudonyms(file: Path, tenant: str, learner_ids: Sequence[str]) -> dict[str, str]:
    """The platform's ids by pseudonym."""
    if not learner_ids:
        return {}
    tenants = load_tenants(file)
    found = tenants.get(tenant)
    if found is None:
        known = ", ".join(tenants.names) or "none"
        raise TenantMissingError(f"the tenants file {file} has no tenant {tenant!r}; it has {known}")
    return {found.pseudonym(learner_id): learner_id for learner_id in learner_ids}
