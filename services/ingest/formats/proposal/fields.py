"""From the profiles of columns to a mapping, with its evidence and its questions."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from zoneinfo import available_timezones

from services.ingest.formats.mapping.model import OPEN
from services.ingest.formats.proposal.columns import (
    Found,
    find_columns,
    is_event_id,
    is_other_time,
    is_school_year,
    meant,
    outcomes,
    scores,
    times,
)
from services.ingest.formats.proposal.profile import Looks, Profile, number_signs
from services.ingest.formats.proposal.summary_rows import summary_rows
from services.ingest.formats.proposal.times import TimeFormat, time_format_of
from services.ingest.formats.proposal.wide import Wide, looks_unscored, wide_of

_SKILL_SEPARATORS = ("~~", ";", "|", ",")
_LEFT_OUT = re.compile(
    r"(test|demo|preview) student|student, (test|demo|preview)|tobedeleted|deleted|exempt|voided|void|invalid|"
    r"withdrawn",
    re.IGNORECASE,
)
_MAXIMUM_ROW = re.compile(r"points possible|possible points|max(imum)? points|out of", re.IGNORECASE)
_MAXIMUM = re.compile(r"/ ?(\d+(?:\.\d+)?)$|\((?:out of )?(\d+(?:\.\d+)?)(?: ?pts?| ?points)?\)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a mapping.

    Attributes:
        key: in the mapping, or in `columns`.
        value: OPEN where it is a question.
        why: the evidence, or the question.
    """

    key: str
    value: Any
    why: str


@dataclass(slots=True)
class Fields:
    """A proposed mapping.

    Attributes:
        columns: entries of the key `columns`.
        settings: all others.
        unused: columns that are not used, with why they might matter.
    """

    columns: list[Entry] = field(default_factory=list)
    settings: list[Entry] = field(default_factory=list)
    unused: list[tuple[str, str]] = field(default_factory=list)


def fields_of(profiles: Sequence[Profile], source: str, *, complete: bool, repeats_header: bool = False) -> Fields:
    """The mapping of a table.

    Args:
        profiles: of its columns.
        source: the system that the events come from; empty: a question.
        complete: whether the profiles have every row of the table.
        repeats_header: whether the header is there again among the rows, of which the profiles do not know.
    """
    return _Assembly(profiles, complete=complete, repeats_header=repeats_header).fields(source)


