"""The commands `cairn ingest ...`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.rule import Rule

from services.common.command_line import BAD_INPUT, fail
from services.common.rpc.addresses import is_loopback
from services.common.rpc.calls import ApiKeyFile, Insecure, api_key_from
from services.common.tables.lines import FileUnusableError
from services.ingest.application.file_figures import CatalogTags
from services.ingest.cli.catalog_option import TargetCatalog, catalog_tags
from services.ingest.cli.file_options import FileOptions
from services.ingest.cli.learner_options import LearnerOptions
from services.ingest.cli.load import Failure, FileLoad, Service, name_here
from services.ingest.cli.load_preview import print_preview
from services.ingest.cli.sources import list_sources, options_for
from services.ingest.formats import FORMATS_HELP, Format
from services.ingest.formats.mapping.model import load_mapping
from services.ingest.formats.proposal import propose_mapping
from services.ingest.formats.sources import recognised
from services.ingest.formats.together import Together

_SOME_REJECTED = 1

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Load events from files.")


@app.callback()
def _ingest() -> None:
    """Load events from files."""


_Files = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="Files of events; all but Parquet may be gzip-compressed.")
]
_FileFormat = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help=f"{FORMATS_HELP} By default the file's name determines the format.",
    ),
]
_Mapping = Annotated[
    Path | None,
    typer.Option(help="How the columns of a table become fields of events; `cairn ingest mapping` proposes one."),
]
_Aliases = Annotated[
    Path | None,
    typer.Option(help="A table of the ids of learners who have several: the id to use in the column `id`."),
]
_Suppress = Annotated[
    Path | None,
    typer.Option(help="A list of learners whose rows are left out, as `cairn learner erase --suppress` extends it."),
]
_Preview = Annotated[
    bool, typer.Option("--preview", help="Show ten rows as events and the first problems, and load nothing.")
]
_DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check every row, show counts and the first problems, and load nothing.")
]
_Resume = Annotated[
    bool, typer.Option("--resume", help="Continue an interrupted load of the same files in this folder.")
]
_Target = Annotated[str, typer.Option(envvar="CAIRN_TARGET_INGEST", help="host:port of the ingest service.")]
_Source = Annotated[
    str,
    typer.Option(
        help="A known source (`cairn ingest sources`), whose mapping is then used; else the source of events that name "
        "none. assistments has its own, assistments2009."
    ),
]
_TimeZone = Annotated[
    str | None,
    typer.Option(
        help="Where times without a time zone were recorded, as in America/Chicago, if the mapping says none."
    ),
]
_Problems = Annotated[
    Path | None,
    typer.Option(
        "--problems",
        "--rejected",
        help="Where rows that were not accepted go; by default FILE.rejected.ndjson in this folder for each file, with "
        "a mark of the file's folder where that is another one.",
    ),
]
_Limit = Annotated[
    int | None, typer.Option(min=1, help="Read only this many events of each file, with what is rejected or left out.")
]
_Streams = Annotated[int, typer.Option(min=1, max=64, help="Requests in flight at once.")]
_PatienceS = Annotated[float, typer.Option(min=0, help="Seconds to retry while the service or Kafka is unavailable.")]
_SummaryFile = Annotated[Path | None, typer.Option("--json", help="Also write the summary to this file.")]
_Tls = Annotated[
    bool, typer.Option("--tls", hidden=True, help="Use TLS to this machine, too. Others are always called with TLS.")
]


@app.command("load", epilog="Example: cairn ingest load term1.csv.gz term2.csv.gz --mapping gradebook.yaml")
def load_files(
    files: _Files,
    *,
    file_format: _FileFormat = None,
    mapping: _Mapping = None,
    aliases: _Aliases = None,
    suppress: _Suppress = None,
    time_zone: _TimeZone = None,
    preview: _Preview = False,
    dry_run: _DryRun = False,
    resume: _Resume = False,
    target: _Target = "127.0.0.1:50051",
    target_catalog: TargetCatalog = "",
    api_key_file: ApiKeyFile = None,
    source: _Source = "",
    problems: _Problems = None,
    limit: _Limit = None,
    streams: _Streams = 4,
    patience_s: _PatienceS = 60.0,
    summary_file: _SummaryFile = None,
    tls: _Tls = False,
    insecure: Insecure = False,
) -> None:
    """Load files of events through the ingest service, one after the other.

    Each learner's events keep the file's order. Loading a file again changes nothing: an event has its own id, or one
    derived from its source, learner, item, activity, skills, attempt, time and sequence, and from how many equal rows
    are before it. FILE.progress.json keeps the progress of a load until it is done; --resume continues from there.

    Rows are counted as new, unchanged (loaded before), revised (`revises` is true, and the row differs from the one
    loaded before), conflicts (it differs without `revises`; not written), rejected, and left out by the mapping.

    Exit codes: 0, all events were taken or left out. 1, some rows were rejected or conflict: see the file of problems.
    2, a file, its mapping or an option is unusable. 3, the service was unavailable or refused. 130, interrupted.
    """
    console = Console(highlight=False, markup=False)  # Names of files may have brackets.
    try:
        learners = _learners(aliases, suppress, write=not (preview or dry_run))
        own = None if mapping is None else load_mapping(mapping)
        read = FileOptions(file_format, own, source, limit, problems, resume, learners=learners, files=Together(files))
        options = [options_for(file, read, time_zone, console) for file in files]
    except FileUnusableError as error:
        fail(str(error), BAD_INPUT)
    catalog = catalog_tags(target_catalog, api_key_file, insecure=insecure)
    if preview:
        _preview(files, options, catalog, console)
        return
    loads = _loads_of(files, options, catalog)
    _keep_what_is_read(loads, mapping, learners, summary_file)
    if dry_run:
        failure = _check(loads, learners, console)
    else:
        tls = tls or not (insecure or is_loopback(target))
        service = Service(target, api_key_from(api_key_file), tls=tls, patience_s=patience_s, streams=streams)
        failure = _publish(loads, learners, service, console)
    _write_summary(summary_file, loads, learners)
    if failure is not None:
        fail(failure.message, failure.code)
    if any(load.progress.not_taken for load in loads):
        raise typer.Exit(_SOME_REJECTED)


app.command("sources", epilog="Example: cairn ingest sources canvas-gradebook > gradebook.yaml")(list_sources)


@app.command("mapping", epilog="Example: cairn ingest mapping --sample term1.csv --source gradebook > gradebook.yaml")
def propose(
    *,
    sample: Annotated[Path, typer.Option(help="A table: delimited text, a workbook, Parquet or a zip file of one.")],
    source: Annotated[str, typer.Option(help="The system that the events come from, in a word.")] = "",
    sheet: Annotated[str | None, typer.Option(help="The sheet of a workbook that has several.")] = None,
    member: Annotated[str | None, typer.Option(help="The file inside a zip file that holds several.")] = None,
) -> None:
    """Propose a mapping for a table, from its columns and a sample of the whole file, for a person to check.

    The mapping is printed on standard output. A comment says what each line rests on. What the table cannot say is left
    as FILL-IN with the question next to it, and no load accepts that; columns that are not used are listed at the end.
    """
    try:
        proposed = propose_mapping(sample, source, member=member, sheet=sheet)
        for known in recognised(sample):
            typer.echo(f"{sample} is recognised as {known.name}: it can be loaded without a mapping", err=True)
    except FileUnusableError as error:
        fail(str(error), BAD_INPUT)
    typer.echo(proposed, nl=False)


def _loads_of(files: Sequence[Path], options: Sequence[FileOptions], catalog: CatalogTags) -> list[FileLoad]:
    names = [name_here(file) for file in files]
    if repeated := sorted({str(file) for file, name in zip(files, names, strict=True) if names.count(name) > 1}):
        fail(f"{', '.join(repeated)} is given more than once: name each file once", BAD_INPUT)
    return [FileLoad(file, read, catalog, first=file is files[0]) for file, read in zip(files, options, strict=True)]


def _learners(aliases: Path | None, suppress: Path | None, *, write: bool) -> LearnerOptions | None:
    if aliases is None and suppress is None:
        return None
    unmatched_of = (lambda file: Path(f"{name_here(file)}.unmatched.ndjson")) if write else None
    return LearnerOptions(aliases, suppress, unmatched_of)


def _keep_what_is_read(
    loads: Sequence[FileLoad], mapping: Path | None, learners: LearnerOptions | None, summary_file: Path | None
) -> None:
    """Refuse to write over a file that is to be read: its rows would be gone, and the load would have none of them."""
    read = [file for load in loads for file in load.read] + ([] if mapping is None else [mapping])
    written = {path for load in loads for path in load.written}
    if learners is not None:
        read += learners.paths
        written |= {path for load in loads for path in learners.written(load.file)}
    for path in (*written, *([] if summary_file is None else [summary_file])):
        if any(_is_same_file(path, other) for other in read):
            fail(
                f"{path} is read, and would be written over: rename it, or choose another --problems or --json",
                BAD_INPUT,
            )
    if summary_file is not None and any(_is_same_file(summary_file, path) for path in written):
        fail(f"{summary_file} cannot hold both the summary and rows or progress: choose another --json", BAD_INPUT)


def _is_same_file(one: Path, other: Path) -> bool:
    return one.absolute() == other.absolute() or (one.exists() and other.exists() and one.samefile(other))


def _preview(files: Sequence[Path], options: Sequence[FileOptions], catalog: CatalogTags, console: Console) -> None:
    try:
        wrong = 0
        for file, read in zip(files, options, strict=True):
            wrong += print_preview(file, read, catalog, console)
            if read.learners is not None:
                read.learners.print_counts(file, console)
    except FileUnusableError as error:
        fail(str(error), BAD_INPUT)
    if wrong:
        raise typer.Exit(_SOME_REJECTED)


def _check(loads: Sequence[FileLoad], learners: LearnerOptions | None, console: Console) -> Failure | None:
    for load in loads:
        failure = load.check(console)
        _print_result(load, loads, learners, console, checked=True)
        load.print_problems(console)
        if failure is not None:
            return failure
    return None


def _publish(
    loads: Sequence[FileLoad], learners: LearnerOptions | None, service: Service, console: Console
) -> Failure | None:
    for load in loads:
        failure = load.publish(service, console)
        _print_result(load, loads, learners, console, checked=False)
        if failure is not None:
            return failure
    return None


def _print_result(
    load: FileLoad, loads: Sequence[FileLoad], learners: LearnerOptions | None, console: Console, *, checked: bool
) -> None:
    if not load.has_counts:
        return
    if len(loads) > 1:
        console.print(Rule(str(load.file), align="left"))
    console.print(load.table(checked=checked))
    if learners is not None:
        learners.print_counts(load.file, console)
    load.print_warnings(console)


def _write_summary(path: Path | None, loads: Sequence[FileLoad], learners: LearnerOptions | None) -> None:
    if path is None:
        return
    parts = [
        load.summary() | ({} if learners is None else learners.summary(load.file)) for load in loads if load.has_counts
    ]
    content: object = parts[0] if len(loads) == 1 and parts else {"files": parts}
    try:
        path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    except OSError as error:
        fail(f"--json {path} cannot be written: {error.strerror}", BAD_INPUT)
