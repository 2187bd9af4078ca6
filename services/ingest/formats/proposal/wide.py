"""Tables with a column for each activity or item: how their columns become rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.ingest.formats.proposal.columns import is_points, is_school_year
from services.ingest.formats.proposal.profile import Looks, Profile, has_decimal_commas

_TOTAL = re.compile(
    r"\b(total|average|avg|mean|overall|final|current|unposted|subtotal|rank|percentile|gpa|override|sum)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Wide:
    """How columns become rows.

    Attributes:
        pattern: a regular expression over their names, whose groups are fields.
        columns: those it matches.
        why: the evidence.
        has_maximum: whether the pattern gives the maximum of points.
        is_percent: whether the cells are percentages.
        companions: by field, how another column is called, from the groups of the pattern.
        decimal: the decimal sign, where the maximums in the names decide it; else empty.
        is_certain: whether the names say that these are outcomes; else a column called score comes first.
    """

    pattern: str
    columns: tuple[Profile, ...]
    why: str
    has_maximum: bool = False
    is_percent: bool = False
    companions: Mapping[str, str] = field(default_factory=dict)
    decimal: str = ""
    is_certain: bool = True


_OUTCOME_ENDINGS = (
    "_pct", " pct", "_percent", " percent", " %", "_score", " score", " Score", "_points", " points", " Points",
    "Score",
)  # fmt: skip
# Without zeros at its end: names and cells may have another decimal sign, which then does not matter.
_MAXIMUM = r"(?P<score_max>\d+(?:DECIMAL\d*[1-9])?)(?:[.,]?0*)"
# Of a column with the same activity in several forms, the one that says its own scale comes first.
_FAMILIES: tuple[tuple[str, str, bool, bool], ...] = (
    (rf"^(?P<item>(?:[A-Z]|Question|Item|Problem)\.? ?\d\w*) ?/ ?{_MAXIMUM}$",
     "their names hold an item and its maximum", True, False),
    (rf"^(?P<item>(?:Q|Question|Item|Problem)\.? ?\w+) ?\({_MAXIMUM}(?: ?(?:pts?|points))\)$",
     "their names hold an item and its maximum", True, False),
    (r"^(?P<activity>.+) \(Percentage\)$", "their names hold an activity, and they are percentages", False, True),
    (rf"^(?P<activity>.+) \[Total Pts: {_MAXIMUM}\b.*$", "their names hold an activity and its maximum",
     True, False),
    (rf"^(?P<activity>.+?) ?/ ?{_MAXIMUM}$", "their names hold an activity and its maximum",
     True, False),
    (rf"^(?P<activity>.+) \((?:out of )?{_MAXIMUM}(?: ?(?:pts?|points))\)(?: - .+)?$",
     "their names hold an activity and its maximum", True, False),
    (r"^(?P<activity>.+ \(\d{3,}\))$", "their names hold an activity and its number", False, False),
    (r"^(?P<activity>.+) \((?:Real|Points|Score)\)$", "their names hold an activity", False, False),
    (r"^(?P<item>(?:Q|Question|Item|Problem)\.? ?\d+)$", "their names are items", False, False),
)  # fmt: skip


def wide_of(profiles: Sequence[Profile], used: set[int]) -> Wide | None:
    """How the columns of outcomes become rows; None when there are fewer than two, and none that names its maximum.

    Args:
        profiles: of all columns.
        used: places of columns that are something else.
    """
    free = [
        profile
        for profile in profiles
        if profile.place not in used and not _TOTAL.search(profile.name) and _may_be_outcome(profile)
    ]
    if paired := _paired(profiles, free):
        return paired
    for template, why, has_maximum, is_percent in _FAMILIES:
        by_sign = {sign: _matching(template.replace("DECIMAL", re.escape(sign)), free) for sign in ".,"}
        point, comma = map(len, by_sign.values())
        decimal = "." if point > comma else "," if comma > point or has_decimal_commas(by_sign[","]) else ""
        matching = by_sign[decimal or "."]
        if matching and (has_maximum or is_percent or len(matching) > 1):
            pattern = template.replace("DECIMAL", re.escape(decimal or "."))
            return Wide(pattern, tuple(matching), why, has_maximum, is_percent, decimal=decimal)
    percentages = [profile for profile in free if profile.mostly(Looks.PERCENT)]
    # One scale for all of them: where some are percentages, others are something else.
    free = percentages or [profile for profile in free if not _may_be_id(profile)]
    if len(free) > 1 or percentages:
        names = "|".join(re.escape(profile.name) for profile in free)
        percent = bool(percentages)
        why = f"they hold {'percentages' if percent else 'numbers'}, and no column is a score"
        return Wide(f"^(?P<activity>{names})$", tuple(free), why, is_percent=percent, is_certain=False)
    return None


def _matching(pattern: str, profiles: Sequence[Profile]) -> list[Profile]:
    return [profile for profile in profiles if re.search(pattern, profile.name)]


def _paired(profiles: Sequence[Profile], free: Sequence[Profile]) -> Wide | None:
    """Outcomes next to what they are about: `goal_a` holds a skill, and `goal_a_pct` how well it was done."""
    # A name that is there twice, or that nobody gave, leads to no column.
    names = [profile.name for profile in profiles]
    texts = {
        profile.name
        for profile in profiles
        if profile.filled
        and not is_points(profile)
        and not profile.is_time
        and profile.name
        and names.count(profile.name) == 1
    }
    for ending in _OUTCOME_ENDINGS:
        columns = [each for each in free if each.name.endswith(ending) and each.name.removesuffix(ending) in texts]
        if len(columns) > 1:
            about = "|".join(re.escape(each.name.removesuffix(ending)) for each in columns)
            return Wide(
                f"^(?P<about>{about}){re.escape(ending)}$",
                tuple(columns),
                "each stands next to a column of text, which may be the skill",
                is_percent=any(word in ending.casefold() for word in ("pct", "percent", "%")),
                companions={"skills": "{about}"},
            )
    return None


def _may_be_outcome(profile: Profile) -> bool:
    if is_school_year(profile) or not (profile.filled and profile.name):
        return False
    nobody_scored = all(looks_unscored(cell) for cell in profile.filled)
    return nobody_scored or is_points(profile)


def _may_be_id(profile: Profile) -> bool:
    """Whether the cells are like ids or calendar years: whole numbers, all with the same number of digits, over 3."""
    numbers = profile.some(Looks.NUMBER)
    same_length = len({len(cell) for cell in numbers}) == 1
    return same_length and len(numbers[0]) > 3 and all(cell.isdecimal() for cell in numbers)


def looks_unscored(cell: str) -> bool:
    """Whether a cell says that nobody scored the work."""
    return bool(re.fullmatch(r"-+|—|ex|excused|exempt|incomplete|ng", cell, re.IGNORECASE))
