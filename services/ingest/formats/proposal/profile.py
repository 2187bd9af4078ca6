"""What the cells of one column look like."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum

from services.common.tables import Cell
from services.ingest.formats.mapping.model import OPEN

_EXAMPLES = 3
_MOSTLY = 0.9
_MANY = 0.5
_SHOWN_CHARACTERS = 40

_NUMBER = r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
_COMMA_NUMBER = r"[-+]?(?:\d{1,3}(?:\.\d{3})+|\d+),\d+"
_GROUPED_NUMBER = r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?"


class Looks(Enum):
    """What a cell may look like; one cell may look like several of these."""

    NUMBER = "numbers"
    COMMA_NUMBER = "numbers with a decimal comma"
    GROUPED_NUMBER = "numbers with commas between thousands"
    PERCENT = "percentages"
    FRACTION = "points of a maximum"
    OUTCOME = "right or wrong"
    LETTER = "letter grades"
    UNSCORED = "marks for work that nobody scored"
    MARKED = "numbers with a mark"
    TIME = "dates or times"
    EMAIL = "e-mail addresses"
    NAME = "names of people"
    DURATION = "durations"
    SHORTENED = "numbers that a spreadsheet shortened"


_PATTERNS: dict[Looks, re.Pattern[str]] = {
    Looks.NUMBER: re.compile(_NUMBER),
    Looks.COMMA_NUMBER: re.compile(_COMMA_NUMBER),
    Looks.GROUPED_NUMBER: re.compile(_GROUPED_NUMBER),
    Looks.PERCENT: re.compile(rf"(?:{_NUMBER}|{_COMMA_NUMBER})\s*%"),
    Looks.FRACTION: re.compile(rf"{_NUMBER}\s*(?:/|out of|of)\s*{_NUMBER}", re.IGNORECASE),
    Looks.OUTCOME: re.compile(
        r"0|1|0\.0|1\.0|true|false|yes|no|y|n|t|f|correct|incorrect|right|wrong|hint", re.IGNORECASE
    ),
    Looks.LETTER: re.compile(r"[A-FPU][+-]?|NP"),
    Looks.UNSCORED: re.compile(
        r"-+|—|ex|exc|excused|exempt|incomplete|missing|ng|not (?:graded|attempted|submitted)|in progress",
        re.IGNORECASE,
    ),
    Looks.MARKED: re.compile(rf"[*^#]\s*{_NUMBER}|{_NUMBER}\s*[*^#]"),
    Looks.TIME: re.compile(
        r".*(?:\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d{1,2} [A-Z][a-z]{2,8},? \d{4}|[A-Z][a-z]{2,8} \d{1,2},? \d{4}).*"
    ),
    Looks.EMAIL: re.compile(r"[^@\s]+@[^@\s]+\.[a-z]{2,}", re.IGNORECASE),
    Looks.NAME: re.compile(r"(?![a-z])[^\W\d_][\w'\u2019.-]+(?:,? (?![a-z])[^\W\d_][\w'\u2019.-]*){1,3}"),
    Looks.DURATION: re.compile(
        r"(?:\d+ ?(?:h|m|s|hours?|mins?|minutes?|secs?|seconds?)\b ?)+|\d+:\d\d(?::\d\d)?", re.IGNORECASE
    ),
    Looks.SHORTENED: re.compile(r"\d(?:\.\d+)?[eE]\+?\d+|\d+\.0"),
}


@dataclass(frozen=True, slots=True)
class Profile:
    """What the cells of one column look like, over a sample.

    Attributes:
        place: of the column, from 0.
        name: in the header.
        rows: in the sample.
        cells: as text, in the order of the sample; "" where there is nothing.
        filled: those that are not empty.
        is_time: whether the file itself says that the cells are dates or times.
        shares: of the filled cells, how many look like each of these; 0 where none does.
    """

    place: int
    name: str
    rows: int
    cells: tuple[str, ...]
    filled: tuple[str, ...]
    is_time: bool
    shares: dict[Looks, float]

    def mostly(self, *looks: Looks) -> bool:
        """Whether nearly all cells look like one of these, apart from those that nobody scored."""
        scored = [cell for cell in self.filled if not _PATTERNS[Looks.UNSCORED].fullmatch(cell)]
        matching = sum(any(_PATTERNS[each].fullmatch(cell) for each in looks) for cell in scored)
        return bool(scored) and matching >= _MOSTLY * len(scored)

    def some(self, looks: Looks) -> list[str]:
        """The different cells that look like this, most frequent first."""
        return [cell for cell, _ in Counter(filter(_PATTERNS[looks].fullmatch, self.filled)).most_common()]

    @property
    def mostly_names(self) -> bool:
        """Whether most cells look like names of people."""
        return self.shares[Looks.NAME] > _MANY

    @property
    def numbers(self) -> list[float]:
        """The numbers among the cells."""
        return [float(cell) for cell in self.filled if _PATTERNS[Looks.NUMBER].fullmatch(cell)]

    @property
    def distinct(self) -> int:
        """How many different cells there are."""
        return len(set(self.filled))

    @property
    def examples(self) -> list[str]:
        """A few different cells, shortened."""
        return [cell[:_SHOWN_CHARACTERS] for cell in list(dict.fromkeys(self.filled))[:_EXAMPLES]]

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the name, in lower case, without what stands in brackets or after a slash."""
        return words_of(re.sub(r"\([^)]*\)|\[[^\]]*\]|/.*", " ", self.name) or self.name)


