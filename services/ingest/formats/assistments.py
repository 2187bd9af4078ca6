"""ASSISTments logs: the raw export of the 2009-10 data, and the merged form that researchers share.

The header tells which of the two a file is.

**Raw**: 30 columns, perhaps after the row index of a data frame. A response to a problem with several skills has one
row for each skill, with the same `order_id`; and rows are sorted by skill, not by time. So the file is first sorted by
`order_id`, which grows with time, in a temporary database on disk. `correct` is about the first try and may be partial
credit; `attempt_count` counts all tries, so it is not the number of the scored try and is ignored. `ms_first_response`
is the duration; a negative one means that the clock was set back while the problem was open, and the response then has
no duration.

**Merged**: user_id, seq, problem_id, skill_id, skill_name, correct, fold. Rows are in the order of each learner's
responses, and adjacent rows of one learner, problem and `correct` with a new skill are one response.

In both, skills are identified by name and a row may have none. There are no times: `occurred_at` stays absent, and the
source sequence (`order_id`, or `seq` of the response's first row) distinguishes repeated responses to a problem.
"""

from __future__ import annotations

import csv
import math
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import orjson

from services.common.tables.lines import LINE_BYTES_MAX, FileUnusableError, ObserveBytes, lines_of
from services.ingest.application.ports import FieldReason, Row, UnreadableRow
from services.ingest.domain.kinds.assessment import Assessment
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Submission

SOURCE = "assistments2009"

# fmt: off
RAW_COLUMNS = [
    "order_id", "assignment_id", "user_id", "assistment_id", "problem_id", "original", "correct", "attempt_count",
    "ms_first_response", "tutor_mode", "answer_type", "sequence_id", "student_class_id", "position", "type",
    "base_sequence_id", "skill_id", "skill_name", "teacher_id", "school_id", "hint_count", "hint_total",
    "overlap_time", "template_id", "answer_id", "answer_text", "first_action", "bottom_hint", "opportunity",
    "opportunity_original",
]
# fmt: on
MERGED_COLUMNS = ["user_id", "seq", "problem_id", "skill_id", "skill_name", "correct", "fold"]

_INDEX_COLUMNS = ("", "Unnamed: 0")
_RAW_NEEDED = ("order_id", "user_id", "problem_id", "correct", "skill_name")
_MERGED_NEEDED = ("user_id", "seq", "problem_id", "correct", "skill_name")
_ABSENT = ("", "NA", "nan", "NULL")
_UINT32_MAX = 2**32 - 1
_SHOWN_CHARACTERS = 40

_Values = dict[str, str]


@dataclass(slots=True)
class _Response:
    """Rows of one response, while more of them may come."""

    line: int
    rows: list[_Values]
    skills: list[str]


def read_assistments(
    path: Path, source: str = SOURCE, observe_bytes: ObserveBytes = lambda _: None
) -> Iterator[Row | UnreadableRow]:
    """The responses of a log, each learner's in their order.

    Args:
        path: the file, gzip-compressed or not, in UTF-8, possibly mixed with Latin-1.
        source: the source of the events.
        observe_bytes: see ObserveBytes.

    Raises:
        FileUnusableError: when it cannot be read, or its header has neither form.
    """
    table = _Table(path, observe_bytes)
    if "order_id" in table.columns:
        table.check_header("raw export", RAW_COLUMNS, _RAW_NEEDED)
        return _responses(_sorted_by_order(table.rows("order_id")), "order_id", source, _is_same_order)
    table.check_header("merged form", MERGED_COLUMNS, _MERGED_NEEDED)
    return _responses(table.rows("seq"), "seq", source, _is_new_skill)


class _Table:
    """A file of comma-separated values with a header."""

    def __init__(self, path: Path, observe_bytes: ObserveBytes) -> None:
        self._path = path
        self._reader = csv.reader(_text(path, observe_bytes))
        header = next(self._reader, None)
        if header is None:
            raise FileUnusableError(f"{path} is empty: it needs a header and rows")
        self.columns = [column.strip() for column in header]

    def check_header(self, form: str, known: Sequence[str], needed: Sequence[str]) -> None:
        """Raise FileUnusableError when the header is not of this form."""
        named = [column for column in self.columns if column not in _INDEX_COLUMNS]
        remedy = "check --format, or bring the events as --format ndjson"
        if missing := [column for column in needed if column not in named]:
            raise FileUnusableError(
                f"the header of {self._path} lacks the columns {', '.join(missing)} of the ASSISTments {form}: {remedy}"
            )
        if unknown := [column for column in named if column not in known]:
            raise FileUnusableError(
                f"the header of {self._path} has columns that the ASSISTments {form} does not have: "
                f"{', '.join(unknown)}: remove them, or {remedy}"
            )
        if len(set(named)) < len(named):
            repeated = sorted({column for column in named if named.count(column) > 1})
            raise FileUnusableError(f"the header of {self._path} repeats {', '.join(repeated)}: name each column once")

    def rows(self, sequence: str) -> Iterator[tuple[int, _Values] | UnreadableRow]:
        """Each valid row with the line it starts on; `sequence` is the column of the source's order."""
        while True:
            line = self._reader.line_num + 1
            try:
                values = next(self._reader, None)
            except csv.Error as error:
                reason = f"is not a row of a table, up to line {self._reader.line_num} ({error}): fix its quotes"
                yield UnreadableRow(line, (FieldReason("", reason),), None)
                continue
            if values is None:
                return
            if not values:
                continue
            if len(values) != len(self.columns):
                reason = f"has {len(values)} columns, the header {len(self.columns)}: fix its commas and quotes"
                yield UnreadableRow(line, (FieldReason("", reason),), values)
                continue
            row = dict(zip(self.columns, values, strict=True))
            problems = tuple(_problems_of(row, sequence))
            yield UnreadableRow(line, problems, row) if problems else (line, row)


