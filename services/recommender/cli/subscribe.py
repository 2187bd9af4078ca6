"""`cairn subscribe`: lists kept up to date, on the terminal or as lines of JSON."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import grpc
import orjson
import typer
from google.protobuf import json_format
from rich.console import Console
from rich.markup import escape

from cairn.client import LearnerUpdates
from cairn.v1 import recommender_pb2, recommender_pb2_grpc
from services.common.command_line import BAD_INPUT, fail
from services.common.rpc.calls import ApiKeyFile, Insecure, Metadata, async_channel, key_metadata
from services.recommender.cli.calls import DEFAULT_TARGET, Target, fail_with

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")


@app.callback()
def _subscriptions() -> None:
    """Subscribe to lists."""


@app.command("subscribe", epilog="Example: cairn subscribe amy ben --limit 3")
def subscribe(
    learners: Annotated[
        list[str] | None,
        typer.Argument(metavar="LEARNER...", help="The learners' ids, as your platform knows them, up to 1,000."),
    ] = None,
    *,
    tenant_wide: Annotated[
        bool, typer.Option("--tenant-wide", help="Every learner of the tenant, including new ones, by pseudonym.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=20, help="At most this many resources each.")] = 3,
    skill: Annotated[
        list[str] | None, typer.Option(help="Only about this skill. May be given several times.", show_default=False)
    ] = None,
    grade: Annotated[
        list[str] | None, typer.Option(help="Only for this grade. May be given several times.", show_default=False)
    ] = None,
    class_id: Annotated[
        str, typer.Option("--class", help="The class it is for: rules may apply to it.", show_default=False)
    ] = "",
    cursors: Annotated[
        Path | None,
        typer.Option(
            help="File to keep cursors in: the next run prints only lists that changed since this one.",
            show_default=False,
        ),
    ] = None,
    updates: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many updates.", show_default=False)
    ] = None,
    target: Target = DEFAULT_TARGET,
    api_key_file: ApiKeyFile = None,
    insecure: Insecure = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each update as a line of JSON.")] = False,
) -> None:
    """Print learners' lists, and print each one again whenever its contents change, until interrupted.

    Reconnects automatically. A list is printed again when a resource, its step, or the kind of a reason differs, but
    not when only numbers change.

    Exit codes: 0, interrupted, or --updates lists were printed. 1, the service refused. 2, an option is invalid.
    """
    if bool(learners) == tenant_wide:
        fail("name learners, or use --tenant-wide for all of them, but not both", BAD_INPUT)
    metadata = key_metadata(api_key_file)
    request = recommender_pb2.SubscribeRequest(
        learner_ids=learners or (), whole_tenant=tenant_wide, limit=limit, class_id=class_id
    )
    if skill or grade:
        request.filter.skills.extend(skill or ())
        request.filter.grades.extend(grade or ())
    printer = _Printer(as_json=as_json)
    held = _read_cursors(cursors)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_follow(target, request, metadata, held, printer, updates, insecure=insecure))
    finally:
        # Also when the service refused: the lists received until then are not sent again.
        if cursors is not None:
            _write_cursors(cursors, held)


async def _follow(
    target: str,
    request: recommender_pb2.SubscribeRequest,
    metadata: Metadata,
    held: dict[str, str],
    printer: _Printer,
    most: int | None,
    *,
    insecure: bool,
) -> None:
    def forget(learner_id: str) -> None:
        held.pop(learner_id, None)
        printer.gone(learner_id)

    async with async_channel(target, insecure=insecure) as channel:
        stub: Any = recommender_pb2_grpc.RecommendationServiceStub(channel)
        following = LearnerUpdates(
            stub,
            request,
            metadata,
            cursors=held,
            on_snapshot=printer.watching,
            on_gone=forget,
            on_unreadable=printer.unreadable,
            on_pause=printer.pausing,
        )
        printed = 0
        try:
            async with contextlib.aclosing(aiter(following)) as stream:
                async for update in stream:
                    printer.update(update)
                    held[update.learner_id] = update.cursor
                    printed += 1
                    if printed == most:
                        return
        except grpc.aio.AioRpcError as error:
            fail_with(error, target)


class _Printer:
    """Updates on standard output, for people or as JSON; messages about the connection on standard error."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console(highlight=False)

    def watching(self, learners: int) -> None:
        typer.echo(f"{learners:,} learner(s) up to date; waiting for changes", err=True)

    def gone(self, learner_id: str) -> None:
        typer.echo(f"{learner_id} was erased", err=True)

    def unreadable(self, learner_id: str, problem: str) -> None:
        typer.echo(f"{learner_id} has no list: {problem}", err=True)

    def pausing(self, status: str, pause_s: float) -> None:
        typer.echo(f"{status}; connecting again in {pause_s:.1f} s", err=True)

    def update(self, update: recommender_pb2.LearnerUpdate) -> None:
        if self._as_json:
            typer.echo(json_format.MessageToJson(update, ensure_ascii=False, indent=None))
            return
        self._console.print(f"[bold]{escape(update.learner_id)}[/bold]  {_now()}", soft_wrap=True)
        for place, each in enumerate(update.recommendations, start=1):
            step = recommender_pb2.Step.Name(each.step).removeprefix("STEP_").lower().replace("_", " ")
            self._console.print(f"{place:>4}  {step}: {escape(each.title or each.resource_id)}", soft_wrap=True)
            self._console.print(f"      {escape(_because(each.reasons))}", soft_wrap=True)
        if not update.recommendations:
            self._console.print("      nothing in the catalog fits")


def _because(reasons: Sequence[recommender_pb2.Reason]) -> str:
    return reasons[0].text if reasons else ""


def _now() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")


def _write_cursors(file: Path, held: dict[str, str]) -> None:
    temporary = file.with_name(file.name + ".new")
    # It names learners: only its owner may read it.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as written:
        written.write(orjson.dumps(held, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    temporary.replace(file)


def _read_cursors(file: Path | None) -> dict[str, str]:
    if file is None or not file.exists():
        return {}
    try:
        cursors = orjson.loads(file.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        fail(f"--cursors {file} cannot be read: {error}; name another file, or delete this one", BAD_INPUT)
    if not isinstance(cursors, dict) or not all(isinstance(cursor, str) for cursor in cursors.values()):
        fail(f"--cursors {file} does not hold cursors by learner; name another file, or delete this one", BAD_INPUT)
    return cursors
