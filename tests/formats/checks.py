"""The expectations for a folder of payloads, and everything in which the reading of a file differs from them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from tests.formats.readers import READERS
from tests.formats.readings import Reading

FIXTURES = Path(os.environ.get("CAIRN_FIXTURES") or Path(__file__).parents[2].parent / "shared" / "fixtures")
EXPECTATIONS = Path(__file__).parent / "expectations"


class FileExpectation(BaseModel):
    """What one file must become; counts that are absent are 0.

    Attributes:
        taken: how many events, or other things, are taken.
        ignored: how many are left out knowingly.
        rejected: how many are refused.
        field: the path that the first problem of the first refused part must name.
        part: what the file is a part of; empty: it is a whole document. `as` in the file.
        events: what must be taken, in order: of each, the values that matter, by name. Empty: not compared.
        why: the reason, for people.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    taken: int = 0
    ignored: int = 0
    rejected: int = 0
    field: str = ""
    part: str = Field(default="", alias="as")
    events: tuple[dict[str, Any], ...] = ()
    why: str = ""


class Expectations(BaseModel):
    """What the files of a folder of fixtures must become.

    Attributes:
        folder: its name.
        reader: of READERS.
        basis: the specifications and documents that say so.
        skip: patterns of paths that are no payloads, each with the reason.
        files: by path within the folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str
    reader: str
    basis: str
    skip: dict[str, str] = {}
    files: dict[str, FileExpectation]

    def skipped(self, path: str) -> bool:
        """Whether a file is no payload."""
        return path == "SOURCES.md" or any(fnmatch(path, pattern) for pattern in self.skip)


@dataclass
class FolderReport:
    """What the files of a folder became.

    Attributes:
        expectations: what they had to become.
        checked: how many files were read.
        readings: by path.
        problems: by path, as sentences.
    """

    expectations: Expectations
    checked: int = 0
    readings: dict[str, Reading] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)


def all_expectations(folder: Path = EXPECTATIONS) -> list[Expectations]:
    """The expectations of every folder, by file name."""
    return [
        Expectations.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        for path in sorted(folder.glob("*.yaml"))
    ]


def report_of(expectations: Expectations, fixtures: Path = FIXTURES) -> FolderReport:
    """Read every payload of a folder, and compare it with what it must become."""
    report = FolderReport(expectations)
    folder = fixtures / expectations.folder
    present = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    payloads = [path for path in present if not expectations.skipped(path)]
    for path in sorted({*payloads, *expectations.files}):
        report.checked += 1
        problems = list(_file_problems(report, folder, path))
        if problems:
            report.problems[path] = problems
    return report


def _file_problems(report: FolderReport, folder: Path, path: str) -> Iterator[str]:
    expected = report.expectations.files.get(path)
    if expected is None:
        yield "nothing is expected of it: say what it must become"
        return
    if not (folder / path).is_file():
        yield "it is expected, and not there"
        return
    try:
        reading = READERS[report.expectations.reader](folder / path, expected.part)
    except (KeyError, ImportError) as error:
        if isinstance(error, KeyError) and error.args != (report.expectations.reader,):
            raise
        yield f"no reader {report.expectations.reader!r} is there to read it ({error})"
        return
    except Exception as error:  # noqa: BLE001 - what a reader must never do is what the report tells.
        yield f"the reader raised {type(error).__name__}: {error}"
        return
    report.readings[path] = reading
    yield from differences(expected, reading)


def differences(expected: FileExpectation, reading: Reading) -> Iterator[str]:
    """In what a reading differs from what was expected."""
    counts = {"taken": len(reading.taken), "ignored": reading.ignored.total(), "rejected": len(reading.rejected)}
    yield from (
        f"{kind}: {count}, expected {wanted}"
        for kind, count in counts.items()
        if count != (wanted := getattr(expected, kind))
    )
    fields = reading.rejected[0] if reading.rejected else ()
    if expected.field and expected.field != "".join(fields[:1]):
        yield f"the first problem names {', '.join(fields) or 'nothing'}, expected {expected.field}"
    if expected.events:
        yield from _event_differences(expected.events, reading.taken)


def _event_differences(expected: tuple[dict[str, Any], ...], taken: list[Mapping[str, Any]]) -> Iterator[str]:
    for number, (wanted, event) in enumerate(zip(expected, taken, strict=False), 1):
        for name, value in wanted.items():
            if event.get(name) != value:
                yield f"event {number}: {name} is {event.get(name)!r}, expected {value!r}"
