"""`cairn export`: learner state, current lists, the log and mastery as files."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from services.common.auth.tenants_file import TenantsFileError
from services.common.command_line import BAD_INPUT, FAILED, fail
from services.common.learners.tables import LEARNER_COLUMNS, open_learner_table
from services.common.tables import FileUnusableError
from services.recommender.adapters.files.bundle_store import BundlesUrlInvalidError
from services.recommender.adapters.files.exported_tables import ExportExistsError
from services.recommender.application.operations.mastery import MasteryFormat
from services.recommender.application.ports.models import BundleUnreadableError
from services.recommender.application.ports.quarantine import REMEDY
from services.recommender.application.ports.state_store import StateUrlInvalidError
from services.recommender.application.state.epochs import EpochUnusableError
from services.recommender.bootstrap.environment import SettingsError
from services.recommender.cli.log_reading import EnvironmentFile, Tenant, check_tenant, shown_progress
from services.recommender.wire.student_assessments import (
    NAMESPACE_CHARACTERS_MAX,
    SKILL_CHARACTERS_MAX,
    STUDENT_CHARACTERS_MAX,
    StudentAssessments,
)

_NAMED = 10
# It ends with a letter or a digit, since the names of descriptors follow it.
_NAMESPACE = re.compile(r"uri://[!-\"$-~]*[A-Za-z0-9]")

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Write learner state, current lists, the log or mastery to files, for a data team.",
)

To = Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder to write to.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write a summary to this file.")]


@app.callback()
def _export() -> None:
    """Write learner state, current lists, the log or mastery to files, for a data team.

    Files go to DIR/WHAT/tenant=TENANT/part-N.parquet, compressed with zstd; every column has a description. Learners
    are identified by the pseudonyms that PublishEvents returns; mastery may have the platform's own ids, and other
    kinds of files.
    """


@app.command("state", epilog="Example: cairn export state --tenant riverbend --to exports")
def state(
    *, tenant: Tenant, to: To, json_file: JsonFile = None, environment_file: EnvironmentFile = Path(".local/env")
) -> None:
    """Write a row per learner and skill: mastery with its interval, responses, time of the last one."""
    from services.recommender.bootstrap import export as bootstrap_export  # noqa: PLC0415 - pyarrow takes a while to load.

    check_tenant(tenant)
    with shown_progress("learners") as report:
        run = bootstrap_export.state_to_parquet(environment_file, tenant, to, report)
        _finish(_run(run), json_file)


@app.command("recommendations", epilog="Example: cairn export recommendations --tenant riverbend --to exports")
def recommendations(
    *,
    tenant: Tenant,
    to: To,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most this many resources for each learner.")] = 10,
    json_file: JsonFile = None,
    environment_file: EnvironmentFile = Path(".local/env"),
) -> None:
    """Write the current list of every learner, with reasons."""
    from services.recommender.bootstrap import export as bootstrap_export  # noqa: PLC0415 - as above.

    check_tenant(tenant)
    with shown_progress("learners") as report:
        run = bootstrap_export.recommendations_to_parquet(environment_file, tenant, to, report, limit=limit)
        _finish(_run(run), json_file)


@app.command("events", epilog="Example: cairn export events --tenant riverbend --to exports")
def events(
    *, tenant: Tenant, to: To, json_file: JsonFile = None, environment_file: EnvironmentFile = Path(".local/env")
) -> None:
    """Write the log up to its present end: a row per record, decrypted.

    Records of erased learners cannot be read; they are counted.
    """
    from services.recommender.bootstrap import export as bootstrap_export  # noqa: PLC0415 - as above.

    check_tenant(tenant)
    with shown_progress("records") as report:
        run = bootstrap_export.events_to_parquet(environment_file, tenant, to, report)
        _finish(_run(run), json_file)


@app.command("mastery", epilog="Example: cairn export mastery --tenant riverbend --to exports --as xlsx")
def mastery(
    *,
    tenant: Tenant,
    to: To,
    file_format: Annotated[
        MasteryFormat, typer.Option("--as", help="The kind of files; edfi: Ed-Fi's StudentAssessment, as JSON lines.")
    ] = MasteryFormat.CSV,
    learners: Annotated[
        Path | None,
        typer.Option(
            help="Your platform's ids, which appear instead of pseudonyms: a table with the column `id`, or a roster. "
            "It needs the tenants file.",
            show_default=False,
        ),
    ] = None,
    namespace: Annotated[
        str, typer.Option(help="With --as edfi: your namespace, such as uri://district.example.", show_default=False)
    ] = "",
    school_year: Annotated[
        int | None,
        typer.Option(min=1900, max=2200, help="With --as edfi: the year it ends in; required by version 6 of Ed-Fi."),
    ] = None,
    json_file: JsonFile = None,
    environment_file: EnvironmentFile = Path(".local/env"),
) -> None:
    """Write each learner's mastery of each skill for a district, with your platform's ids where you give them.

    The files can be read by their owner only. In CSV, a text that a spreadsheet would take for a formula gets an
    apostrophe in front; the other kinds of files hold every text as it is.
    """
    from services.recommender.bootstrap import export_mastery  # noqa: PLC0415 - as above.

    check_tenant(tenant)
    assessments = _assessments(file_format, namespace, school_year)
    learner_ids = [] if learners is None else _listed(learners, STUDENT_CHARACTERS_MAX if assessments else None)
    with shown_progress("learners") as report:
        wanted = export_mastery.MasteryExport(file_format, learner_ids, assessments)
        result = _run(export_mastery.mastery_to_files(environment_file, tenant, to, report, wanted))
    what = "rows" if assessments is None else "learners"
    typer.echo(f"{result.rows:,} {what} in {len(result.files)} file(s): {result.files[0].parent}")
    if learners is not None:
        said = f"{result.without_state:,} of the learners in {learners} have no state"
        typer.echo(f"{said}; {result.pseudonyms:,} who are not in it appear under their pseudonyms", err=True)
    if result.skills_left_out:
        said = (
            f"left out {len(result.skills_left_out):,} skill(s) whose ids have over {SKILL_CHARACTERS_MAX} characters"
        )
        typer.echo(f"{said}, which Ed-Fi does not take: {_some(result.skills_left_out)}", err=True)
    _report_damaged(result.damaged)
    if json_file is not None:
        content = asdict(result) | {"files": [str(file) for file in result.files]}
        json_file.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))


def _assessments(file_format: MasteryFormat, namespace: str, school_year: int | None) -> StudentAssessments | None:
    if file_format is not MasteryFormat.EDFI:
        if namespace or school_year is not None:
            fail("--namespace and --school-year are for --as edfi: add it, or leave them out", BAD_INPUT)
        return None
    if not _NAMESPACE.fullmatch(namespace) or len(namespace) > NAMESPACE_CHARACTERS_MAX:
        fail(
            f"--namespace {namespace!r} is none: --as edfi needs the one that you may write in your Ed-Fi system, such "
            f"as uri://district.example: at most {NAMESPACE_CHARACTERS_MAX} characters, without spaces, # and a / at "
            "its end",
            BAD_INPUT,
        )
    return StudentAssessments(namespace, school_year)


def _listed(file: Path, characters_max: int | None) -> list[str]:
    """The ids in a table of learners, each once. The command ends when it cannot be used."""
    try:
        table = open_learner_table(file)
        place = table.place_of(("id", *LEARNER_COLUMNS))
        if place is None and len(table.columns) > 1:
            columns = ", ".join(table.columns)
            fail(f"{file} has the columns {columns}: name the one with your platform's ids `id`", BAD_INPUT)
        listed: dict[str, None] = {}
        for line, learner_id in table.listed(place or 0, header=place is not None):
            if characters_max is not None and len(learner_id) > characters_max:
                fail(
                    f"line {line} of {file}: {learner_id!r} has {len(learner_id)} characters; Ed-Fi takes at most "
                    f"{characters_max}: remove the line, and the learner appears under their pseudonym",
                    BAD_INPUT,
                )
            listed[learner_id] = None
    except FileUnusableError as error:
        fail(str(error), BAD_INPUT)
    if not listed:
        fail(f"{file} names no learner: put an id on each line below the header", BAD_INPUT)
    return list(listed)


def _finish(result: Any, json_file: Path | None) -> None:
    lost = f", {result.erased:,} of erased learners left out" if result.erased else ""
    lost += f", {result.unreadable:,} that are not events left out" if result.unreadable else ""
    typer.echo(f"{result.rows:,} rows in {len(result.files)} file(s){lost}: {result.files[0].parent}")
    _report_damaged(result.damaged)
    if json_file is not None:
        content = {
            "rows": result.rows,
            "files": [str(file) for file in result.files],
            "erased": result.erased,
            "unreadable": result.unreadable,
            "damaged": result.damaged,
        }
        json_file.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))


def _report_damaged(damaged: Sequence[str]) -> None:
    if damaged:
        said = f"left out {len(damaged):,} learner(s) of whom what is stored is damaged: {_some(damaged)}; {REMEDY}"
        typer.echo(said, err=True)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def _run(job: Coroutine[Any, Any, Any]) -> Any:
    try:
        return asyncio.run(job)
    except (SettingsError, ExportExistsError, TenantsFileError, BundlesUrlInvalidError, StateUrlInvalidError) as error:
        fail(str(error), BAD_INPUT)
    except (ConnectionError, LookupError, EpochUnusableError, BundleUnreadableError) as error:
        fail(str(error), FAILED)
    except OSError as error:
        fail(f"{error.filename or 'the files'} cannot be written: {error.strerror or error}", BAD_INPUT)
