"""Proposing a mapping for a table, from its header and its first rows."""

from __future__ import annotations

import codecs
import csv
import itertools
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from services.common.tables.lines import FileUnusableError, opened
from services.common.tables.text import text_lines

_SAMPLE_ROWS = 200
_SAMPLE_BYTES = 256 * 1024
_DELIMITERS = ",;\t|"
_SKILL_SEPARATORS = ("~~", ";", "|", ",")

# Names of columns, most specific first; compared without case and punctuation.
_NAMES: dict[str, tuple[str, ...]] = {
    "learner_id": (
        "learnerid", "studentid", "userid", "anonstudentid", "learner", "student", "pupilid", "pupil", "user",
        "sisid", "stateid", "email",
    ),
    "item": ("itemid", "questionid", "problemid", "stepid", "item", "question", "problem", "problemname"),
    "activity": (
        "activityid", "assignmentid", "quizid", "testid", "assessmentid", "activity", "assignment", "quiz", "test",
        "assessment", "lesson",
    ),
    "skills": (
        "skills", "skill", "standards", "standard", "skillname", "standardcode", "kc", "knowledgecomponent", "concept",
        "objective", "tags",
    ),
    "correct": ("correct", "iscorrect", "right", "outcome", "result", "firstattempt"),
    "score": ("score", "points", "pointsearned", "earned", "mark", "grade", "rawscore"),
    "score_max": ("maxscore", "scoremax", "pointspossible", "possible", "maxpoints", "outof", "total"),
    "occurred_at": (
        "occurredat", "timestamp", "submittedat", "answeredat", "completedat", "datetime", "time", "date", "submitted",
        "createdat",
    ),
    "event_id": ("eventid", "responseid", "attemptid", "submissionid", "transactionid", "uuid"),
    "source_sequence": ("rowid", "sequence", "seq", "orderid", "id", "row"),
    "attempt": ("attempt", "attemptnumber", "attemptno", "tries", "try"),
    "hints": ("hints", "hintcount", "hintsused"),
    "duration": ("duration", "durationms", "timespent", "seconds", "elapsed", "responsetime", "latency", "durations"),
}  # fmt: skip

_DATE_FORMATS = (
    "iso", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%m/%d/%Y", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y",
    "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d", "%m/%d/%y %H:%M",
    "%b %d, %Y %I:%M %p", "%m/%d/%Y %I:%M %p", "%m/%d/%Y %I:%M:%S %p",
)  # fmt: skip
_OUTCOME_WORDS = {"0", "1", "0.0", "1.0", "true", "false", "yes", "no", "y", "n", "t", "f", "correct", "incorrect",
                  "right", "wrong"}  # fmt: skip


def propose_mapping(path: Path) -> str:
    """A mapping file for a table, in YAML, with comments on what to check before loading.

    Args:
        path: delimited text, gzip-compressed or not, or Parquet.

    Raises:
        FileUnusableError: when it cannot be read.
    """
    if path.suffix.lower() == ".parquet":
        columns, rows = _parquet_sample(path)
        lines = [f"# Proposed from {path.name}: check every line, then: cairn ingest load {path.name} --mapping THIS"]
    else:
        encoding = _encoding_of(path)
        sample = list(itertools.islice(text_lines(path, encoding, lambda _: None), _SAMPLE_ROWS))
        delimiter = _delimiter_of(sample)
        table = [row for row in csv.reader(sample, delimiter=delimiter) if row]
        if not table:
            raise FileUnusableError(f"{path} is empty: it needs a header and rows")
        columns, rows = [name.strip() for name in table[0]], [row for row in table[1:] if len(row) == len(table[0])]
        lines = [
            f"# Proposed from {path.name}: check every line, then: cairn ingest load {path.name} --mapping THIS",
            f"encoding: {encoding}",
            f"delimiter: {_quoted(delimiter)}",
        ]
    return "\n".join([*lines, *_fields(columns, rows), ""])


