"""Draws a dashboard as SVG from what Prometheus answers to its queries. It knows only what our dashboards use."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_COLUMN, _ROW = 50, 26
_COLOURS = ("#3871dc", "#e0752d", "#56a64b", "#b877d9", "#e02f44", "#8f8f8f", "#00a3a3", "#c0a000")
_STAT_COLOURS = {"green": "#37872d", "orange": "#e0752d", "red": "#c4162a"}
_UNITS = {"s": (1.0, "s"), "bytes": (2.0**20, "MiB"), "reqps": (1.0, "/s"), "short": (1.0, "")}
_LETTER_WIDTH = 7.2


@dataclass(frozen=True)
class Series:
    """One line, or one figure.

    Attributes:
        name: for the legend; may be empty.
        points: (seconds since 1970, value).
    """

    name: str
    points: Sequence[tuple[float, float]]


def series_of(target: Mapping[str, Any], result: Sequence[Mapping[str, Any]]) -> list[Series]:
    """The lines of an answer of `query_range`, with the legend of the target."""
    found = []
    for one in result:
        name = target["legendFormat"]
        for label in re.findall(r"\{\{(\w+)\}\}", name):
            name = name.replace(f"{{{{{label}}}}}", one["metric"].get(label, ""))
        points = [(float(at_s), float(value)) for at_s, value in one["values"] if value != "NaN"]
        if points:
            found.append(Series(name.strip(), points))
    return sorted(found, key=lambda series: series.name)


def draw(panels: Sequence[Mapping[str, Any]], answers: Mapping[int, Sequence[Series]], caption: str) -> str:
    """The picture. Args: the `panels`, the lines of each by its id, and a `caption` below."""
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) * _ROW
    times_s = [at_s for lines in answers.values() for line in lines for at_s, _ in line.points]
    parts = [_panel(panel, answers.get(panel["id"], ()), (min(times_s), max(times_s))) for panel in panels]
    size = f'width="{24 * _COLUMN}" height="{height + 24}" viewBox="0 0 {24 * _COLUMN} {height + 24}"'
    style = 'font-family="Helvetica, Arial, sans-serif" font-size="11" fill="#333"'
    background = '<rect width="100%" height="100%" fill="#f4f5f5"/>'
    below = _text(6, height + 16, caption, 'fill="#666"')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{background}\n'
        + "\n".join(parts)
        + f"\n{below}\n</svg>\n"
    )


def _panel(panel: Mapping[str, Any], series: Sequence[Series], times_s: tuple[float, float]) -> str:
    at = panel["gridPos"]
    x, y, width, height = at["x"] * _COLUMN + 3, at["y"] * _ROW + 3, at["w"] * _COLUMN - 6, at["h"] * _ROW - 6
    if panel["type"] == "row":
        return _text(x + 3, y + 16, panel["title"], 'font-size="14" font-weight="bold"')
    frame = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="#fff" stroke="#d8d9da"/>'
    title = _text(x + 8, y + 16, panel["title"], 'font-weight="bold"')
    scale, unit = _UNITS[panel["fieldConfig"]["defaults"]["unit"]]
    scaled = [Series(one.name, [(at_s, value / scale) for at_s, value in one.points]) for one in series]
    inner = _figures(panel, scaled, unit, (x, y, width, height), scale)
    if panel["type"] != "stat":
        plot, legend = (x + 48, y + 26, width - 60, height - 62), (x + 8, y + height - 8, width - 16)
        inner = _lines(scaled, unit, times_s, plot) + _legend(scaled, legend)
    return f"{frame}{title}{inner}"


def _figures(
    panel: Mapping[str, Any], series: Sequence[Series], unit: str, box: tuple[float, ...], scale: float
) -> str:
    x, y, width, height = box
    steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", ())
    parts, each = [], width / max(1, len(series))
    for number, one in enumerate(series):
        value = one.points[-1][1]
        colour = next(
            (_STAT_COLOURS[step["color"]] for step in reversed(steps) if value * scale >= (step["value"] or 0)),
            _STAT_COLOURS["red"] if steps else "#333",
        )
        middle = x + each * (number + 0.5)
        style = f'text-anchor="middle" font-size="26" font-weight="bold" fill="{colour}"'
        parts.append(_text(middle, y + height / 2 + 16, _shown(value, unit), style))
        parts.append(_text(middle, y + height - 12, one.name, 'text-anchor="middle"'))
    return "".join(parts)


def _lines(series: Sequence[Series], unit: str, times_s: tuple[float, float], plot: tuple[float, ...]) -> str:
    if not series:
        return _text(plot[0], plot[1] + 20, "no data", 'fill="#999"')
    x, y, width, height = plot
    begin_s, span_s = times_s[0], times_s[1] - times_s[0]
    top = max(value for one in series for _, value in one.points) or 1.0
    parts = []
    for share in (0.0, 0.5, 1.0):
        at = y + height * (1 - share)
        parts.append(f'<path d="M{x} {at:.1f}h{width}" stroke="#e5e5e5"/>')
        parts.append(
            _text(
                x - 5, at + 4, _shown(float(f"{top * share:.2g}"), unit), 'text-anchor="end" fill="#777" font-size="9"'
            )
        )
    for share in (0.0, 0.5, 1.0):
        style = 'text-anchor="middle" fill="#777" font-size="9"'
        parts.append(_text(x + width * share, y + height + 11, f"{span_s * share:.0f} s", style))
    for number, one in enumerate(series):
        points = " ".join(
            f"{x + width * (at_s - begin_s) / span_s:.0f},{y + height * (1 - value / top):.1f}"
            for at_s, value in one.points
        )
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.4"/>')
    return "".join(parts)


def _legend(series: Sequence[Series], box: tuple[float, ...]) -> str:
    x, y, width = box
    parts, at = [], x
    for number, one in enumerate(series):
        needed = len(one.name) * _LETTER_WIDTH + 18
        if number and at + needed > x + width - 30:
            parts.append(_text(at, y, f"+{len(series) - number}", 'fill="#777"'))
            break
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(f'<rect x="{at:.0f}" y="{y - 5:.0f}" width="8" height="3" fill="{colour}"/>')
        parts.append(_text(at + 11, y, one.name, ""))
        at += needed
    return "".join(parts)


def _shown(value: float, unit: str) -> str:
    if unit == "s" and 0 < value < 1:
        return f"{value * 1_000:.3g} ms"
    return f"{value:.3g} {unit}".strip() if abs(value) < 1_000 else f"{value:,.0f} {unit}".strip()


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" {style}>{html.escape(text)}</text>'
