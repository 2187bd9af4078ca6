"""Which format dates and times are written in, and what cannot be known from them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

# The date first; of two that read the same cells, which one is meant cannot be known from them.
_DATES = (
    "%Y-%m-%d", "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%Y", "%d.%m.%y", "%m-%d-%Y", "%d-%m-%Y",
    "%Y/%m/%d", "%Y.%m.%d", "%b %d, %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y",
)  # fmt: skip
_TIMES = ("", "%H:%M:%S", "%H:%M", "%I:%M:%S %p", "%I:%M %p", "%H:%M:%S.%f", "%I:%M%p")
_BETWEEN = (" ", ", ", "T", "  ")
_ZONES = ("", " %Z", "%z", " %z")
_FORMATS = ["iso"] + [
    f"{day}{between}{time}{zone}" if time else day
    for day, time in itertools.product(_DATES, _TIMES)
    for between in (_BETWEEN if time else ("",))
    for zone in (_ZONES if time else ("",))
]
_ZONE_NAME = re.compile(r" (?:[ECMP][SD]T|[A-Z]{3,4})$")
# The short form of American English (CLDR, en-US: M/d/yy h:mm a); elsewhere am and pm are small, or there are none.
_AMERICAN = re.compile(r"[1-9]\d?/[1-9]\d?/\d\d,? [1-9]\d?:\d\d(?::\d\d)? [AP]M")
_EXCEL_FROM, _EXCEL_TO = 20_000, 80_000


@dataclass(frozen=True, slots=True)
class TimeFormat:
    """How times are written.

    Attributes:
        formats: to be tried in this order.
        has_zone: whether every cell names its zone or offset.
        other: reads every cell as well as the last of `formats`, but differently: what is meant cannot be known from
            the cells. Empty where there is none.
        example: a cell that the two read differently.
        why: the evidence.
    """

    formats: tuple[str, ...]
    has_zone: bool
    other: str = ""
    example: str = ""
    why: str = "it reads every time of the sample"


def time_format_of(cells: Sequence[str]) -> TimeFormat | None:
    """The formats that read all cells, or None.

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
    found: list[tuple[str, list[datetime]]] = []
    for name in _FORMATS:
        moments = _read(name, different)
        if moments is not None:
            found.append((name, moments))
    if not found:
        return None
    first, moments = found[0]
    has_zone = all(moment.tzinfo is not None for moment in moments) or all(map(_ZONE_NAME.search, different))
    others = [(name, read) for name, read in found[1:] if _plain(read) != _plain(moments)]
    if not others:
        return TimeFormat((first,), has_zone)
    if all(map(_AMERICAN.fullmatch, different)):
        return TimeFormat((first,), has_zone, why="its form is that of American English: check that the month is first")
    other, read = others[0]
    place = next(place for place, moment in enumerate(moments) if _plain([moment]) != _plain([read[place]]))
    return TimeFormat((first,), has_zone, other, different[place])


def _plain(moments: Sequence[datetime]) -> list[datetime]:
    return [moment.replace(tzinfo=None) for moment in moments]


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


def _read(name: str, cells: Sequence[str]) -> list[datetime] | None:
    moments = []
    for cell in cells:
        text = _ZONE_NAME.sub("", cell) if name.endswith(" %Z") else cell
        if name.endswith(" %Z") and text == cell:
            return None
        try:
            moments.append(
                datetime.fromisoformat(cell) if name == "iso" else datetime.strptime(text, name.removesuffix(" %Z"))  # noqa: DTZ007 - only whether it can be read matters.
            )
        except ValueError:
            return None
    return moments
