"""What a known source makes of its samples, and everything that is wrong with its folder."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from services.ingest.application.check import CheckingPublisher
from services.ingest.application.file_ordinals import with_ordinals
from services.ingest.application.ports import LeftOutRow, Row, UnreadableRow
from services.ingest.domain.kinds.assessment import Assessment
from services.ingest.domain.repeats import Outcome
from services.ingest.domain.submission import Submission, event_ids_of
from services.ingest.formats.ndjson import read_ndjson
from services.ingest.formats.sources import Source, read_source, recognised

# After every sample: the service refuses events of the future.
_NOW = datetime(2027, 1, 1, tzinfo=UTC)
_NOTES_LINES_MAX = 25


@dataclass
class Reading:
    """What the samples of a source become.

    Attributes:
        rows: how many rows they have.
        taken: the events that the service accepts, without their ordinals.
        ids: of these events.
        refused: sample, line and fields of each row that is refused.
        left_out: how many are left out, by reason.
    """

    rows: int = 0
    taken: list[Submission] = field(default_factory=list)
    ids: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, int, tuple[str, ...]]] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def skills(self) -> Counter[str]:
        """How many events are evidence of each skill."""
        bodies = [event.body for event in self.taken]
        return Counter(skill for body in bodies if isinstance(body, Assessment) for skill in body.skills)


def read_samples(source: Source) -> Reading:
    """Read every sample as `cairn ingest load` does, and check each event as the service does."""
    reading = Reading()
    publisher = CheckingPublisher(lambda: _NOW)
    for path in source.sample_paths():
        lines = set()
        for row in with_ordinals(read_source(path, source, source.samples.time_zone)):
            lines.add(row.line)
            match row:
                case LeftOutRow():
                    reading.left_out[row.reason] += 1
                case UnreadableRow():
                    reading.refused.append((path.name, row.line, tuple(entry.field for entry in row.problems)))
                case Row():
                    (result,) = asyncio.run(publisher.publish([row.submission]))
                    if result.outcome is Outcome.REJECTED:
                        reading.refused.append((path.name, row.line, tuple(entry.field for entry in result.problems)))
                        continue
                    event = row.submission.normalised()
                    reading.ids.append((event.learner_id, event_ids_of(event, "riverbend", event.learner_id)[0]))
                    reading.taken.append(replace(event, ordinal=0, former_id_taken=False))
        reading.rows += len(lines)
    return reading


def expected_events(source: Source) -> list[Submission]:
    """What the samples must become, in order."""
    rows = list(read_ndjson(source.folder / "expected.ndjson"))
    assert all(isinstance(row, Row) for row in rows), rows
    return [row.submission.normalised() for row in rows if isinstance(row, Row)]


def problems_of(source: Source, reading: Reading) -> Iterator[str]:
    """What is wrong with a source, as sentences."""
    yield from _folder_problems(source.folder)
    expected = expected_events(source)
    yield from (f"expected, and not read: {event}" for event in _without(expected, reading.taken))
    yield from (f"read, and not expected: {event}" for event in _without(reading.taken, expected))
    if not list(_without(expected, reading.taken)) and reading.taken != expected:
        yield "the events are those expected, in another order"
    left_out = Counter(source.samples.left_out)
    if reading.left_out != left_out:
        yield f"left out: {dict(reading.left_out)}, and not {dict(left_out)}"
    refused = [(entry.sample, entry.line, entry.fields) for entry in source.samples.refused]
    if reading.refused != refused:
        yield f"refused: {reading.refused}, and not {refused}"
    # Among events of a platform, a regrade has the id of what it replaces.
    regrades = [bool(source.format) and event.revises for event in reading.taken]
    ids = [own for own, is_regrade in zip(reading.ids, regrades, strict=True) if not is_regrade]
    if len(set(ids)) < len(ids):
        yield "two events have the same id, so that one of them would be lost"
    if reading.ids != read_samples(source).ids:
        yield "loading the samples again gives other events"
    for path in source.sample_paths():
        found = [other.name for other in recognised(path, source.folder.parent)]
        if source.recognised_by and found != [source.name]:
            yield f"{path.name} is recognised as {', '.join(found) or 'nothing'}"
        elif not source.recognised_by and (
            unnamed := [name for name in found if f"`{name}`" not in _notes_of(source.folder)]
        ):
            yield f"{path.name} is recognised as {', '.join(unnamed)}, and notes.md does not say so"


def report_line(source: Source, reading: Reading) -> str:
    """The counts of a source, and the skills with most evidence."""
    skills = ", ".join(f"{skill[:24]} {count}" for skill, count in reading.skills.most_common(2))
    return (
        f"{source.name:<28} {reading.rows:>4} {len(reading.taken):>6} {len(reading.refused):>8} "
        f"{reading.left_out.total():>9}  {skills}"
    )


def _folder_problems(folder: Path) -> Iterator[str]:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", folder.name):
        yield "its name is not lower-case words with hyphens"
    for name in ("expected.ndjson", "notes.md"):
        if not (folder / name).is_file():
            yield f"{name} is missing"
    if not list(folder.glob("sample*")):
        yield "there is no sample"
    if (folder / "notes.md").is_file() and len(_notes_of(folder).splitlines()) > _NOTES_LINES_MAX:
        yield f"notes.md has more than {_NOTES_LINES_MAX} lines"


def _notes_of(folder: Path) -> str:
    return (folder / "notes.md").read_text(encoding="utf-8")


def _without(events: list[Submission], others: list[Submission]) -> Iterator[Submission]:
    """The events that others lack, each as often as they lack it."""
    lacking = Counter(map(repr, others))
    for event in events:
        lacking[repr(event)] -= 1
        if lacking[repr(event)] < 0:
            yield event
