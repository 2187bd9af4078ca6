"""Reading outcomes: right or wrong, points, percentages, fractions and levels."""

from __future__ import annotations

from typing import Any, NamedTuple

from services.ingest.formats.mapping.cells import CellError, Numbers, shown, text_of
from services.ingest.formats.mapping.model import FileMapping

_NOT_FINITE = {"inf", "infinity", "nan"}


class Points(NamedTuple):
    """Points as a cell states them; None: the cell does not say on what scale."""

    raw: float
    low: float | None = None
    high: float | None = None


class Outcomes:
    """Reads outcomes as a mapping says that they are written."""

    def __init__(self, mapping: FileMapping, numbers: Numbers) -> None:
        """Args: the mapping, and what reads its numbers."""
        self._mapping = mapping
        self._number = numbers.number
        self._marks = "".join(mapping.marks)
        self._words = {word.casefold(): True for word in mapping.right}
        self._words |= {word.casefold(): False for word in mapping.wrong}
        self._levels = {level.strip().casefold(): points for level, points in mapping.levels.items()}
        # What means an outcome is one.
        outcomes = self._levels.keys() | (self._words.keys() if not mapping.levels else set())
        self._not_scored = frozenset(word.strip().casefold() for word in mapping.not_scored) - outcomes
        self._only_points = mapping.scale == ("points",) and not mapping.levels and not mapping.marks

    def is_not_scored(self, text: str) -> bool:
        """Whether a cell says that nobody scored it."""
        return text.casefold() in self._not_scored

    def correct(self, value: Any) -> bool:
        """Right or wrong."""
        if isinstance(value, bool):
            return value
        outcome = self._words.get(self._unmarked(value).casefold())
        if outcome is None:
            words = f"right: {', '.join(self._mapping.right)}; wrong: {', '.join(self._mapping.wrong)}"
            raise CellError(f"is {shown(value)}, neither right nor wrong ({words}): add it to right or wrong")
        return outcome

    def points(self, value: Any) -> Points:
        """Points, with the scale that the cell itself states."""
        if self._only_points:
            return Points(self._plain(value))
        text = self._unmarked(value)
        level = self._levels.get(text.casefold())
        if level is not None:
            # Among percentages, a level is one.
            return Points(level, 0.0, 100.0) if "percent" in self._mapping.scale else Points(level)
        unmarked = text if isinstance(value, str) else value
        scale = self._mapping.scale
        if "%" in text and "percent" in scale:
            return self._percent(text.removeprefix("%").removesuffix("%").strip())
        if "/" in text and "fraction" in scale:
            raw, _, high = text.partition("/")
            return Points(self._number(raw), None, self._number(high))
        if "points" in scale:
            return Points(self._plain(unmarked))
        if "percent" in scale:
            return self._percent(unmarked)
        raise CellError(f"is {shown(value)}, not written as 7 / 10: correct it, or add points or percent to scale")

    def _percent(self, value: Any) -> Points:
        return Points(self._plain(value), 0.0, 100.0)

    def _unmarked(self, value: Any) -> str:
        text = text_of(value)
        if not self._marks:
            return text
        unmarked = text.strip(self._marks).strip()
        if not unmarked:
            raise CellError(f"is {shown(text)}, nothing but marks: add it to not_scored if nobody scored it")
        return unmarked

    def _plain(self, value: Any) -> float:
        try:
            return self._number(value)
        except CellError as error:
            if isinstance(value, str) and (remedy := _remedy(value)):
                raise CellError(f"is {shown(value)}: it must be a number; {remedy}") from error
            raise


def _remedy(text: str) -> str:
    """How a cell that is no number could be read."""
    if "%" in text:
        return "set scale: percent for percentages"
    if "/" in text:
        return "set scale: fraction for what is written as 7 / 10"
    if text[:1] not in "+-.,_" and not text[0].isalnum() and text[1:].strip()[:1].isdigit():
        return f"add {text[0]!r} to marks if it means nothing"
    if not any(map(str.isdigit, text)) and text.casefold().strip("+-") not in _NOT_FINITE:
        return "give its points in levels, or add it to not_scored if nobody scored it"
    return ""