class _Assembly:
    def __init__(self, profiles: Sequence[Profile], *, complete: bool, repeats_header: bool) -> None:
        self._profiles = profiles
        self._complete = complete
        self._repeats_header = repeats_header
        self._found = find_columns(profiles)
        self._reserved = {found.profile.place for found in self._found.values()}
        self._used: set[int] = set()
        self._formats: dict[int, TimeFormat | None] = {}
        self._made = Fields()

    def fields(self, source: str) -> Fields:
        self._learner()
        when = self._when()
        wide = self._outcome()
        self._others(wide)
        if when is not None:
            self._time_settings(when)
        self._rows_left_out()
        self._made.settings.append(
            Entry("constants", {"source": source or OPEN}, "the system that these events come from, in a word")
        )
        self._unused()
        return self._made

    def _column(self, key: str, profile: Profile, why: str) -> None:
        self._used.add(profile.place)
        examples = ", ".join(profile.examples)
        self._made.columns.append(Entry(key, self._address(profile), f"{why}; for example {examples}"))

    def _address(self, profile: Profile) -> str:
        same = [each.place for each in self._profiles if each.name == profile.name]
        # A column of this name would look like a question.
        if profile.name in {"", OPEN}:
            return f"#{profile.place + 1}"
        return profile.name if len(same) == 1 else f"{profile.name}#{same.index(profile.place) + 1}"

    def _ask(self, key: str, question: str) -> None:
        self._made.columns.append(Entry(key, OPEN, question))

    def _set(self, key: str, value: Any, why: str) -> None:
        self._made.settings.append(Entry(key, value, why))

    def _learner(self) -> None:
        found = self._found.get("learner_id")
        if found is None:
            names = [profile.name for profile in self._profiles if profile.mostly_names]
            hint = f"; {', '.join(names)} seems to hold names, which several people may share" if names else ""
            self._ask("learner_id", f"which column identifies the learner? none is called like an id of one{hint}")
            return
        self._column("learner_id", found.profile, found.why)
        if shortened := found.profile.some(Looks.SHORTENED):
            why = f"a spreadsheet has rewritten ids, such as {shortened[0]}: compare with the source"
            self._set("id_form", "spreadsheet", why)
        leading = [cell for cell in found.profile.filled if re.fullmatch(r"0\d+", cell)]
        if leading and any(cell.lstrip("0") in found.profile.filled for cell in leading):
            self._made.columns.pop()
            same = f"is {leading[0]} the same learner as {leading[0].lstrip('0')}? a spreadsheet may have cut zeros off"
            self._ask("learner_id", f"{same}: repair the file, then name {found.profile.name}")

    def _when(self) -> TimeFormat | None:
        free = [profile for profile in self._profiles if profile.place not in self._reserved]
        found = times(free, lambda profile: self._time_format(profile) is not None)
        typed = [profile for profile in free if profile.is_time and not is_other_time(profile)]
        found = found or (typed if len(typed) == 1 else [])
        if not found:
            return None
        best = found[0]
        self._column("occurred_at", best, "its cells are times")
        return TimeFormat((), has_zone=False) if best.is_time else self._time_format(best)

    def _time_format(self, profile: Profile) -> TimeFormat | None:
        if profile.place not in self._formats:
            cells = [cell for cell in profile.filled if not re.fullmatch(r"-+", cell)]
            self._formats[profile.place] = time_format_of(cells) if cells else None
        return self._formats[profile.place]

    def _time_settings(self, when: TimeFormat) -> None:
        if when.other:
            one, other = (json.dumps([*when.formats[:-1], last]) for last in (when.formats[-1], when.other))
            self._set("date_format", OPEN, f"which is meant by {when.example}: {one} or {other}? both read every time")
        elif when.formats and when.formats != ("iso",):
            value = when.formats[0] if len(when.formats) == 1 else list(when.formats)
            self._set("date_format", value, when.why)
        if when.has_zone:
            return
        zones = [each for each in self._profiles if each.words in _ZONE_NAMES and each.filled]
        if zones and set(zones[0].filled) <= available_timezones():
            self._column("time_zone", zones[0], "its name, and its cells are time zones")
        else:
            self._set("time_zone", OPEN, "where were the times recorded? for example America/Chicago, or UTC")

    def _outcome(self) -> Wide | None:
        taken = self._reserved | self._used
        free = [profile for profile in self._profiles if profile.place not in taken]
        right, points = outcomes(free), scores(free)
        if right:
            self._right_or_wrong(right[0])
            return None
        wide = wide_of(self._profiles, taken)
        single = wide is not None and len(wide.columns) == 1 and wide.columns[0] in points
        if wide is not None and not single and (not points or wide.is_certain):
            self._unpivot(wide)
            return wide
        if not points:
            years = [profile.name for profile in free if is_school_year(profile)]
            hint = f"; is {years[0]} the outcome, or the school year?" if years else ""
            self._ask("score", f"which column holds the outcome? or map correct, if it is right or wrong{hint}")
            if "score_max" not in self._found:
                self._set("score_max", OPEN, "the most points one can get; remove this line if you map correct")
            return None
        self._points(points[0])
        return None

    def _right_or_wrong(self, profile: Profile) -> None:
        self._column("correct", profile, "its name, and its cells are right or wrong")
        if any(cell.casefold() == "hint" for cell in profile.filled):
            self._set("wrong", ["incorrect", "hint"], "who asks for a hint has not answered right")

    def _points(self, profile: Profile) -> None:
        self._column("score", profile, "its name, and its cells can be an outcome")
        self._scale(profile, _MAXIMUM.search(profile.name))

    def _unpivot(self, wide: Wide) -> None:
        self._used |= {profile.place for profile in wide.columns}
        names = ", ".join(profile.name for profile in wide.columns[:3])
        more = "" if len(wide.columns) <= 3 else f" and {len(wide.columns) - 3} more"
        entry: dict[str, Any] = {"columns": wide.pattern, "value": "score"}
        if wide.companions:
            entry["with"] = dict(wide.companions)
        self._set("unpivot", [entry], f"each of {names}{more} becomes a row: {wide.why}")
        maximum_rows = [] if wide.has_maximum or wide.is_percent else self._cells_like(_MAXIMUM_ROW)
        if wide.has_maximum or wide.is_percent or maximum_rows:
            self._decimal(wide.columns, wide.decimal)
        if wide.is_percent:
            self._percent(wide.columns, "the cells are percentages")
        elif maximum_rows:
            self._set("maximum_row", maximum_rows[0], "it holds the most points of each column")
        elif not wide.has_maximum:
            cells = tuple(cell for profile in wide.columns for cell in profile.filled)
            self._scale(replace(wide.columns[0], filled=cells), None)

    def _scale(self, profile: Profile, maximum: re.Match[str] | None) -> None:
        kinds = {
            looks: profile.some(looks) for looks in (Looks.PERCENT, Looks.FRACTION, Looks.LETTER) if profile.some(looks)
        }
        if marked := profile.some(Looks.MARKED):
            signs = " ".join(sorted({sign for cell in marked for sign in re.findall(r"[*^#]", cell)}))
            self._set("marks", OPEN, f"what does {marked[0]} mean? list the signs that mean nothing: {signs}")
        has_maximum = maximum is None and "score_max" in self._found
        self._decimal([profile, *([self._found["score_max"].profile] if has_maximum else [])])
        if Looks.LETTER in kinds:
            self._set("levels", dict.fromkeys(kinds[Looks.LETTER], OPEN), "how many points is each worth?")
        scales = [name for looks, name in _SCALES.items() if looks in kinds]
        if len(scales) > 1:
            self._set("scale", scales, f"as in {kinds[Looks.PERCENT][0]} and {kinds[Looks.FRACTION][0]}")
        elif scales == ["fraction"]:
            self._set("scale", "fraction", f"as in {kinds[Looks.FRACTION][0]}")
        elif scales or "%" in profile.name or {"percent", "percentage", "pct"} & set(profile.words):
            self._percent([profile], f"as in {kinds[Looks.PERCENT][0]}" if scales else "its name")
        elif maximum is not None:
            self._set("score_max", float(maximum[1] or maximum[2]), f"from the name {profile.name}")
        elif "score_max" not in self._found:
            seen = f"; the highest in the sample is {max(profile.numbers):g}" if profile.numbers else ""
            self._set("score_max", OPEN, f"the most points one can get{seen}")

        has_own_scale = any(entry.key == "scale" for entry in self._made.settings)
        if {"scale", "scaled"} & set(profile.words) and not has_own_scale:
            self._set("score_min", OPEN, "the least one can get: a scale of scores such as these rarely starts at 0")

    def _percent(self, profiles: Sequence[Profile], why: str) -> None:
        """The scale of percentages, which some write as shares of one."""
        cells = [cell for profile in profiles for cell in profile.filled]
        shares = [cell for cell in cells if re.fullmatch(r"0?[.,]\d+|[01](?:[.,]0+)?", cell)]
        parts = [cell for cell in shares if float(cell.replace(",", ".")) > 0]
        if parts and len(shares) == sum(not looks_unscored(cell) for cell in cells):
            percent = f"{float(parts[0].replace(',', '.')) * 100:g} % (then points, with score_max: 1)"
            self._set("scale", OPEN, f"does {parts[0]} mean {percent} or {parts[0]} % (then percent)? none is over 1")
        else:
            self._set("scale", "percent", why)

    def _decimal(self, profiles: Sequence[Profile], in_names: str = "") -> None:
        """The decimal sign, and that of thousands, where the names or the cells of outcomes show one."""
        if in_names == ",":
            self._set("decimal", ",", "as in their names or cells")
        elif not in_names and (signs := number_signs(profiles)):
            self._set(*signs)

    def _others(self, wide: Wide | None) -> None:
        given = set() if wide is None else {*re.findall(r"\(\?P<(\w+)>", wide.pattern), *wide.companions}
        # Percentages, fractions and a row of maximums leave no room for a column of them.
        taken = {"score_max", "scale", "maximum_row"} & {entry.key for entry in self._made.settings} or given & {
            "score_max"
        }
        has_points = not taken and (wide is not None or any(entry.key == "score" for entry in self._made.columns))
        for key, found in self._found.items():
            if key == "learner_id" or key in given or (key == "score_max" and not has_points):
                continue
            self._column(key, found.profile, found.why)
            self._settings_of(key, found)
        if not {"item", "activity"} & ({entry.key for entry in self._made.columns} | given):
            self._ask(
                "activity",
                "which column holds the quiz or lesson? or map item, for a single question; or set it in constants",
            )

    def _settings_of(self, key: str, found: Found) -> None:
        profile = found.profile
        if key == "skills":
            sign = next((sign for sign in _SKILL_SEPARATORS if any(sign in cell for cell in profile.filled)), None)
            if sign is not None:
                self._set("skills_separator", sign, "it separates skills in one cell: check that no skill contains it")
        if key == "duration":
            words = set(profile.words) | set(re.findall(r"[a-z]+", profile.name.casefold()))
            unit = next((unit for unit, names in _UNITS.items() if words & names), None)
            if not all(re.fullmatch(r"[\d.,]+", cell) for cell in profile.filled):
                self._set("duration_unit", "text", f"as in {profile.examples[0]}")
            else:
                self._set("duration_unit", unit or OPEN, "its name" if unit else "ms, s or min?")

    def _rows_left_out(self) -> None:
        by_column = {entry["column"]: set(entry["is"]) for entry in self._cells_like(_LEFT_OUT)}
        why = ["rows that are no learner's work, or not valid any more"] if by_column else []
        if self._repeats_header:
            first = next(profile for profile in self._profiles if profile.name)
            by_column.setdefault(self._address(first), set()).add(first.name)
            why.append("rows that are the header again")
        learner, *acts = (self._found.get(key) for key in ("learner_id", "item", "activity"))
        summaries = summary_rows(
            self._profiles,
            None if learner is None else learner.profile,
            [found.profile for found in acts if found is not None],
            complete=self._complete,
        )
        for row in summaries:
            if row.is_certain:
                by_column.setdefault(self._address(row.profile), set()).add(row.text)
        drop: list[dict[str, Any]] = [{"column": name, "is": sorted(texts)} for name, texts in by_column.items()]
        drop += [{"column": self._address(row.profile), "is": OPEN} for row in summaries if not row.is_certain]
        # The question comes first, because a comment has an end.
        why += [row.why for row in summaries if row.is_certain]
        why[:0] = [f"{row.why}: give this text, or remove the filter" for row in summaries if not row.is_certain]
        if drop:
            self._set("drop", drop, "; ".join(dict.fromkeys(why)))

    def _cells_like(self, pattern: re.Pattern[str]) -> list[dict[str, Any]]:
        """The cells of each column that match, as filters of rows."""
        return [
            {"column": self._address(profile), "is": words}
            for profile in self._profiles
            if (words := sorted(set(filter(pattern.fullmatch, profile.filled))))
        ]

    def _unused(self) -> None:
        for profile in self._profiles:
            if profile.place in self._used:
                continue
            self._made.unused.append((self._address(profile), self._reason(profile)))

    def _reason(self, profile: Profile) -> str:
        has_times = profile.is_time or self._time_format(profile) is not None
        called = meant(profile) or ("outcomes" if _MAXIMUM.search(profile.name) else "")
        reasons = (
            (not profile.filled, "empty"),
            (is_school_year(profile), "seems to be the school year"),
            (has_times and is_other_time(profile), "holds times, but by its name not those when the learner acted"),
            (has_times, "holds times: is it when the learner acted?"),
            (profile.mostly(Looks.EMAIL), "holds e-mail addresses"),
            (profile.mostly(Looks.NAME), "seems to hold names of people"),
            (profile.mostly(Looks.PERCENT, Looks.FRACTION, Looks.LETTER), "holds outcomes, too: is it the better one?"),
            (profile.mostly(Looks.NUMBER, Looks.COMMA_NUMBER), "holds numbers: an outcome, a maximum, an attempt?"),
            (is_event_id(profile), "is called like an id of each row, but is not another one in every row"),
            (bool(called), f"is called like {called}, but not all cells are: {', '.join(profile.examples)}"),
        )
        return next((reason for applies, reason in reasons if applies), "")


_ZONE_NAMES = {("time", "zone"), ("timezone",), ("tz",)}
_SCALES = {Looks.PERCENT: "percent", Looks.FRACTION: "fraction"}
_UNITS = {
    "ms": {"ms", "millis", "milliseconds"},
    "s": {"s", "sec", "secs", "second", "seconds"},
    "min": {"min", "mins", "minute", "minutes"},
}