def number_of(text: str) -> float | None:
    """The number of a cell, which may be a percentage or have a decimal comma; None: it is none."""
    plain = text.removesuffix("%").strip()
    if _PATTERNS[Looks.COMMA_NUMBER].fullmatch(plain):
        plain = plain.replace(".", "").replace(",", ".")
    return float(plain) if _PATTERNS[Looks.NUMBER].fullmatch(plain) else None


def number_signs(profiles: Sequence[Profile]) -> tuple[str, str, str] | None:
    """The key of a mapping for the decimal sign or that of thousands, its value, and the evidence or the question.

    None where no cell has a comma, or where a decimal point is all there is.
    """
    numbers = [cell for profile in profiles for cell in profile.some(Looks.NUMBER)]
    percentages = [cell for profile in profiles for cell in profile.some(Looks.PERCENT) if "," in cell]
    commas = [*(cell for profile in profiles for cell in profile.some(Looks.COMMA_NUMBER)), *percentages]
    grouped = [cell for profile in profiles for cell in profile.some(Looks.GROUPED_NUMBER)]
    if decimals := [cell for cell in commas if cell not in grouped]:
        return "decimal", ",", f"as in {decimals[0]}"
    if thousands := [cell for cell in grouped if cell not in commas]:
        return "thousands", ",", f"as in {thousands[0]}"
    if grouped and any(re.fullmatch(r".*\.(?!\d{3}$)\d+", cell) for cell in numbers):
        return "thousands", ",", f"as in {grouped[0]}: the decimal sign is a point elsewhere"
    if grouped:
        whole, point = grouped[0].replace(",", ""), grouped[0].replace(",", ".")
        question = f'does {grouped[0]} mean {whole} (then ".", with thousands: ",") or {point} (then ",")?'
        return "decimal", OPEN, question
    return None


def has_decimal_commas(profiles: Sequence[Profile]) -> bool:
    """Whether the cells leave no doubt that a comma is the decimal sign."""
    signs = number_signs(profiles)
    return signs is not None and signs[:2] == ("decimal", ",")


def words_of(text: str) -> tuple[str, ...]:
    """The words of a header: `studentId`, `Student ID` and `student_id` have the same."""
    spaced = re.sub(r"([a-z\d])([A-Z])", r"\1 \2", text)
    return tuple(re.findall(r"[a-z]+|\d+|[^\W\d_a-z]+", spaced.casefold()))


def profiles_of(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> list[Profile]:
    """The profile of each column.

    Args:
        columns: their names.
        rows: the sample.
    """
    return [_profile(place, name, [row[place] for row in rows]) for place, name in enumerate(columns)]


def _profile(place: int, name: str, cells: Sequence[Cell]) -> Profile:
    texts = tuple(map(_text, cells))
    filled = tuple(filter(None, texts))
    shares = {looks: _share(filled, pattern.fullmatch) for looks, pattern in _PATTERNS.items()}
    typed = [cell for cell in cells if cell is not None and cell != ""]
    is_time = bool(typed) and all(isinstance(cell, date | datetime) for cell in typed)
    return Profile(place, name, len(cells), texts, filled, is_time, shares)


def _share(cells: Sequence[str], matches: Callable[[str], object]) -> float:
    return sum(1 for cell in cells if matches(cell)) / len(cells) if cells else 0.0


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, list):
        return ";".join(map(_text, cell))
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def sampled(rows: Iterable[Sequence[Cell]], size: int) -> list[Sequence[Cell]]:
    """A sample over all rows in their order: the first ones, and then ever fewer, evenly spread.

    Args:
        rows: all of them.
        size: the sample has between half of this many and all of this many rows.
    """
    kept: list[Sequence[Cell]] = []
    every = 1
    for number, row in enumerate(rows):
        if number % every:
            continue
        if len(kept) == size:
            kept = kept[::2]
            every *= 2
            if number % every:
                continue
        kept.append(row)
    return kept
