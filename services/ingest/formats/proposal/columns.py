"""Which column is which field: from its name and from its cells."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from services.ingest.formats.proposal.profile import Looks, Profile, words_of

_SCHOOL_YEARS = 13.0
# A maximum, the number of an assignment, or what the cells are, as in `Quiz 1 /10`, `Quiz 1 (4471)`, `Quiz 1 (Real)`.
_NAME_OF_POINTS = re.compile(
    r"/ ?\d+(?:[.,]\d+)?$|\((?:out of )?\d+(?:[.,]\d+)?(?: ?(?:pts?|points))?\)$|\((?:Real|Points|Score|Percentage)\)$|"
    r"\[Total Pts: ",
    re.IGNORECASE,
)
# Words of names whose times say something else than when the learner acted.
_OTHER_TIMES = {
    "assigned", "birth", "born", "dob", "downloaded", "due", "enrolled", "enrollment", "enrolment", "exported",
    "generated", "login", "printed",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """The column of a field.

    Attributes:
        profile: of the column.
        why: the evidence, in a few words.
    """

    profile: Profile
    why: str


@dataclass(frozen=True, slots=True)
class _Rule:
    """What the column of a field is called, and what its cells must look like.

    Attributes:
        names: words of its name, most specific first; a name fits when it has all the words.
        fits: whether the cells may be those of the field.
        looks: what that says of them, as evidence.
    """

    names: tuple[str, ...]
    fits: Callable[[Profile], bool]
    looks: str


def _any_text(profile: Profile) -> bool:
    is_named_as_points = _NAME_OF_POINTS.search(profile.name) is not None
    return bool(profile.filled) and not profile.mostly(Looks.TIME) and not profile.is_time and not is_named_as_points


def _label(profile: Profile) -> bool:
    """Whether the cells may be names or numbers of items, activities or skills; `Quiz 1` with numbers holds points."""
    if not profile.mostly(Looks.NUMBER, Looks.COMMA_NUMBER, Looks.GROUPED_NUMBER, Looks.PERCENT, Looks.MARKED):
        return _any_text(profile)
    return _any_text(profile) and set(words_of(profile.name)) <= _LABEL_WORDS


def _is_id(profile: Profile) -> bool:
    return _any_text(profile) and not profile.mostly(Looks.NAME)


def _whole(profile: Profile) -> bool:
    return profile.mostly(Looks.NUMBER) and all(number.is_integer() and number >= 0 for number in profile.numbers)


def _numeric(profile: Profile) -> bool:
    return profile.mostly(Looks.NUMBER, Looks.COMMA_NUMBER, Looks.GROUPED_NUMBER)


def _unique(profile: Profile) -> bool:
    return len(profile.filled) == profile.rows == profile.distinct and not profile.is_time


def _duration(profile: Profile) -> bool:
    return _numeric(profile) or profile.mostly(Looks.DURATION)


def is_points(profile: Profile) -> bool:
    """Whether the cells may be outcomes: points, percentages, fractions, letters."""
    return not profile.is_time and profile.mostly(
        Looks.NUMBER,
        Looks.COMMA_NUMBER,
        Looks.GROUPED_NUMBER,
        Looks.PERCENT,
        Looks.FRACTION,
        Looks.LETTER,
        Looks.MARKED,
    )


def is_other_time(profile: Profile) -> bool:
    """Whether a column's times are not those at which the learner acted, such as due dates and birthdays."""
    return bool(_OTHER_TIMES & set(profile.words))


def is_school_year(profile: Profile) -> bool:
    """Whether a column called grade, year or level holds the school year rather than an outcome."""
    named = {"grade", "year", "level", "class", "form"} & set(profile.words)
    return bool(named) and _whole(profile) and max(profile.numbers, default=0.0) <= _SCHOOL_YEARS


