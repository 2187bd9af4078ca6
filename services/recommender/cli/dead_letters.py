"""The commands about dead letters: records of the log that could not be applied."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.common.command_line import BAD_INPUT, FAILED, fail
from services.common.kafka.envelope import LEARNER_EVENTS_DLT, Position
from services.recommender.application.operations.dead_letters import (
    FiledLetter,
    LetterMissingError,
    LetterOutcome,
    find_letter,
)
from services.recommender.bootstrap.dead_letters import letter_file, replay_dead_letters
from services.recommender.bootstrap.environment import SettingsError

_PREVIEW_BYTES = 256
_BYTES_PER_LINE = 16

_T = TypeVar("_T")

_EnvironmentFile = Annotated[
    Path, typer.Option("--env-file", help="Addresses for what the environment does not name; `make up` leaves it.")
]

_Topic = Annotated[
    str,
    typer.Option(
        "--topic", help="Topic of the letters; on Open edX's Kafka (CAIRN_KAFKA), that of the reader of its event bus."
    ),
]

app = typer.Typer(no_args_is_help=True, help="Look at records that could not be applied, and try them again.")


@app.callback()
def _describe() -> None:
    """Look at records that could not be applied, and try them again.

    Name a letter by the partition and the offset of its record in the log.
    """


@app.command("list", epilog="Example: cairn dlt list")
def list_letters(
    *,
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="Those that were replayed too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, without a limit.")] = False,
    topic: _Topic = LEARNER_EVENTS_DLT,
    environment_file: _EnvironmentFile = Path(".local/env"),
) -> None:
    """Show records that could not be applied: where they were in the log, and why."""
    found = [filed for filed in _letters(environment_file, topic) if everything or filed.replayed_to is None]
    if as_json:
        typer.echo(orjson.dumps([_as_json(filed) for filed in found], option=orjson.OPT_INDENT_2).decode())
        return
    table = Table(title=f"Dead letters: {len(found):,}", title_justify="left")
    for heading in ("topic", "partition", "offset", "bytes", "reason"):
        table.add_column(heading, justify="left" if heading in {"topic", "reason"} else "right", overflow="fold")
    for filed in found[:limit]:
        letter = filed.letter
        replayed = "" if filed.replayed_to is None else f" (replayed to {_place(filed.replayed_to)})"
        table.add_row(
            Text(filed.topic),
            str(letter.partition),
            str(letter.offset),
            str(len(letter.value or b"")),
            Text(f"{letter.code}: {letter.reason}{replayed}"),
        )
    Console(highlight=False).print(table)
    if len(found) > limit:
        typer.echo(f"{len(found) - limit:,} more; show them with --limit {len(found)}", err=True)


_Partition = Annotated[int, typer.Argument(min=0, metavar="PARTITION", help="The record's partition of the log.")]
_Offset = Annotated[int, typer.Argument(min=0, metavar="OFFSET", help="Its offset there.")]


@app.command("show", epilog="Example: cairn dlt show 2 10482 --value record.bin")
def show_letter(
    partition: _Partition,
    offset: _Offset,
    *,
    value: Annotated[Path | None, typer.Option(help="Write the original bytes to this file.")] = None,
    of: Annotated[str, typer.Option(help="The topic it was on, where several have letters of that place.")] = "",
    topic: _Topic = LEARNER_EVENTS_DLT,
    environment_file: _EnvironmentFile = Path(".local/env"),
) -> None:
    """Show one record that could not be applied: its key, its headers, its first bytes, and why."""
    filed = _run(lambda: find_letter(letter_file(environment_file, topic), Position(partition, offset), of))
    letter = filed.letter
    console = Console(highlight=False)
    facts = Table.grid(padding=(0, 2))
    facts.add_row("topic", Text(filed.topic))
    facts.add_row("place", _place(filed.origin))
    facts.add_row("reason", Text(f"{letter.code}: {letter.reason}"))
    facts.add_row("replayed to", "-" if filed.replayed_to is None else _place(filed.replayed_to))
    facts.add_row("key", Text(_readable(letter.key)))
    for name, content in letter.headers:
        facts.add_row(Text(f"header {name}"), Text(_readable(content)))
    facts.add_row("value", "none" if letter.value is None else f"{len(letter.value):,} bytes")
    console.print(facts)
    for line in _hexadecimal((letter.value or b"")[:_PREVIEW_BYTES]):
        console.print(line, markup=False)
    if value is not None:
        try:
            value.write_bytes(letter.value or b"")
        except OSError as error:
            fail(f"error: {value} cannot be written: {error.strerror}; name another file", BAD_INPUT)


@app.command("replay", epilog="Example: cairn dlt replay 2 10482; cairn dlt replay --code body --dry-run")
def replay_letters(
    partition: Annotated[int | None, typer.Argument(min=0, help="The record's partition of the log.")] = None,
    offset: Annotated[int | None, typer.Argument(min=0, help="Its offset there.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every letter.")] = False,
    code: Annotated[str, typer.Option(help="Every letter with this reason, the word before the colon.")] = "",
    dry_run: Annotated[bool, typer.Option(help="Only say what would become of them.")] = False,
    environment_file: _EnvironmentFile = Path(".local/env"),
) -> None:
    """Write records that can be applied by now to the log again, with their original key, bytes and headers.

    They are then the last of the learner's events, and workers apply them like any other. One that still cannot be
    applied stays; ends with 1 when there was one.
    """
    by_place = partition is not None and offset is not None
    if (by_place, everything, bool(code)).count(True) != 1 or (partition is None) != (offset is None):
        fail("error: name one letter by PARTITION and OFFSET, or several by --code, or all by --all", BAD_INPUT)

    def wanted(filed: FiledLetter) -> bool:
        if by_place:
            return (filed.letter.partition, filed.letter.offset) == (partition, offset)
        return everything or filed.letter.code == code

    outcomes = _run(lambda: replay_dead_letters(environment_file, wanted, dry_run=dry_run))
    if by_place and not outcomes:
        fail(f"error: partition {partition}, offset {offset} has no dead letter, or it was replayed before", FAILED)
    for outcome in outcomes:
        typer.echo(f"{_place(outcome.filed.origin)}: {_what_became(outcome, dry_run=dry_run)}")
    left = sum(bool(outcome.problem) for outcome in outcomes)
    typer.echo(f"{len(outcomes) - left:,} {'could be' if dry_run else 'were'} replayed, {left:,} stay", err=True)
    if left:
        raise typer.Exit(FAILED)


def _what_became(outcome: LetterOutcome, *, dry_run: bool) -> str:
    if outcome.problem:
        return f"stays, {outcome.problem}"
    return "can be applied" if dry_run or outcome.position is None else f"replayed to {_place(outcome.position)}"


def _letters(environment_file: Path, topic: str) -> list[FiledLetter]:
    return list(_run(lambda: letter_file(environment_file, topic).letters()))


def _as_json(filed: FiledLetter) -> dict[str, object]:
    letter, replayed = filed.letter, filed.replayed_to
    return {
        "topic": filed.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "code": letter.code,
        "reason": letter.reason,
        "key": _readable(letter.key),
        "value_bytes": len(letter.value or b""),
        "replayed_to": None if replayed is None else {"partition": replayed.partition, "offset": replayed.offset},
    }


def _place(position: Position) -> str:
    return f"partition {position.partition}, offset {position.offset}"


def _readable(content: bytes | None) -> str:
    """Text as it is, but for what a terminal would obey."""
    return "-" if content is None else ascii(content.decode(errors="backslashreplace"))[1:-1]


def _hexadecimal(content: bytes) -> list[str]:
    lines = []
    for start in range(0, len(content), _BYTES_PER_LINE):
        some = content[start : start + _BYTES_PER_LINE]
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in some)
        lines.append(f"{start:08x}  {some.hex(' '):<47}  {shown}")
    return lines


def _run(work: Callable[[], Awaitable[_T]]) -> _T:
    async def awaited() -> _T:
        return await work()

    try:
        return asyncio.run(awaited())
    except (SettingsError, LetterMissingError) as error:
        fail(f"error: {error}", BAD_INPUT)
    except (ConnectionError, LookupError) as error:
        fail(f"error: {error}", FAILED)
