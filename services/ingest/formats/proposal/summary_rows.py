"""Rows of a table that sum up the others: totals and averages, which are no learner's work."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from services.ingest.formats.mapping.model import OPEN
from services.ingest.formats.proposal.profile import Looks, Profile, number_of
from services.ingest.formats.proposal.summary_words import AVERAGES, ENDINGS, QUALIFIERS, TOTALS

_ALL = TOTALS | AVERAGES
_LAST_ROWS = 3
_SHOWN_CHARACTERS = 40
_OTHERS_MIN = 3
# One row in 10 to this power has such numbers by chance.
_ENOUGH, _ENOUGH_FOR_A_LEARNER = 1.5, 3.0
_OF_A_SUM = 2.0


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """A row that seems to sum up the others.

    Attributes:
        profile: of the column whose cell tells it from the others.
        text: of this cell.
        why: the evidence.
        is_certain: whether it cannot be a learner's.
    """

    profile: Profile
    text: str
    why: str
    is_certain: bool


def says_total(text: str) -> bool:
    """Whether a cell says that its row is a total."""
    return _says(text, TOTALS)


def says_summary(text: str) -> bool:
    """Whether a cell says that its row is a total or an average."""
    return _says(text, _ALL)


def _says(text: str, words: frozenset[str]) -> bool:
    lowered = text.casefold().strip(" :.=*()-")
    if lowered in words:
        return True
    parts = re.findall(r"[^\W\d_]+", lowered)
    meant = [part for part in parts if part in words or (words is _ALL and part.endswith(ENDINGS))]
    return bool(meant) and all(part in QUALIFIERS for part in parts if part not in meant)


def summary_rows(
    profiles: Sequence[Profile], learner: Profile | None, acts: Sequence[Profile], *, complete: bool
) -> list[SummaryRow]:
    """The rows of a table that seem to sum up the others, by what they say and by their numbers.

    Args:
        profiles: of its columns.
        learner: the column of the learner; None: it is not known.
        acts: the columns of items and activities.
        complete: whether the profiles have every row of the table.
    """
    rows = profiles[0].rows if profiles else 0
    by_numbers = dict(_by_numbers(profiles, learner)) if complete else {}

    def is_learners(row: int) -> bool:
        if by_numbers.get(row, ("", 0.0))[1] >= _ENOUGH_FOR_A_LEARNER:
            return False
        return 0 < row < rows - _LAST_ROWS if learner is None else bool(learner.cells[row])

    found = []
    for row in range(rows):
        numbers, strength = by_numbers.get(row, ("", 0.0))
        for profile in profiles:
            if _is_named(profile, row, of_learner=profile is learner, is_act=profile in acts, is_learners=is_learners):
                text = profile.cells[row]
                found.append(
                    SummaryRow(profile, text, f"{text[:_SHOWN_CHARACTERS]} is no learner{numbers}", is_certain=True)
                )
                break
        else:
            if learner is not None and (summary := _by_place(profiles, learner, row, numbers, strength)):
                found.append(summary)
    return found


def _is_named(
    profile: Profile, row: int, *, of_learner: bool, is_act: bool, is_learners: Callable[[int], bool]
) -> bool:
    """Whether a cell says that its row is a summary, and no learner's row has the same cell."""
    text = profile.cells[row]
    if not says_summary(text):
        return False
    if of_learner or profile.mostly_names:
        return True
    # In a learner's row, "average" may be a level or the name of a lesson; a total of a learner's own is no lesson.
    same = [place for place, cell in enumerate(profile.cells) if cell == text]
    return not any(map(is_learners, same)) or (is_act and says_total(text))


def _by_place(
    profiles: Sequence[Profile], learner: Profile, row: int, numbers: str, strength: float
) -> SummaryRow | None:
    """A row whose numbers are the mean or the sum of the others, and that says it in no known language."""
    own, others = learner.cells[row], [cell for place, cell in enumerate(learner.cells) if cell and place != row]
    # An average and a total may be next to each other.
    unlike = not re.search(r"\d", own) and sum(not re.search(r"\d", cell) for cell in others) < min(3, len(others) / 2)
    if strength < (_ENOUGH if unlike else _ENOUGH_FOR_A_LEARNER):
        return None
    for profile in [learner, *profiles]:
        text = profile.cells[row]
        if text not in {"", OPEN} and number_of(text) is None and profile.filled.count(text) == 1:
            return SummaryRow(
                profile, text, f"{text[:_SHOWN_CHARACTERS]} may be no learner{numbers}", is_certain=unlike
            )
    return None


def _by_numbers(profiles: Sequence[Profile], learner: Profile | None) -> Iterator[tuple[int, tuple[str, float]]]:
    """The first and last rows whose numbers are all the mean or the sum of the others: why, and how much it says."""
    rows = profiles[0].rows if profiles else 0
    columns = [
        profile for profile in profiles if profile is not learner and profile.mostly(*_NUMERIC) and not profile.is_time
    ]
    values = [[number_of(cell) for cell in profile.cells] for profile in columns]
    seen = set[int]()
    # Below an average may be a total: each is compared with the rows that neither is.
    blocks = [range(rows - last, rows) for last in range(1, min(_LAST_ROWS, rows) + 1)] + [range(min(1, rows))]
    for block in blocks:
        for row in block:
            others = [[each for place, each in enumerate(column) if place not in block] for column in values]
            cells = [profile.cells[row] for profile in columns]
            if row not in seen and (found := _compared(cells, [column[row] for column in values], others)):
                seen.add(row)
                yield row, found


def _compared(
    cells: Sequence[str], own: Sequence[float | None], others: Sequence[Sequence[float | None]]
) -> tuple[str, float] | None:
    kinds, strength = [], 0.0
    for cell, value, column in zip(cells, own, others, strict=True):
        numbers = [number for number in column if number is not None]
        if value is None or len(numbers) < _OTHERS_MIN or len(set(numbers)) == 1:
            continue
        decimals = len(re.sub(r"^.*[.,]|\D", "", cell)) if re.search("[.,]", cell) else 0
        mean = abs(value - sum(numbers) / len(numbers)) <= 0.5 * 10**-decimals + 1e-9
        total = abs(value - sum(numbers)) <= 1e-6 * max(1.0, abs(value))
        kinds.append({name for name, fits in (("mean", mean), ("sum", total)) if fits})
        chances = (max(numbers) - min(numbers)) * 10**decimals
        strength += _OF_A_SUM if total and value > max(numbers) else max(0.0, math.log10(chances))
    if not kinds or not (common := set.intersection(*kinds)):
        return None
    which = "its numbers are" if len(kinds) > 1 else "its number is"
    return f": {which} the {min(common)} of all others", strength


_NUMERIC = (Looks.NUMBER, Looks.COMMA_NUMBER, Looks.PERCENT)
