"""Which format dates and times are written in, and what cannot be known from them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

# Of two that read the same cells, which one is meant cannot be known from them.
_DATES = (
    "%Y-%m-%d", "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%Y", "%d.%m.%y", "%m-%d-%Y", "%d-%m-%Y",
    "%Y/%m/%d", "%Y.%m.%d", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y",
)  # fmt: skip
_PARTS = re.compile(
    r"(?P<date>\S.*?)"
    r"(?:(?P<between>,? +|T)\d{1,2}:\d\d(?P<seconds>:\d\d)?(?P<fraction>\.\d{1,6})?(?P<half>(?P<space> ?)[ap]m)?"
    r"(?P<zone> [A-Z]{3,4}| ?[+-]\d\d:?\d\d)?)?",
    re.IGNORECASE,
)
# The short form of American English (CLDR, en-US: M/d/yy h:mm a); elsewhere am and pm are small, or there are none.
_AMERICAN = re.compile(r"[1-9]\d?/[1-9]\d?/\d\d,? [1-9]\d?:\d\d(?::\d\d)? [AP]M")
_EXCEL_FROM, _EXCEL_TO = 20_000, 80_000


@dataclass(frozen=True, slots=True)
class TimeFormat:
    """How times are written.

    Attributes:
        formats: to be tried in this order.
        has_zone: whether every cell says when it was, without a zone from elsewhere.
        other: reads the cells as well as the last of `formats`, but differently: what is meant cannot be known from
            them. Empty where there is none.
        example: a cell that the two read differently.
        why: the evidence.
    """

    formats: tuple[str, ...]
    has_zone: bool
    other: str = ""
    example: str = ""
    why: str = "it reads every time of the sample"


def time_format_of(cells: Sequence[str]) -> TimeFormat | None:
    """The format that reads all cells, or None.

    Args:
        cells: not empty; only the different ones count.
    """
    different = list(dict.fromkeys(cells))
    if (numeric := _numeric(different)) is not None:
        return numeric
    days = [cell for cell in different if _is_excel_day(cell)]
    if days:
        # A spreadsheet shows some cells as dates and others as the numbers behind them.
        rest = time_format_of([cell for cell in different if cell not in days])
        return None if rest is None else replace(rest, formats=("excel", *rest.formats))
    if (moments := _iso(different)) is not None:
        return TimeFormat(("iso",), has_zone=all(moment.tzinfo is not None for moment in moments))
    return _written(different)


def _written(cells: Sequence[str]) -> TimeFormat | None:
    """The format of dates that a person would write."""
    endings = [_ending(cell) for cell in cells]
    found: list[tuple[str, list[datetime]]] = []
    for day in _DATES:
        moments = _read(day, endings, cells)
        if moments is not None and moments not in (read for _, read in found):
            found.append((day, moments))
    if not found:
        return None
    different = list(dict.fromkeys(endings))
    day, moments = found[0]
    formats = tuple(day + ending for ending in different)
    # An abbreviation such as EST or IST means another zone elsewhere.
    has_zone = all(ending.endswith("%z") for ending in different)
    if len(found) == 1:
        return TimeFormat(formats, has_zone)
    if all(map(_AMERICAN.fullmatch, cells)):
        return TimeFormat(formats, has_zone, why="its form is that of American English: check that the month is first")
    other, read = found[1]
    place = next(place for place, moment in enumerate(moments) if moment != read[place])
    return TimeFormat(formats, has_zone, other + different[-1], cells[place])


def _ending(cell: str) -> str:
    """The format of what follows the date: the time and its zone."""
    parts = _PARTS.fullmatch(cell)
    if parts is None or parts["between"] is None:
        return ""
    hours = "%I:%M" if parts["half"] else "%H:%M"
    time = hours + (":%S" if parts["seconds"] else "") + (".%f" if parts["fraction"] else "")
    half = f"{parts['space']}%p" if parts["half"] else ""
    zone = parts["zone"] or ""
    offset = re.sub(r"[+-].*", "%z", zone) if re.search(r"\d", zone) else zone and " %Z"
    return f"{parts['between']}{time}{half}{offset}"


def _read(day: str, endings: Sequence[str], cells: Sequence[str]) -> list[datetime] | None:
    """The cells as local times."""
    moments = []
    for ending, cell in zip(endings, cells, strict=True):
        # strptime knows the names of few zones.
        text = cell.rpartition(" ")[0] if ending.endswith("%Z") else cell
        try:
            moment = datetime.strptime(text, day + ending.removesuffix(" %Z"))  # noqa: DTZ007 - only what it reads matters.
        except ValueError:
            return None
        moments.append(moment.replace(tzinfo=None))
    return moments


def _iso(cells: Sequence[str]) -> list[datetime] | None:
    try:
        return [datetime.fromisoformat(cell) for cell in cells]
    except ValueError:
        return None


def _numeric(cells: Sequence[str]) -> TimeFormat | None:
    if cells and all(re.fullmatch(r"\d{9,10}(\.\d+)?", cell) for cell in cells):
        return TimeFormat(("unix",), has_zone=True)
    if cells and all(re.fullmatch(r"\d{12,13}", cell) for cell in cells):
        return TimeFormat(("unix_ms",), has_zone=True)
    if cells and all(map(_is_excel_day, cells)):
        return TimeFormat(("excel",), has_zone=False)
    return None


def _is_excel_day(cell: str) -> bool:
    return bool(re.fullmatch(r"\d{5}(\.\d+)?", cell)) and _EXCEL_FROM < float(cell) < _EXCEL_TO
