"""`cairn ingest load --preview`: the first rows as events, and what is wrong with them."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.ingest.application.check import CheckingPublisher
from services.ingest.application.file_figures import CatalogTags, FileFigures
from services.ingest.application.ports import FieldReason, LeftOutRow, Row, UnreadableRow
from services.ingest.cli.file_options import FileOptions
from services.ingest.cli.load_figures import figures_for_people
from services.ingest.domain.submission import BodySummary, Submission

_PROBLEMS_SHOWN = 10
_PREVIEW_ROWS = 10
_PREVIEW_READ = 1_000


@dataclass(slots=True)
class FirstProblems:
    """The first rows of a file that were not accepted: line and reason."""

    shown: list[tuple[int, str]] = field(default_factory=list)

    def note(self, line: int, problems: Sequence[FieldReason]) -> None:
        """Add a row while there is room."""
        if len(self.shown) < _PROBLEMS_SHOWN:
            first = problems[0] if problems else FieldReason("", "was not accepted")
            self.shown.append((line, f"{first.field} {first.reason}".strip()))

    def print(self, console: Console, file: str = "") -> None:
        """One line for each row."""
        for line, reason in self.shown:
            console.print(
                Text(f"  {file} line {line}: {reason}" if file else f"  line {line}: {reason}"), soft_wrap=True
            )


def print_preview(file: Path, options: FileOptions, catalog: CatalogTags, console: Console) -> int:
    """Show the first rows as events, and what the first thousand hold and what is wrong with them.

    Args:
        file: the file.
        options: how to read it.
        catalog: to which its skills, items and activities are compared.
        console: where to show them.

    Returns:
        How many of the first thousand have problems.

    Raises:
        FileUnusableError: when the file or its mapping cannot be used.
    """
    figures = FileFigures(catalog)
    rows = list(itertools.islice(figures.watch(options.read(file, lambda _: None)), _PREVIEW_READ))
    left_out = Counter(row.reason for row in rows if isinstance(row, LeftOutRow))
    submissions = [row.submission for row in rows if isinstance(row, Row)]
    results = iter(asyncio.run(CheckingPublisher(lambda: datetime.now(UTC)).publish(submissions)))
    problems = FirstProblems()
    wrong = 0
    table = Table(title=file.name, title_justify="left")
    for heading in ("line", "learner", "what", "skills or resource", "outcome", "when", "source"):
        table.add_column(heading, overflow="fold", justify="right" if heading == "line" else "left")
    for row in rows:
        if isinstance(row, LeftOutRow):
            continue
        if isinstance(row, UnreadableRow):
            found: Sequence[FieldReason] = row.problems
        else:
            found = row.named(next(results).problems)
            if table.row_count < _PREVIEW_ROWS:
                table.add_row(str(row.line), *(Text(cell) for cell in _cells(row.submission)))
        if found:
            wrong += 1
            problems.note(row.line, found)
    console.print(table)
    counts = Table(box=None, show_header=False, pad_edge=False)
    counts.add_row(f"of the first {len(rows):,} rows")
    for reason, count in left_out.items():
        counts.add_row("left out", f"{count:,}", Text(reason))
    for name, count_shown, remark in figures_for_people(figures, options.time_zone):
        counts.add_row(name, count_shown, Text(remark))
    console.print(counts)
    console.print(f"{wrong:,} of the first {len(rows):,} rows have problems{':' if wrong else ''}", soft_wrap=True)
    problems.print(console)
    return wrong


def _cells(submission: Submission) -> tuple[str, ...]:
    when = ""
    if submission.occurred_at is not None:
        when = datetime.fromtimestamp(submission.occurred_at.seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    body = BodySummary("nothing") if submission.body is None else submission.body.summary()
    return submission.learner_id, body.what, body.about, body.outcome, when, submission.source
