"""`cairn ingest sources`, and the known sources of the files that `cairn ingest load` reads."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from services.common.command_line import BAD_INPUT, fail
from services.common.tables import FileUnusableError
from services.common.tables.lines import require_file
from services.ingest.cli.file_options import FileOptions
from services.ingest.formats import Format, format_of, is_table
from services.ingest.formats.mapping.model import with_default_zone
from services.ingest.formats.sources import Source, known_sources, recognised, source_named

Name = Annotated[str, typer.Argument(help="Print the mapping and the notes of this source.")]


def list_sources(name: Name = "") -> None:
    """List the exports whose mappings come with Cairn, or print one of these mappings to copy and change."""
    try:
        if name:
            typer.echo(_described(_named(name)), nl=False)
            return
        sources = known_sources()
    except FileUnusableError as error:
        fail(str(error), BAD_INPUT)
    table = Table(box=None, pad_edge=False)
    for heading in ("source", "export", "recognised"):
        table.add_column(heading)
    for source in sources:
        table.add_row(source.name, source.title, "yes" if source.recognised_by else "no")
    Console(highlight=False).print(table)


def options_for(file: Path, options: FileOptions, time_zone: str | None, console: Console) -> FileOptions:
    """How a file is read: as a known source where `--source` names one or its columns are those of one.

    Args:
        file: the file.
        options: as the command has them.
        time_zone: of times without one, where the mapping names none.
        console: to say which source was recognised on.

    Raises:
        FileUnusableError: when the file is a pipe, may be of several sources or needs a mapping, or one is invalid.
    """
    if file.exists():
        require_file(file)
    file_format = options.file_format or _format_by_name(file)
    source = None
    named = source_named(options.source) if options.mapping is None else None
    if named is not None and named.format and options.file_format in (None, named.format):
        return replace(options, file_format=Format(named.format), profile=named.profile())
    if options.mapping is None and (file_format is None or is_table(file_format)):
        source = source_named(options.source) or (None if file_format is None else _recognised(file, console))
    if source is not None:
        mapping, file_format = source.mapping(), file_format or Format.CSV
        options = replace(options, file_format=file_format, mapping=mapping, sequences=source.sequences, source="")
    elif options.mapping is None and options.source and file_format is not None and is_table(file_format):
        raise FileUnusableError(
            f"{file} is a table, and there is no source {options.source!r}{_hint(options.source)}: choose one of "
            f"`cairn ingest sources`, or add --mapping FILE, which `cairn ingest mapping --sample {file}` proposes"
        )
    if options.mapping is not None:
        options = replace(options, mapping=with_default_zone(options.mapping, time_zone))
    return options


def _format_by_name(file: Path) -> Format | None:
    try:
        return format_of(file)
    except FileUnusableError:
        # The load says so, unless a known source is named.
        return None


def _recognised(file: Path, console: Console) -> Source | None:
    found = recognised(file)
    if len(found) > 1:
        raise FileUnusableError(
            f"{file} may be an export of {' or '.join(source.name for source in found)}: say which with --source"
        )
    if not found:
        return None
    console.print(f"{file}: recognised as {found[0].name}", soft_wrap=True)
    return found[0]


def _named(name: str) -> Source:
    source = source_named(name)
    if source is None:
        fail(f"there is no source {name!r}{_hint(name)}: `cairn ingest sources` lists them", BAD_INPUT)
    return source


def _hint(name: str) -> str:
    close = get_close_matches(name, [known.name for known in known_sources()], n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _described(source: Source) -> str:
    """The mapping of a source, with its notes as comments."""
    notes = (source.folder / "notes.md").read_text(encoding="utf-8").splitlines()
    comments = "".join(f"# {line}".rstrip() + "\n" for line in notes)
    if source.sequences is not None or not source.mapping_path.exists():
        return f"{comments}\n# It has no mapping: load it with --source {source.name}.\n"
    return f"{comments}\n{source.mapping_path.read_text(encoding='utf-8')}"