def _fields(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    values = {name: [row[index].strip() for row in rows if row[index].strip()] for index, name in enumerate(columns)}
    found = _columns_of(columns, values)
    lines = ["columns:"]
    for field in _NAMES:
        if field in found:
            example = next(iter(values[found[field]]), "")
            lines.append(f"  {field}: {_quoted(found[field])}  # for example {_quoted(example[:40])}")
    lines += _missing(found)
    if unused := [name for name in columns if name not in found.values()]:
        lines.append(f"  # not used: {', '.join(unused)}")
    lines += ["constants:", "  source: FILL-IN  # the system that these responses come from"]
    return lines + _value_formats(found, values)


def _missing(found: Mapping[str, str]) -> list[str]:
    needed = []
    if "learner_id" not in found:
        needed.append("  # learner_id: the column that identifies the learner (required)")
    if not {"item", "activity"} & found.keys():
        needed.append("  # item: the question; or activity: the quiz or lesson (one is required)")
    if not {"correct", "score"} & found.keys():
        needed.append("  # correct: right or wrong; or score: points (one is required)")
    return needed


def _value_formats(found: Mapping[str, str], values: Mapping[str, Sequence[str]]) -> list[str]:
    lines = []
    if "score" in found and "score_max" not in found:
        lines.append(f"score_max: {_scale_of(values[found['score']]):g}  # the most points one can get")
    if "skills" in found:
        lines.append(f"skills_separator: {_quoted(_separator_of(values[found['skills']]))}")
    if "occurred_at" in found:
        date_format, has_zone = _date_format_of(values[found["occurred_at"]])
        lines.append(f"date_format: {_quoted(date_format)}")
        if not has_zone:
            lines.append("time_zone: UTC  # of times without one, for example America/Chicago")
    if "duration" in found:
        lines.append("duration_unit: ms  # or s, or min")
    return lines


def _columns_of(columns: Sequence[str], values: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Column by field; each column is used once, and the most specific name wins."""
    by_name: dict[str, str] = {}
    for name in columns:
        by_name.setdefault(_plain(name), name)
    found: dict[str, str] = {}
    for field, names in _NAMES.items():
        for name in names:
            column = by_name.get(name)
            if column is not None and column not in found.values():
                found[field] = column
                break
    if "correct" in found and not _are_outcomes(values[found["correct"]]):
        # A column called result may hold points.
        column = found.pop("correct")
        found.setdefault("score", column)
    if "correct" in found:
        found.pop("score", None)
        found.pop("score_max", None)
    return found


def _are_outcomes(cells: Sequence[str]) -> bool:
    return all(cell.casefold() in _OUTCOME_WORDS for cell in cells)


def _scale_of(cells: Sequence[str]) -> float:
    numbers = [float(cell) for cell in cells if re.fullmatch(r"-?\d+(\.\d+)?", cell)]
    highest = max(numbers, default=100.0)
    return next((scale for scale in (1.0, 4.0, 5.0, 10.0, 20.0, 100.0) if highest <= scale), highest)


def _separator_of(cells: Sequence[str]) -> str:
    return next((sign for sign in _SKILL_SEPARATORS if any(sign in cell for cell in cells)), ";")


def _date_format_of(cells: Sequence[str]) -> tuple[str, bool]:
    """The format of times, and whether they have a zone."""
    if cells and all(re.fullmatch(r"\d{9,10}(\.\d+)?", cell) for cell in cells):
        return "unix", True
    if cells and all(re.fullmatch(r"\d{12,13}", cell) for cell in cells):
        return "unix_ms", True
    for date_format in _DATE_FORMATS:
        try:
            moments = [
                datetime.fromisoformat(cell) if date_format == "iso" else datetime.strptime(cell, date_format)  # noqa: DTZ007 - only whether it can be read matters.
                for cell in cells
            ]
        except ValueError:
            continue
        return date_format, bool(moments) and all(moment.tzinfo is not None for moment in moments)
    return "iso", False


def _encoding_of(path: Path) -> str:
    try:
        with opened(path) as (_, file):
            content = file.read(_SAMPLE_BYTES)
    except OSError as error:
        raise FileUnusableError(f"{path} cannot be read: {error.strerror or error}") from error
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        # Not final: the sample may end inside a character.
        codecs.getincrementaldecoder("utf-8")().decode(content)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _delimiter_of(lines: Sequence[str]) -> str:
    header = lines[0] if lines else ""
    return max(_DELIMITERS, key=header.count)


def _parquet_sample(path: Path) -> tuple[list[str], list[list[str]]]:
    import pyarrow as pa  # noqa: PLC0415 - it takes a third of a second to import.
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above.

    try:
        file = pq.ParquetFile(path)
        batch = next(file.iter_batches(_SAMPLE_ROWS), None)
    except (OSError, pa.ArrowInvalid) as error:
        raise FileUnusableError(f"{path} cannot be read as Parquet: {error}") from error
    columns = list(file.schema_arrow.names)
    rows = [] if batch is None else batch.to_pylist()
    return columns, [["" if row[name] is None else str(row[name]) for name in columns] for row in rows]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _quoted(text: str) -> str:
    """The text as a quoted YAML scalar."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t")
    return f'"{escaped}"'