# fmt: off
_RULES: dict[str, _Rule] = {
    "learner_id": _Rule(
        ("anon student id", "student id", "learner id", "user id", "pupil id", "sis id", "sis user id", "state id",
         "student number", "student no", "pupil no", "student identifier", "student code", "student sourced id",
         "local id", "perm id", "other id", "lasid", "sasid", "id number", "external id", "username",
         "user name", "login", "email", "e mail", "learner", "pupil", "student", "user"),
        _is_id, "ids"),
    "event_id": _Rule(
        ("event id", "response id", "attempt id", "submission id", "transaction id", "log id", "sourced id", "uuid"),
        _unique, "another one in every row"),
    "score_max": _Rule(
        ("max score", "score max", "maximum score", "points possible", "possible points", "max points", "total points",
         "points available", "possible", "out of", "maximum", "max"),
        _numeric, "numbers"),
    "attempt": _Rule(
        ("attempt number", "attempt no", "attempt at step", "try no", "try number", "attempt", "tries", "try",
         "opportunity"),
        _whole, "whole numbers"),
    "hints": _Rule(("hint count", "hints used", "hint total", "hints"), _whole, "whole numbers"),
    "duration": _Rule(
        ("duration", "time taken", "time spent", "response time", "elapsed", "latency", "minutes", "seconds"),
        _duration, "how long"),
    "item": _Rule(
        ("item id", "question id", "problem id", "step name", "step id", "question", "item", "problem name", "problem"),
        _label, "text"),
    "activity": _Rule(
        ("activity id", "assignment id", "quiz id", "test id", "assessment id", "line item sourced id",
         "assignment name", "quiz name", "test name", "assessment name", "activity", "assignment", "quiz", "test",
         "assessment", "exam", "lesson"),
        _label, "text"),
    "skills": _Rule(
        ("standard code", "skill name", "skill id", "standards", "standard", "skills", "skill", "kc",
         "knowledge component", "learning objective", "objective", "competency", "concept", "goal name", "domain",
         "tags"),
        _label, "text"),
    "source_sequence": _Rule(("order id", "sequence", "seq", "row", "row id"), _unique, "another one in every row"),
}
_LABELS = ("item", "activity", "skills")
_LABEL_WORDS = {"number", "no", "code"} | {word for each in _LABELS for word in " ".join(_RULES[each].names).split()}
_CORRECT = ("is correct", "correct", "right", "outcome", "first attempt", "ok", "passed", "result")
_SCORE = (
    "points earned", "raw score", "score given", "score", "points", "earned", "mark", "marks", "percent", "percentage",
    "pct", "grade", "result",
)
_TIMES = (
    "occurred at", "submitted at", "completed at", "answered at", "finished at", "date completed", "date submitted",
    "completed", "submitted", "finished", "answered", "timestamp", "date time", "score date", "test date",
    "taken", "date", "time", "ts", "when", "started on", "started", "start", "created at",
)
# fmt: on


def named(profile: Profile, names: Iterable[str]) -> int:
    """How specifically one of some names fits a column's; 0 when none does. Earlier and longer ones fit better."""
    words = profile.words
    best = 0
    for place, name in enumerate(wanted := list(names)):
        parts = name.split()
        if "".join(parts) == "".join(words):
            return 1_000 - place
        if _contains(words, parts):
            best = max(best, 10 * len(parts) + len(wanted) - place)
    return best


def _contains(words: Sequence[str], parts: Sequence[str]) -> bool:
    return any(tuple(words[start : start + len(parts)]) == tuple(parts) for start in range(len(words)))


def best_of(profiles: Sequence[Profile], names: Sequence[str], fits: Callable[[Profile], bool]) -> list[Profile]:
    """The columns whose name and cells fit, best first."""
    fitting = [(named(profile, names), -profile.place, profile) for profile in profiles if fits(profile)]
    return [profile for score, _, profile in sorted(fitting, key=lambda each: each[:2], reverse=True) if score]


def find_columns(profiles: Sequence[Profile]) -> dict[str, Found]:
    """The column of each field but the outcome and the time; each column is used once.

    A column of e-mail addresses comes last: people change them.
    """
    fitting = [
        (min(score, 1) if profile.mostly(Looks.EMAIL) else score, -order, -profile.place, field, profile)
        for order, (field, rule) in enumerate(_RULES.items())
        for profile in profiles
        if (score := named(profile, rule.names)) and rule.fits(profile)
    ]
    found: dict[str, Found] = {}
    used: set[int] = set()
    for *_, field, profile in sorted(fitting, key=lambda each: each[:3], reverse=True):
        if field not in found and profile.place not in used:
            found[field] = Found(profile, f"its name, and its cells are {_RULES[field].looks}")
            used.add(profile.place)
    return {field: found[field] for field in _RULES if field in found}


def outcomes(profiles: Sequence[Profile]) -> list[Profile]:
    """The columns that may hold right or wrong, best first."""
    return best_of(profiles, _CORRECT, lambda profile: profile.mostly(Looks.OUTCOME))


def scores(profiles: Sequence[Profile]) -> list[Profile]:
    """The columns that may hold points, percentages or grades, best first; school years are left out."""
    return best_of(profiles, _SCORE, lambda profile: is_points(profile) and not is_school_year(profile))


def times(profiles: Sequence[Profile], is_readable: Callable[[Profile], bool]) -> list[Profile]:
    """The columns that may hold when it happened, best first."""
    return best_of(
        profiles, _TIMES, lambda profile: not is_other_time(profile) and (profile.is_time or is_readable(profile))
    )


def is_event_id(profile: Profile) -> bool:
    """Whether the name is that of ids of events, whatever is in the cells."""
    return bool(named(profile, _RULES["event_id"].names))


def meant(profile: Profile) -> str:
    """What a column is called as if it held it, whatever is in its cells; empty: nothing that is known here."""
    if named(profile, _TIMES) and not is_other_time(profile):
        return "times"
    return "outcomes" if named(profile, (*_CORRECT, *_SCORE, "level")) else ""
