"""docs/evaluation.md: the results of every protocol, with commit and date."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from services.recommender.evaluation.intervals import Estimate
from services.recommender.evaluation.report import measures_of
from services.recommender.evaluation.results import SERVED, Evaluation

_HEADING = """# Evaluation

Written by `make evaluate`; do not edit. Each row is a model. Each figure is a measure with its central 95 % interval
over resampled learners (for tagging, groups of near-duplicates). `cairn` is what is served by default.
[science.md](science.md) and [tagging.md](tagging.md) explain what the figures mean and what they do not show. Plots and
slices are in [evaluation.html](evaluation.html). In `closed-loop`, learners are simulated, each row is a policy, and
intervals are over resampled classrooms of simulated learners. In `few-learners`, a figure is the mean over ten draws of
learners to fit on, with the lowest and the highest. In `mastery`, each row is a way in which simulated learners answer.
"""


@dataclass(frozen=True)
class Measured:
    """One protocol's results.

    Attributes:
        evaluation: the results.
        on: the day they were measured.
        elapsed_s: duration of the run.
    """

    evaluation: Evaluation
    on: date
    elapsed_s: float


def document(sections: Iterable[str]) -> str:
    """Return the document with these sections; see `section`."""
    return "\n".join([_HEADING, *sections])


def sections_of(text: str) -> dict[str, str]:
    """Return the sections of a document by the name of their protocol."""
    starts = [found.start() for found in re.finditer("^## ", text, flags=re.MULTILINE)]
    sections = [text[start:end].rstrip("\n") + "\n" for start, end in itertools.pairwise([*starts, len(text)])]
    return {each.partition("\n")[0].removeprefix("## "): each for each in sections}


def section(measured: Measured) -> str:
    """Return the part of the document about one protocol."""
    found = measured.evaluation
    commit = found.commit[:12] or "not known"
    parts = [
        f"## {found.protocol}\n",
        f"{found.data}. Measured on {measured.on.isoformat()} at commit {commit}, in {measured.elapsed_s:,.0f} s.\n",
    ]
    if found.models:
        parts.append(_table("model", found.models))
    if found.differences:
        parts += [f"`{SERVED}` minus the other, on the same resamples:\n", _table(f"{SERVED} minus", found.differences)]
    if found.checks:
        parts += ["Checks:\n", "".join(f"- {check.described}\n" for check in found.checks)]
    return "\n".join(parts)


def _table(corner: str, models: Mapping[str, Mapping[str, Estimate]]) -> str:
    measures = measures_of(models)
    lines = [_row([corner, *measures]), "|---|" + "---:|" * len(measures)]
    lines += [_row([name, *(_cell(values.get(measure)) for measure in measures)]) for name, values in models.items()]
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Estimate | None) -> str:
    return "" if value is None else f"{value.mean:.4f} [{value.low:.4f}, {value.high:.4f}]"
