"""Sequences: texts that have the same few lines for each learner, with the values of their responses between commas.

Data sets for knowledge tracing have this shape. Which lines there are differs; a `SequenceLayout` says it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from services.common.tables.lines import LINE_BYTES_MAX, FileUnusableError, Line, ObserveBytes, lines_of
from services.ingest.application.ports import FieldReason, Row, UnreadableRow
from services.ingest.domain.kinds.assessment import Assessment
from services.ingest.domain.submission import Instant, Submission
from services.ingest.formats.ndjson import instant_of

LineName = Literal["learner", "length", "items", "skills", "correct", "times_ms", "durations_ms"]

_UINT32_MAX = 2**32 - 1
_SHOWN_CHARACTERS = 40


class SequenceLayout(BaseModel):
    """How a text holds sequences.

    Attributes:
        lines: what each line of a learner holds, in their order: `learner`, the id and the number of responses;
            `length`, that number alone, where learners have no id and their place in the file is it; `items`;
            `skills`; `correct`, 1 or 0; `times_ms`, since 1970; `durations_ms`.
        source: of the events.
        skills_separator: between several skills of a response; empty: there is one.
        absent: what stands for a value that is missing, or, alone on a line, for the whole line.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    lines: tuple[LineName, ...]
    source: str = Field(min_length=1)
    skills_separator: str = ""
    absent: tuple[str, ...] = ()

    @field_validator("lines")
    @classmethod
    def _complete(cls, value: tuple[LineName, ...]) -> tuple[LineName, ...]:
        if len(set(value)) < len(value):
            raise ValueError("names a line twice: name each once")
        if len({"learner", "length"} & set(value)) != 1:
            raise ValueError("needs one of learner and length: name the line with the number of responses")
        if "correct" not in value or not {"items", "skills"} & set(value):
            raise ValueError("needs correct, and items or skills: name these lines")
        return value


def read_sequences(
    path: Path, layout: SequenceLayout, source: str = "", observe_bytes: ObserveBytes = lambda _: None
) -> Iterator[Row | UnreadableRow]:
    """The responses of a text, each learner's in their order.

    The source sequence of a response is its place in the learner's sequence, from 1. Where there are no items, the
    skills are the items.

    Args:
        path: the file, gzip-compressed or not, in UTF-8.
        layout: which lines it has.
        source: of the events; empty: the layout's.
        observe_bytes: see ObserveBytes.

    Raises:
        FileUnusableError: when it cannot be read, or has other lines than the layout says.
    """
    lines = iter(lines_of(path, observe_bytes))
    number = 0
    while group := list(islice(lines, len(layout.lines))):
        number += 1
        if len(group) == 1 and not group[0].content.strip():
            # An empty line at the end.
            continue
        yield from _responses(path, group, layout, source or layout.source, number)


def _responses(
    path: Path, group: list[Line], layout: SequenceLayout, source: str, number: int
) -> Iterator[Row | UnreadableRow]:
    """The responses of a learner, the `number`-th of the file."""
    start = group[0].number
    if len(group) < len(layout.lines):
        reason = f"is missing, because the file ends: each learner has the lines {', '.join(layout.lines)}"
        yield UnreadableRow(start, (FieldReason(layout.lines[len(group)], reason),), None)
        return
    if any(line.too_long for line in group):
        problem = FieldReason("", f"a line of the learner has more than {LINE_BYTES_MAX} bytes: split the learner")
        yield UnreadableRow(start, (problem,), None)
        return
    values: dict[str, list[str]] = {name: _values(line) for name, line in zip(layout.lines, group, strict=True)}
    learner, length = _learner(path, group, layout, values, number)
    del values["learner" if "learner" in values else "length"]
    present = {name: found for name, found in values.items() if not (len(found) == 1 and found[0] in layout.absent)}
    # A single response may be a missing value, or stand for a missing line: both mean the same.
    wrong = [
        FieldReason(name, f"has {len(found)} values, and the learner {length} responses: correct one of them")
        for name, found in present.items()
        if len(found) != length
    ]
    if length and "correct" not in present:
        wrong.append(FieldReason("correct", "is missing: write 1 or 0 for each response"))
    if wrong:
        yield UnreadableRow(start, tuple(wrong), {"learner": learner, "responses": length})
        return
    for place in range(length):
        yield _response(start, place, {name: found[place] for name, found in present.items()}, layout, learner, source)


def _learner(
    path: Path, group: list[Line], layout: SequenceLayout, values: dict[str, list[str]], number: int
) -> tuple[str, int]:
    """The id of a learner and how many responses they gave."""
    *ids, length = values.get("learner") or values.get("length") or [""]
    if not (length.isascii() and length.isdecimal()) or len(ids) != ("learner" in values):
        first = layout.lines.index("learner" if "learner" in values else "length")
        what = "a learner's id and number of responses" if "learner" in values else "a number of responses"
        raise FileUnusableError(
            f"line {group[first].number} of {path} is {','.join((*ids, length))[:_SHOWN_CHARACTERS]!r}, not {what}: "
            f"each learner must have the lines {', '.join(layout.lines)}"
        )
    return (ids[0] if ids else str(number)), int(length)


def _response(
    line: int, place: int, values: dict[str, str], layout: SequenceLayout, learner: str, source: str
) -> Row | UnreadableRow:
    original = {"learner": learner, "place": place + 1, **values}
    given = {name: value for name, value in values.items() if value and value not in layout.absent}
    skills = given.get("skills", "")
    parts = skills.split(layout.skills_separator) if layout.skills_separator else [skills]
    correct = {"1": True, "0": False}.get(given.get("correct", ""))
    problems = [] if correct is not None else [_problem("correct", values["correct"], "it must be 1 or 0")]
    occurred_at, duration_ms = None, None
    try:
        occurred_at = _instant(given["times_ms"]) if "times_ms" in given else None
    except (ValueError, OverflowError, OSError):
        problems.append(_problem("times_ms", given["times_ms"], "it must be milliseconds since 1970"))
    try:
        duration_ms = _duration_ms(given["durations_ms"]) if "durations_ms" in given else None
    except ValueError:
        problems.append(_problem("durations_ms", given["durations_ms"], "it must be a number of milliseconds"))
    if problems:
        return UnreadableRow(line, tuple(problems), original)
    body = Assessment(
        item=given.get("items", skills),
        skills=tuple(sys.intern(part.strip()) for part in parts if part.strip()),
        outcome=correct,
        duration_ms=duration_ms,
    )
    return Row(line, Submission(learner, source, body, "", occurred_at, str(place + 1)), original)


def _values(line: Line) -> list[str]:
    values = [value.strip() for value in line.content.decode(errors="replace").split(",")]
    # Lines may end in a comma.
    return values[:-1] if not values[-1] else values


def _instant(milliseconds: str) -> Instant:
    return instant_of(datetime.fromtimestamp(float(milliseconds) / 1000, UTC))


def _duration_ms(milliseconds: str) -> int | None:
    number = round(float(milliseconds))
    # A negative duration stands for one that was not measured.
    return number if 0 <= number <= _UINT32_MAX else None


def _problem(field: str, value: str, remedy: str) -> FieldReason:
    return FieldReason(field, f"is {value[:_SHOWN_CHARACTERS]!r}: {remedy}")
