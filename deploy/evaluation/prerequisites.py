"""`python -m deploy.evaluation.prerequisites`: what the ASSISTments log says about the edges of the Common Core map.

The skills of the log have names and no codes. `assistments2009_ccss.csv` says which standards each is about, in the
judgement of this project; nine skills are about none. A standard is judged by the skills that are about it: of an edge,
by the two that most learners met in its order.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from scipy import stats
from threadpoolctl import threadpool_limits

from services.catalog.formats.frameworks.files import read_frameworks
from services.recommender.domain.training.prerequisites import (
    LEARNERS_MIN,
    RATE,
    SLOPE_WORTHWHILE,
    Evidence,
    Findings,
    SkillPairs,
    Verdict,
    judge,
)
from services.recommender.evaluation.checkout import commit_of_checkout
from services.recommender.evaluation.data import read_responses
from services.recommender.evaluation.instructions import instructions
from services.recommender.evaluation.intervals import Estimate, estimate
from services.recommender.evaluation.results import Evaluation, as_json
from services.recommender.evaluation.twins import find_twins
from services.recommender.models.tracing.skill_pairs import fit_skill_pairs

TITLE = "prerequisites/assistments2009-ccss"
CROSSWALK = Path(__file__).with_name("assistments2009_ccss.csv")

_EDGES, _OTHERS = "edges of the map", "other pairs"
_DRAWS = 1_000
_SEED = 1

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def prerequisites(
    *,
    data: Annotated[Path, typer.Option(help="The folder of the log.")] = Path("../shared/data/assistments2009"),
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file, as JSON.")] = None,
) -> None:
    """Say how many edges of the Common Core map the ASSISTments log supports, contradicts, or cannot tell."""
    table = read_responses(data)
    kept, twins = find_twins(table, graded=True, keep=False)
    table = table.as_if_only(kept)
    with threadpool_limits(1):
        pairs = fit_skill_pairs(table, seed=_SEED)
    skills = read_frameworks([Path("ccss-math")]).skills
    requires = {skill.id: skill.prerequisites for skill in skills}
    names = names_by_code(CROSSWALK, {name.strip(): name for name in table.skills})
    findings = judge(pairs, requires, {code: names.get(code, ()) for code in requires})
    described = f"{data.name}{twins.described}: {len(table):,} responses of {len(table.learners):,} learners"
    evaluation = replace(_evaluation(pairs, findings, described), twins=twins._asdict())
    if json_file is not None:
        json_file.write_bytes(as_json(evaluation))
    typer.echo(f"{evaluation.protocol}: {evaluation.data}")
    for model, measures in evaluation.models.items():
        figures = ", ".join(
            f"{name} {each.mean:.3f} [{each.low:.3f}, {each.high:.3f}]" for name, each in measures.items()
        )
        typer.echo(f"{model}: {figures}")
    for note in evaluation.notes:
        typer.echo(f"- {note}")


def names_by_code(crosswalk: Path, in_log: Mapping[str, str]) -> dict[str, list[str]]:
    """The skills of the log that are about each standard.

    Args:
        crosswalk: a table of skills and codes.
        in_log: names of skills as the log has them, by the crosswalk's.
    """
    found: dict[str, list[str]] = {}
    with crosswalk.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["skill"] in in_log:
                found.setdefault(row["code"], []).append(in_log[row["skill"]])
    return found


def _evaluation(pairs: SkillPairs, findings: Findings, data: str) -> Evaluation:
    counts = {verdict: findings.count(verdict) for verdict in Verdict}
    row_of = {
        (pairs.skills[first], pairs.skills[second]): row
        for row, (first, second) in enumerate(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    }
    measured = [edge for edge in findings.edges if edge.slope is not None]
    of_edges = np.unique(np.array([row_of[edge.in_log] for edge in measured], np.int64))
    others = np.setdiff1d(np.flatnonzero((pairs.learners >= LEARNERS_MIN) & np.isfinite(pairs.slope)), of_edges)
    judged = [edge for edge in findings.edges if edge.verdict is not Verdict.CANNOT_TELL]
    above = [edge for edge in measured if edge.low is not None and edge.low > 0.0 and edge not in judged]
    return Evaluation(
        protocol=TITLE,
        data=(
            f"{data}; of {len(findings.edges)} edges, {findings.in_log} have both ends in the log: "
            f"{counts[Verdict.SUPPORTED]} supported, {counts[Verdict.CONTRADICTED]} contradicted, "
            f"{counts[Verdict.CANNOT_TELL]} it cannot tell ({len(measured)} could be measured)"
        ),
        commit=commit_of_checkout(),
        models={
            _EDGES: _shares(counts) | _mean_slope(pairs, of_edges),
            _OTHERS: _shares(findings.others) | _mean_slope(pairs, others),
        },
        differences={},
        notes=(
            "Shares are of the edges with both ends in the log. Intervals of shares are Wilson's.",
            f"Other pairs are in one order, no edges connect them, and {LEARNERS_MIN} learners or more met them so.",
            f"At a false-discovery rate of {RATE:g} in each row. A slope below {SLOPE_WORTHWHILE:g} contradicts.",
            "Mean slopes weigh pairs by their information; their intervals are over resampled pairs.",
            f"{len(above)} edges have an interval above 0 on their own; by chance one in 40 has.",
            *(_described(edge) for edge in (*above, *judged)),
        ),
        seeds={"bootstrap": _SEED, "held-out learners": _SEED},
        arithmetic=instructions(),
    )


def _shares(counts: Mapping[Verdict, int]) -> dict[str, Estimate]:
    total = sum(counts.values())
    shares = {}
    for verdict in Verdict:
        if total:
            interval = stats.binomtest(counts.get(verdict, 0), total).proportion_ci(method="wilson")
            share = counts.get(verdict, 0) / total
            shares[str(verdict)] = Estimate(share, float(interval.low), float(interval.high))
    return shares


def _mean_slope(pairs: SkillPairs, rows: NDArray[np.int64]) -> dict[str, Estimate]:
    if not len(rows):
        return {}
    weights = pairs.error[rows] ** -2.0
    drawn = np.random.default_rng(_SEED).integers(len(rows), size=(_DRAWS, len(rows)))
    chosen = np.vstack([np.arange(len(rows)), drawn])
    return {"mean slope": estimate((weights * pairs.slope[rows])[chosen].sum(axis=1) / weights[chosen].sum(axis=1))}


def _described(edge: Evidence) -> str:
    slope = "" if edge.slope is None else f"slope {edge.slope:.2f} [{edge.low:.2f}, {edge.high:.2f}], "
    return (
        f"{edge.prerequisite} -> {edge.skill} ({' -> '.join(edge.in_log)}): {edge.verdict}, {edge.reason} "
        f"({slope}{edge.learners} learners, {edge.prerequisite_only} know the first only, {edge.skill_only} the second)"
    )


if __name__ == "__main__":
    app()
