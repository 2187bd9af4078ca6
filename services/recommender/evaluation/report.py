"""The evaluation as one self-contained HTML page: tables, and plots as inline SVG."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from html import escape, unescape

from services.recommender.evaluation.intervals import Estimate
from services.recommender.evaluation.results import SERVED, Evaluation, Reliability

# Measures with a plot each.
_PLOTTED = ("auc", "ndcg_at_10", "ndcg_at_5", "micro_f1", "share_of_oracle")
_LINE = 18
_LABELS = 190
_SIDE = 220
_MARGIN = 30
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430; }
table { border-collapse: collapse; margin: 1rem 0 2rem; } caption { text-align: left; font-weight: 600; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #d8dee6; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } tr.served { background: #eef6ee; font-weight: 600; }
small { color: #5b6675; font-weight: 400; } figure { display: inline-block; margin: 0 1rem 1rem 0; }
figcaption { text-align: center; } svg { background: #fbfcfd; } li { margin: .3rem 0; }
"""


def as_html(evaluation: Evaluation) -> str:
    """Return the page of one evaluation."""
    return page(evaluation.protocol, [section(evaluation)])


def page(title: str, sections: Iterable[str]) -> str:
    """Return one page for several evaluations.

    Args:
        title: of the page.
        sections: of each evaluation; see `section`.
    """
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    )


def sections_of(text: str) -> dict[str, str]:
    """Return the sections of a page by the name of their protocol."""
    body = text.partition("<body>")[2].rpartition("</body>")[0]
    starts = [found.start() for found in re.finditer("<h1>", body)]
    sections = [body[start:end] for start, end in itertools.pairwise([*starts, len(body)])]
    return {unescape(each.removeprefix("<h1>").partition("</h1>")[0]): each for each in sections}


def section(evaluation: Evaluation) -> str:
    """Return the part of a page about one evaluation."""
    parts = [
        f"<h1>{escape(evaluation.protocol)}</h1><p>{escape(evaluation.data)}.</p>",
        _table("Overall", evaluation.models),
        *(
            _interval_plot(measure, evaluation.models)
            for measure in _PLOTTED
            if measure in measures_of(evaluation.models)
        ),
        _table(f"{SERVED} minus the other, on the same resamples of learners", evaluation.differences),
        *(_table(name, models) for name, models in evaluation.slices.items()),
        *(_reliability_plot(name, reliability) for name, reliability in evaluation.reliability.items()),
        *(["<h2>Checks</h2>", _list(check.described for check in evaluation.checks)] if evaluation.checks else []),
        "<h2>Notes</h2>",
        _list([*evaluation.notes, _facts("Seeds", evaluation.seeds), _facts("Seconds", evaluation.elapsed_s)]),
        f"<p><small>Commit {escape(evaluation.commit or 'unknown')}</small></p>",
    ]
    return "".join(parts)


def measures_of(models: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    """Return every measure of any model, in the order of first occurrence."""
    return list(dict.fromkeys(measure for measures in models.values() for measure in measures))


def _table(caption: str, models: Mapping[str, Mapping[str, Estimate]]) -> str:
    if not models:
        return ""
    measures = measures_of(models)
    heading = "".join(f"<th>{escape(measure)}</th>" for measure in measures)
    rows = "".join(
        f"<tr{' class=served' if name == SERVED else ''}><td>{escape(name)}</td>"
        + "".join(f"<td>{_cell(values.get(measure))}</td>" for measure in measures)
        + "</tr>"
        for name, values in models.items()
    )
    return f"<table><caption>{escape(caption)}</caption><tr><th>model</th>{heading}</tr>{rows}</table>"


def _cell(value: Estimate | None) -> str:
    if value is None:
        return ""
    return f"{value.mean:.4f} <small>[{value.low:.4f}, {value.high:.4f}]</small>"


def _interval_plot(measure: str, models: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Each model's measure as a dot on its interval."""
    found = {name: measures[measure] for name, measures in models.items() if measure in measures}
    low, high = min(value.low for value in found.values()), max(value.high for value in found.values())
    scale = 2 * _SIDE / ((high - low) or 1.0)

    def across(value: float) -> float:
        return _LABELS + (value - low) * scale

    rows = "".join(
        f'<text x="{_LABELS - 10}" y="{_LINE * (row + 1) + 4}" text-anchor="end" font-size="12">{escape(name)}</text>'
        f'<line x1="{across(value.low):.1f}" x2="{across(value.high):.1f}" y1="{_LINE * (row + 1)}" '
        f'y2="{_LINE * (row + 1)}" stroke="{_colour(name)}" stroke-width="2"/>'
        f'<circle cx="{across(value.mean):.1f}" cy="{_LINE * (row + 1)}" r="4" fill="{_colour(name)}">'
        f"<title>{value.mean:.4f} [{value.low:.4f}, {value.high:.4f}]</title></circle>"
        for row, (name, value) in enumerate(found.items())
    )
    height = _LINE * (len(found) + 2)
    ends = "".join(
        f'<text x="{across(end):.1f}" y="{height - 4}" text-anchor="middle" font-size="11">{end:.3f}</text>'
        for end in (low, high)
    )
    return (
        f'<figure><svg width="{_LABELS + 2 * _SIDE + 40}" height="{height}" role="img" '
        f'aria-label="{escape(measure)} by model">{rows}{ends}</svg>'
        f"<figcaption>{escape(measure)}, with 95 % intervals</figcaption></figure><br>"
    )


def _colour(name: str) -> str:
    return "#2f7d4f" if name == SERVED else "#7a8797"


def _reliability_plot(name: str, reliability: Reliability) -> str:
    most = max(reliability.responses)
    points = "".join(
        f'<circle cx="{_x(predicted):.1f}" cy="{_y(observed):.1f}" r="{2 + 5 * (responses / most) ** 0.5:.1f}" '
        f'fill="#2f7d4f"><title>{predicted:.2f} predicted, {observed:.2f} observed, {responses:,} responses</title>'
        "</circle>"
        for predicted, observed, responses in zip(
            reliability.predicted, reliability.observed, reliability.responses, strict=True
        )
    )
    side = _SIDE + 2 * _MARGIN
    return (
        f'<figure><svg width="{side}" height="{side}" role="img" aria-label="reliability of {escape(name)}">'
        f'<rect x="{_MARGIN}" y="{_MARGIN}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#b8c2cc"/>'
        f'<line x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}" stroke="#b8c2cc" stroke-dasharray="4"/>{points}'
        f'<text x="{_x(0.5)}" y="{side - 8}" text-anchor="middle" font-size="11">predicted</text>'
        f'<text x="12" y="{_y(0.5)}" text-anchor="middle" font-size="11" transform="rotate(-90 12 {_y(0.5)})">'
        f"observed</text></svg><figcaption>{escape(name)}</figcaption></figure>"
    )


def _x(share: float) -> float:
    return _MARGIN + _SIDE * share


def _y(share: float) -> float:
    return _MARGIN + _SIDE * (1 - share)


def _list(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items if item) + "</ul>"


def _facts(name: str, values: Mapping[str, float]) -> str:
    return f"{name}: " + ", ".join(f"{key} {value:g}" for key, value in values.items()) if values else ""
