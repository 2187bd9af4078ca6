"""Tables as a mapping reads them, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from services.ingest.application.ports import FileRow, LeftOutRow, Row, UnreadableRow
from services.ingest.domain.submission import Submission
from services.ingest.formats import Format, read_events
from services.ingest.formats.mapping.model import parse_mapping


def mapped(folder: Path, content: str, mapping: dict[str, Any], name: str = "table.csv") -> list[FileRow]:
    """What a mapping makes of a table of comma-separated text."""
    path = folder / name
    path.write_text(content, encoding="utf-8", newline="")
    return list(read_events(path, Format.CSV, "gradebook", mapping=parse_mapping(mapping, Path("mapping.yaml"))))


def submissions(rows: list[FileRow]) -> list[Submission]:
    """The events of rows, none of which has a problem."""
    assert not [row for row in rows if isinstance(row, UnreadableRow)], rows
    return [row.submission for row in rows if isinstance(row, Row)]


def reasons(rows: list[FileRow]) -> list[tuple[int, str]]:
    """The rows that were left out, and why."""
    return [(row.line, row.reason) for row in rows if isinstance(row, LeftOutRow)]


def problems(rows: list[FileRow]) -> list[tuple[int, str, str]]:
    """Line, field and reason of each problem."""
    unreadable = [row for row in rows if isinstance(row, UnreadableRow)]
    return [(row.line, found.field, found.reason) for row in unreadable for found in row.problems]
