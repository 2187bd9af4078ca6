"""`cairn catalog prerequisites`: which prerequisites learners' responses support, contradict or propose."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.common.command_line import BAD_INPUT, FAILED, fail
from services.common.tables import Cell
from services.recommender.application.ports.state_store import StateUrlInvalidError
from services.recommender.application.state.epochs import EpochUnusableError
from services.recommender.application.training.train import TenantWithoutEventsError
from services.recommender.bootstrap.environment import SettingsError
from services.recommender.bootstrap.prerequisites import judged, responses_of
from services.recommender.cli.log_reading import EnvironmentFile, check_tenant, shown_progress
from services.recommender.domain.ranking.catalog import CatalogSkill
from services.recommender.domain.training.prerequisites import RATE, Edge, Evidence, Findings, Verdict
from services.recommender.domain.training.responses import ResponseTable
from services.recommender.evaluation.data import read_any_responses, read_prerequisites
from services.recommender.evaluation.tables import DataUnusableError, id_of, rows_of, text_of

PROPOSED = "proposed"
COLUMNS = (
    "prerequisite", "skill", "verdict", "decision", "reason", "learners", "slope", "slope_low", "slope_high",
    "know_both", "know_prerequisite_only", "know_skill_only", "know_neither",
)  # fmt: skip
_COUNTED = {
    Verdict.SUPPORTED: "supported",
    Verdict.CONTRADICTED: "contradicted",
    Verdict.CANNOT_TELL: "it cannot tell",
}
_DECISIONS = ("yes", "no", "")
_APPLY = "cairn catalog apply-prerequisites"

_Tenant = Annotated[
    str, typer.Option(envvar="CAIRN_TENANT", help="The district or platform whose log is read.", show_default=False)
]
_Data = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        file_okay=False,
        show_default=False,
        help="Read a folder, not the log: responses.csv (learner, item, skills, correct, time) or another form that "
        "`cairn evaluate` reads, and prerequisites.csv (skill, prerequisite) if there are any.",
    ),
]
_Out = Annotated[
    Path | None,
    typer.Option(help=f"Write a table to decide on, as CSV; `{_APPLY}` reads it.", show_default=False),
]
_Reviewed = Annotated[
    list[Path] | None,
    typer.Option(
        help="A table with decisions; what it says no to is not proposed again. May be given several times.",
        show_default=False,
    ),
]

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command("prerequisites", epilog="Example: cairn catalog prerequisites --tenant riverbend --out prerequisites.csv")
def prerequisites(
    *,
    tenant: _Tenant = "",
    data: _Data = None,
    out: _Out = None,
    reviewed: _Reviewed = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many of each kind.")] = 20,
    rate: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="Share of findings that may be there by chance.")
    ] = RATE,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write all of them to this file.")] = None,
    environment_file: EnvironmentFile = Path(".local/env"),
) -> None:
    """Show which of the catalog's prerequisites learners' responses support and contradict, and propose others.

    An edge is supported when learners who know the prerequisite better than their overall ability predicts do better on
    the skill than it predicts. It is contradicted when that is sure to be small, or when more than twice as many
    learners know the skill alone as the prerequisite alone. With fewer than hundreds of learners who met both, the
    responses cannot tell. Proposals are pairs that no edges connect, with enough evidence of an effect and of a
    direction. Changes nothing: decide in the table of `--out`, which `cairn catalog apply-prerequisites` then applies.

    Exit codes: 0, also when there are none. 1, Kafka or Redis cannot be reached, or keys are missing. 2, the settings,
    the options or the data are invalid.
    """
    if data is None:
        check_tenant(tenant)
    try:
        rejected = {edge for file in reviewed or () for edge in _rejected(file)}
        table, skills = _of_folder(data) if data is not None else _of_log(environment_file, tenant)
    except (DataUnusableError, SettingsError, StateUrlInvalidError, EpochUnusableError) as error:
        fail(f"error: {error}", BAD_INPUT)
    except TenantWithoutEventsError as error:
        fail(f"error: {error}", BAD_INPUT)
    except (ConnectionError, LookupError) as error:
        fail(f"error: {error}", FAILED)
    with shown_progress("steps of the fit") as report:
        findings = judged(table, skills, rejected=rejected, rate=rate, advance=report)
    if json_file is not None:
        _write(json_file, "--json", prerequisites_as_json(data.name if data is not None else tenant, table, findings))
    if out is not None:
        _write(out, "--out", prerequisites_as_csv(findings))
    print_prerequisites(Console(highlight=False), findings, limit, out)


def _of_log(environment_file: Path, tenant: str) -> tuple[ResponseTable, Sequence[CatalogSkill]]:
    with shown_progress("records") as report:
        return asyncio.run(responses_of(environment_file, tenant, report))


def _of_folder(folder: Path) -> tuple[ResponseTable, Sequence[CatalogSkill]]:
    table = read_any_responses(folder)
    requires: dict[str, list[str]] = {skill: [] for skill in table.skills}
    for skill, prerequisite in read_prerequisites(folder):
        requires.setdefault(prerequisite, [])
        requires.setdefault(skill, []).append(prerequisite)
    return table, [CatalogSkill(skill, prerequisites=tuple(needs)) for skill, needs in sorted(requires.items())]


def _rejected(file: Path) -> list[Edge]:
    """The edges that a table says no to. Raises DataUnusableError."""

    def decision_of(needed: Cell, skill: Cell, decision: Cell) -> tuple[Edge, str]:
        said = text_of(decision).strip().casefold()
        if said not in _DECISIONS:
            raise ValueError(f"{said!r} is no decision: write yes or no, or nothing to leave it open")
        return (id_of(needed, "prerequisite"), id_of(skill, "skill")), said

    decisions = rows_of(file, decision_of, ("prerequisite", "skill", "decision"))
    return [edge for edge, said in decisions if said == "no"]


def _write(file: Path, option: str, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        fail(f"error: {option} {file} cannot be written: {error.strerror or error}", BAD_INPUT)


def prerequisites_as_csv(findings: Findings) -> bytes:
    """A table to decide on: proposals, then contradicted edges, then the others. The column `decision` is empty."""
    order = [Verdict.CONTRADICTED, Verdict.SUPPORTED, Verdict.CANNOT_TELL]
    edges = sorted(findings.edges, key=lambda edge: order.index(edge.verdict))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for verdict, edge in [(PROPOSED, edge) for edge in findings.proposals] + [(edge.verdict, edge) for edge in edges]:
        measured = ["" if each is None else f"{each:.3f}" for each in (edge.slope, edge.low, edge.high)]
        counts = (edge.both, edge.prerequisite_only, edge.skill_only, edge.neither)
        writer.writerow(
            (edge.prerequisite, edge.skill, verdict, "", _reason(verdict, edge), edge.learners, *measured, *counts)
        )
    return text.getvalue().encode()


def prerequisites_as_json(name: str, table: ResponseTable, findings: Findings) -> bytes:
    """All of them as JSON."""
    document = {
        "of": name,
        "responses": len(table),
        "learners": len(table.learners),
        "edges_in_log": findings.in_log,
        "edges": [asdict(edge) for edge in findings.edges],
        "proposals": [asdict(edge) | {"verdict": PROPOSED} for edge in findings.proposals],
        "rejected": findings.rejected,
        "other_pairs": {str(verdict): findings.others.get(verdict, 0) for verdict in Verdict},
        "not_in_catalog": findings.not_in_catalog,
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def print_prerequisites(console: Console, findings: Findings, limit: int, out: Path | None = None) -> None:
    """Print the most important of them for people, and what to do next."""
    kinds = [
        (str(verdict), [edge for edge in findings.edges if edge.verdict is verdict])
        for verdict in (Verdict.CONTRADICTED, Verdict.SUPPORTED)
    ]
    for verdict, edges in [(PROPOSED, list(findings.proposals)), *kinds]:
        if edges:
            console.print(_table(verdict, edges[:limit]))
        if len(edges) > limit:
            console.print(f"... and {len(edges) - limit:,} more: raise --limit, or write them to --out or --json")
    counts = ", ".join(f"{findings.count(verdict):,} {_COUNTED[verdict]}" for verdict in Verdict)
    console.print(
        f"of {len(findings.edges):,} prerequisites, {findings.in_log:,} have both ends in the log: {counts}; "
        f"{len(findings.proposals):,} proposed",
        soft_wrap=True,
    )
    if findings.rejected:
        console.print(f"{findings.rejected:,} more are not proposed, because a reviewed table says no to them")
    if findings.not_in_catalog:
        shown = ", ".join(escape(skill) for skill in findings.not_in_catalog[:5])
        console.print(
            f"skills of the responses that the catalog lacks, and that get no proposals: "
            f"{len(findings.not_in_catalog):,} ({shown}{', ...' if len(findings.not_in_catalog) > 5 else ''})",
            soft_wrap=True,
        )
    if findings.proposals or findings.count(Verdict.CONTRADICTED):
        file = "--out FILE" if out is None else out
        console.print(
            f"Next: write yes or no in the column decision of {file}, then run: {_APPLY} FILE", soft_wrap=True
        )


def _table(verdict: str, edges: Sequence[Evidence]) -> Table:
    table = Table(box=None, pad_edge=False, title=verdict, title_justify="left")
    for heading in ("prerequisite", "skill"):
        table.add_column(heading, overflow="fold")
    for heading in ("learners", "effect", "95 %", "only first", "only second"):
        table.add_column(heading, justify="right", no_wrap=True)
    for edge in edges:
        measured = edge.slope is not None
        table.add_row(
            escape(edge.prerequisite),
            escape(edge.skill),
            f"{edge.learners:,}",
            f"{edge.slope:.2f}" if measured else "",
            f"{edge.low:.2f} to {edge.high:.2f}" if measured else "",
            f"{edge.prerequisite_only:,}",
            f"{edge.skill_only:,}",
        )
    return table


def _reason(verdict: str, edge: Evidence) -> str:
    direction = ", and more than twice as many know it alone as know the skill alone"
    return f"{edge.reason}{direction if verdict == PROPOSED else ''}"