def _text(path: Path, observe_bytes: ObserveBytes) -> Iterator[str]:
    for line in lines_of(path, observe_bytes):
        if line.too_long:
            # A single column, which no row of such a log has, so the row is reported as unreadable with this content.
            yield f"(a line of more than {LINE_BYTES_MAX} bytes)\n"
            continue
        try:
            yield line.content.decode() + "\n"
        except UnicodeDecodeError:
            yield line.content.decode("latin-1") + "\n"


def _problems_of(row: _Values, sequence: str) -> Iterator[FieldReason]:
    for name in ("user_id", "problem_id"):
        if row[name].strip() in _ABSENT:
            yield FieldReason(name, f"is {row[name]!r}: every response needs one")
    if not (row[sequence].strip().isdecimal() and int(row[sequence]) < 2**63):
        yield FieldReason(sequence, f"is {_shown(row[sequence])}: it must be a whole number")
    if _number(row["correct"]) is None:
        yield FieldReason("correct", f"is {_shown(row['correct'])}: it must be a number from 0 to 1")
    for name in ("hint_count", "ms_first_response"):
        value = row.get(name, "").strip()
        if value not in _ABSENT and _number(value) is None:
            yield FieldReason(name, f"is {_shown(value)}: it must be a number, or empty when it was not taken")


def _sorted_by_order(
    rows: Iterable[tuple[int, _Values] | UnreadableRow],
) -> Iterator[tuple[int, _Values] | UnreadableRow]:
    """Unreadable rows first, then the others sorted by order_id on disk."""
    # An empty name is a private database, which SQLite keeps in a temporary file and removes.
    with closing(sqlite3.connect("")) as database:
        database.execute("CREATE TABLE row (order_id INTEGER, line INTEGER, content BLOB)")
        for row in rows:
            if isinstance(row, UnreadableRow):
                yield row
                continue
            line, values = row
            order_id = int(values["order_id"])
            database.execute("INSERT INTO row VALUES (?, ?, ?)", (order_id, line, orjson.dumps(values)))
        for line, content in database.execute("SELECT line, content FROM row ORDER BY order_id, line"):
            yield line, orjson.loads(content)


def _is_same_order(response: _Response, row: _Values) -> bool:
    return response.rows[0]["order_id"] == row["order_id"]


def _is_new_skill(response: _Response, row: _Values) -> bool:
    return bool(response.skills) and not set(_skills_of(row)) <= set(response.skills)


def _responses(
    rows: Iterable[tuple[int, _Values] | UnreadableRow],
    sequence: str,
    source: str,
    continues: Callable[[_Response, _Values], bool],
) -> Iterator[Row | UnreadableRow]:
    """Join the rows of each response: adjacent rows with the same answer for which `continues` is true."""
    response: _Response | None = None
    for entry in rows:
        if isinstance(entry, UnreadableRow):
            yield entry
            continue
        line, row = entry
        if response is not None and _is_same_answer(response.rows[0], row) and continues(response, row):
            response.rows.append(row)
            response.skills += [skill for skill in _skills_of(row) if skill not in response.skills]
            continue
        if response is not None:
            yield _row_of(response, sequence, source)
        response = _Response(line, [row], _skills_of(row))
    if response is not None:
        yield _row_of(response, sequence, source)


def _is_same_answer(one: _Values, other: _Values) -> bool:
    return all(one[name] == other[name] for name in ("user_id", "problem_id", "correct"))


def _skills_of(row: _Values) -> list[str]:
    name = row["skill_name"].strip()
    # A name repeats throughout the file.
    return [] if name in _ABSENT else [sys.intern(name)]


def _row_of(response: _Response, sequence: str, source: str) -> Row:
    row = response.rows[0]
    correct = _number(row["correct"])
    if correct is None:
        raise AssertionError("a row without a number for correct passed the check")
    activity = row.get("sequence_id", "").strip()
    submission = Submission(
        learner_id=row["user_id"].strip(),
        source=source,
        source_sequence=row[sequence].strip(),
        body=Assessment(
            item=row["problem_id"].strip(),
            activity="" if activity in _ABSENT else activity,
            skills=tuple(response.skills),
            # Partial credit is points; the service rejects what is outside the scale.
            outcome=correct == 1 if correct in (0, 1) else Score(correct, 0.0, 1.0),
            hints=_uint32(row.get("hint_count", "")),
            duration_ms=_uint32(row.get("ms_first_response", "")),
        ),
    )
    return Row(response.line, submission, response.rows)


def _uint32(text: str) -> int | None:
    number = _number(text)
    return None if number is None or not 0 <= number <= _UINT32_MAX else int(number)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _shown(value: str) -> str:
    return repr(value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "...")
