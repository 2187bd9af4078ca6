"""Known sources: exports whose mappings come with Cairn, each a folder of data in `services/ingest/sources`.

A folder holds `source.yaml` (see `Source`), `mapping.yaml` unless the source is a text of sequences or JSON documents
that bend nothing, at least one sample, `expected.ndjson` with what the samples must become, and `notes.md`.
`docs/sources.md` tells how to add one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.common.tables import FileUnusableError, Layout, ObserveBytes, open_table
from services.common.tables.sources import FileKind, source_of
from services.ingest.application.ports import FileRow
from services.ingest.formats.event_documents import read_event_documents
from services.ingest.formats.mapping import read_table
from services.ingest.formats.mapping.model import FileMapping, load_mapping, read_yaml, with_default_zone
from services.ingest.formats.producers import Expressions
from services.ingest.formats.sequences import SequenceLayout, read_sequences

FOLDER = Path(str(files("services.ingest"))) / "sources"


class Refused(BaseModel):
    """A row of the samples that must be refused: its line, and the fields that are wrong with it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample: str
    line: int
    fields: tuple[str, ...]


class Samples(BaseModel):
    """What the samples show besides `expected.ndjson`.

    Attributes:
        time_zone: to read them with, where the export does not say it.
        left_out: how many rows, or cells of wide tables, are left out for each reason.
        refused: the rows that are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    time_zone: str | None = None
    left_out: dict[str, int] = Field(default={})
    refused: tuple[Refused, ...] = ()


class Source(BaseModel):
    """A known source.

    Attributes:
        folder: where its data is.
        title: what it is, for people.
        documentation: the address of the public page or code that its form was learnt from.
        seen: which version or date of it that was.
        recognised_by: regular expressions, each of which must be the whole name of a column, in upper or lower case;
            empty: it must be named.
        sequences: how it is read, where it is a text of sequences; None: as a table, by `mapping.yaml`.
        format: of its JSON documents, where `mapping.yaml` says what this producer bends; empty: they are none.
        samples: what its samples show.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path
    title: str = Field(min_length=1)
    documentation: str = Field(pattern="^https?://")
    seen: str = Field(min_length=1)
    recognised_by: Expressions
    sequences: SequenceLayout | None = None
    format: Literal["", "xapi", "caliper", "openedx"] = ""
    samples: Samples = Samples()

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.name

    @property
    def mapping_path(self) -> Path:
        """The file of its mapping."""
        return self.folder / "mapping.yaml"

    def mapping(self) -> FileMapping | None:
        """How its tables become events; None where it has none. Raises FileUnusableError when it is invalid."""
        return None if self.sequences is not None or self.format else load_mapping(self.mapping_path)

    def profile(self) -> Path | None:
        """What it bends in the format of its documents; None: nothing."""
        return self.mapping_path if self.format and self.mapping_path.exists() else None

    def recognises(self, columns: Sequence[str]) -> bool:
        """Whether a table with these columns is its export."""
        patterns = [re.compile(pattern, re.IGNORECASE) for pattern in self.recognised_by]
        return bool(patterns) and all(any(pattern.fullmatch(column) for column in columns) for pattern in patterns)

    def sample_paths(self) -> list[Path]:
        """Its samples, in order."""
        return sorted(self.folder.glob("sample*"), key=lambda path: path.stem)


def read_source(
    path: Path, source: Source, time_zone: str | None = None, observe_bytes: ObserveBytes = lambda _: None
) -> Iterator[FileRow]:
    """The events of a known source's export.

    Args:
        path: the file.
        source: whose export it is.
        time_zone: of times that have none and for which the mapping names none.
        observe_bytes: see ObserveBytes.

    Raises:
        FileUnusableError: when it cannot be read, or is another export.
    """
    if source.sequences is not None:
        return read_sequences(path, source.sequences, observe_bytes=observe_bytes)
    if source.format:
        return read_event_documents(source.format, path, source.name, observe_bytes, source.profile())
    return read_table(path, with_default_zone(load_mapping(source.mapping_path), time_zone), "", observe_bytes)


@cache
def known_sources(folder: Path = FOLDER) -> tuple[Source, ...]:
    """Every known source, by name.

    Args:
        folder: that holds their folders.

    Raises:
        FileUnusableError: when a source.yaml is invalid; the message names the key and the remedy.
    """
    return tuple(_source(path.parent) for path in sorted(folder.glob("*/source.yaml")))


def source_named(name: str, folder: Path = FOLDER) -> Source | None:
    """The known source of this name; None: there is none. Raises as `known_sources`."""
    return next((source for source in known_sources(folder) if source.name == name), None)


def recognised(path: Path, folder: Path = FOLDER) -> list[Source]:
    """The known sources whose export a file is, by the columns of its table; usually one or none.

    Raises:
        FileUnusableError: when a known source's files are invalid; not when the file cannot be read.
    """
    by_layout: dict[str, tuple[Layout, list[Source]]] = {}
    keys = _LAYOUT if _may_be_text(path) else _LAYOUT - _OF_TEXT
    for source in known_sources(folder):
        mapping = source.mapping()
        if mapping is not None and source.recognised_by:
            layout = Layout.model_validate({key: getattr(mapping, key) for key in mapping.model_fields_set & keys})
            by_layout.setdefault(layout.model_dump_json(), (layout, []))[1].append(source)
    return sorted(_matching(path, by_layout.values()), key=lambda source: source.name)


_LAYOUT = frozenset(Layout.model_fields)
# Opening another file starts a process: layouts that differ in these only are one there.
_OF_TEXT = {"delimiter", "encoding", "quote"}


def _may_be_text(path: Path) -> bool:
    try:
        return source_of(path, None).kind() is FileKind.TEXT
    except FileUnusableError:
        # A zip file of several tables, or one that no layout opens.
        return True


def _matching(path: Path, candidates: Any) -> Iterator[Source]:
    for layout, sources in candidates:
        try:
            columns = open_table(path, layout).columns
        except FileUnusableError:
            # It is not in this layout.
            continue
        yield from (source for source in sources if source.recognises(columns))


def _source(folder: Path) -> Source:
    path = folder / "source.yaml"
    content = read_yaml(path, str(path))
    if not isinstance(content, dict):
        raise FileUnusableError(f"{path} does not hold keys and values: write title, documentation, seen and so on")
    try:
        return Source.model_validate({**content, "folder": folder})
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in error.errors(include_url=False)
        )
        raise FileUnusableError(f"{path} cannot be used: {problems}") from error
