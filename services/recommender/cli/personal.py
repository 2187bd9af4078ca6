"""What is stored about one learner: shown, exported, erased."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import grpc
import orjson
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cairn.v1 import ingest_pb2, ingest_pb2_grpc, recommender_pb2, recommender_pb2_grpc
from services.common.auth.identity import LEARNER_PATTERN
from services.common.command_line import BAD_INPUT, FAILED, fail
from services.common.kafka.envelope import record_key
from services.common.learners.suppression_file import add_to_suppression
from services.common.rpc.calls import (
    ApiKeyFile,
    Insecure,
    Metadata,
    TimeoutS,
    channel_to,
    key_metadata,
    what_went_wrong,
)
from services.common.tables import FileUnusableError
from services.recommender.application.ports.quarantine import LearnerDamagedError, LearnersDamagedError
from services.recommender.cli.calls import DEFAULT_TARGET, Learner, checked_learner, fail_with, nothing_is_known

if TYPE_CHECKING:
    from services.recommender.application.operations.personal_data import PersonalData
    from services.recommender.domain.learner.history import HistoryStep

_DEFAULT_INGEST = "127.0.0.1:50051"

_T = TypeVar("_T")

EnvironmentFile = Annotated[
    Path, typer.Option("--env-file", help="File with settings that the environment does not set; `make up` writes it.")
]
TenantName = Annotated[str, typer.Option("--tenant", help="The learner's tenant, from the tenants file.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to `cairn learner`."""
    app.command("export", epilog="Example: cairn learner export amy --tenant riverbend --output amy.json")(export)
    app.command("erase", epilog="Example: cairn learner erase amy")(erase)
    app.command("repair", epilog="Example: cairn learner repair amy --tenant riverbend")(repair)


def export(
    learner: Learner,
    *,
    tenant: TenantName,
    output: Annotated[
        Path | None, typer.Option(help="File to write; by default standard output.", show_default=False)
    ] = None,
    environment_file: EnvironmentFile = Path(".local/env"),
) -> None:
    """Export everything that is stored about a learner as JSON: state, journal, and all records in the log.

    For operators: it reads Redis and Kafka, and needs the tenants file. Give the file to the learner only.

    Exit codes: 0, it is written. 1, Kafka or Redis did not answer. 2, an option is invalid.
    """
    with _explained():
        from services.recommender.bootstrap.personal import pseudonym_of  # noqa: PLC0415 - loads the compiled kernel.

        pseudonym = pseudonym_of(environment_file, tenant, learner)
        held = _asked(environment_file, lambda data: data.everything(tenant, pseudonym))
    if held["state"] is None and not held["records"]:
        typer.echo(f"nothing is stored of {learner!r} of tenant {tenant!r}: check the id", err=True)
    content = orjson.dumps({"learner_id": learner, **held}, option=orjson.OPT_INDENT_2)
    if output is None:
        typer.echo(content.decode())
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        fail(f"{output} cannot be written: {error}. Name another file with --output", BAD_INPUT)
    records = held["records"]
    typer.echo(f"{output}: {len(records) if isinstance(records, list) else 0:,} records of the log, state and journal")


def erase(
    learner: Learner,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    suppress: Annotated[
        Path | None,
        typer.Option(
            help="Then add a hash of the id to this list, for `cairn ingest load --suppress`. It is created if needed.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str, typer.Option(envvar="CAIRN_TARGET_INGEST", help="host:port of the ingest service.")
    ] = _DEFAULT_INGEST,
    api_key_file: ApiKeyFile = None,
    recommender: Annotated[
        str,
        typer.Option(
            envvar="CAIRN_TARGET_RECOMMENDER",
            help="host:port of the recommendation service, which is asked whether anything is known of the learner.",
        ),
    ] = DEFAULT_TARGET,
    insecure: Insecure = False,
    timeout_s: TimeoutS = 30.0,
) -> None:
    """Erase a learner: their state, their journal and, if values are encrypted, their records in the log.

    This cannot be undone; export the data first with `cairn learner export`. The API key needs the scope admin, and the
    scope recommend for the command to say when nothing is known of the id. Such an id is erased nevertheless: events of
    it may be on their way.

    Exit codes: 0, the erasure is in the log. 1, the service did not answer, or the prompt was declined. 2, an option is
    invalid.
    """
    metadata = key_metadata(api_key_file)
    if note := _note_on(learner, recommender, metadata, insecure=insecure, timeout_s=timeout_s):
        typer.echo(note, err=True)
    if not yes:
        typer.confirm(f"Erase {learner} permanently?", abort=True)
    with channel_to(target, insecure=insecure) as channel:
        stub = ingest_pb2_grpc.IngestServiceStub(channel)
        try:
            reply = stub.DeleteLearner(
                ingest_pb2.DeleteLearnerRequest(learner_id=learner), metadata=metadata, timeout=timeout_s
            )
        except grpc.RpcError as error:
            fail_with(error, target, service="ingest service")
    destroyed = (
        "their records in the log can no longer be read"
        if reply.key_destroyed
        else "unencrypted records stay in the log until its retention ends"
    )
    typer.echo(
        f"the erasure is at partition {reply.position.partition}, offset {reply.position.offset}; {destroyed}. "
        "Models still include the learner until the next bundle: cairn train"
    )
    if suppress is not None:
        _add_to_list(suppress, learner)


def _add_to_list(suppress: Path, learner: str) -> None:
    try:
        added = add_to_suppression(suppress, learner)
    except FileUnusableError as error:
        fail(f"{error}. The learner is erased; run the command again to add them to a list", BAD_INPUT)
    typer.echo(f"{suppress} {'now leaves' if added else 'already left'} the learner out of loads with --suppress")


def _note_on(learner: str, target: str, metadata: Metadata, *, insecure: bool, timeout_s: float) -> str:
    """What to say about a learner of whom nothing is known, or whom the service could not be asked about."""
    request = recommender_pb2.GetLearnerRequest(learner_id=learner)
    with channel_to(target, insecure=insecure) as channel:
        try:
            reply = recommender_pb2_grpc.RecommendationServiceStub(channel).GetLearner(
                request, metadata=metadata, timeout=timeout_s
            )
        except grpc.RpcError as error:
            reason = what_went_wrong(error, target, "recommendation service", option="--recommender")
            return f"whether anything is known of {learner!r} was not checked: {reason}"
    return nothing_is_known(reply, learner)


def repair(
    learner: Annotated[
        str | None,
        typer.Argument(
            metavar="LEARNER", help="The learner's id, or PSEUDONYM or TENANT/PSEUDONYM as a worker's log names them."
        ),
    ] = None,
    *,
    tenant: Annotated[str, typer.Option(help="The learner's tenant, from the tenants file.", show_default=False)] = "",
    every: Annotated[bool, typer.Option("--all", help="Repair every learner in quarantine.")] = False,
    epoch: Annotated[int | None, typer.Option(min=1, help="The epoch; by default the current one.")] = None,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Repair them even if the log no longer holds its beginning.")
    ] = False,
    environment_file: EnvironmentFile = Path(".local/env"),
) -> None:
    """Rebuild learners of whom what is stored is damaged, from the log, while workers go on.

    A worker quarantines such a learner: it names them in its log, counts their records and changes nothing. This folds
    their records from the beginning of the log and releases them. For operators: it needs Kafka, Redis, the bundles and
    the tenants file.

    Exit codes: 0, they are repaired, or nothing is known of the learner. 1, Kafka or Redis did not answer, or a learner
    cannot be rebuilt. 2, an option is invalid.
    """
    if every == (learner is not None) or (learner is not None) != bool(tenant):
        fail("name one learner with --tenant, or give --all to repair every learner in quarantine", BAD_INPUT)
    with _explained():
        from services.recommender.application.ports.log import LogTruncatedError  # noqa: PLC0415 - with the others.
        from services.recommender.application.state.repair import RepairFailedError  # noqa: PLC0415 - as below.
        from services.recommender.bootstrap.personal import pseudonym_of  # noqa: PLC0415 - loads the compiled kernel.
        from services.recommender.bootstrap.repair import repair_learners  # noqa: PLC0415 - likewise.

        key = None
        if learner is not None:
            pseudonym = learner.removeprefix(f"{tenant}/")
            if not LEARNER_PATTERN.fullmatch(pseudonym):
                pseudonym = pseudonym_of(environment_file, tenant, checked_learner(learner))
            key = record_key(tenant, pseudonym)
        try:
            reports = asyncio.run(repair_learners(environment_file, key, epoch=epoch, accept_loss=accept_loss))
        except (RepairFailedError, LogTruncatedError) as error:
            fail(str(error), FAILED)
    for report in reports:
        if not report.known:
            who = repr(learner) if learner is not None else report.key.decode()
            typer.echo(f"nothing is known of {who}, the log has no event of theirs that can be read: check the id")
            continue
        typer.echo(
            f"{report.key.decode()} is repaired: of the quarantined records {report.applied:,} applied, "
            f"{report.duplicates:,} duplicates, {report.conflicts:,} conflicts, {report.dead_lettered:,} dead letters, "
            f"{report.erased:,} erased"
        )
    if not reports:
        typer.echo("no learner is in quarantine. One that only reads found damaged is repaired by name")


def print_history(console: Console, learner: str, tenant: str, environment_file: Path) -> None:
    """Print what each of a learner's recent events changed, from their journal."""
    with _explained():
        from services.recommender.bootstrap.personal import pseudonym_of  # noqa: PLC0415 - loads the compiled kernel.

        pseudonym = pseudonym_of(environment_file, tenant, learner)
        steps = _asked(environment_file, lambda data: data.history(tenant, pseudonym))
    console.print(_history_table(steps) if steps else "no recent events")


def _history_table(steps: Sequence[HistoryStep]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("when", "event", "outcome", "chance of success on its skills"):
        table.add_column(heading, overflow="fold")
    for step in steps:
        entry = step.entry
        at = datetime.fromtimestamp(entry.at_s, UTC).strftime("%Y-%m-%d %H:%M") if entry.at_s else "-"
        if entry.interaction is not None:
            table.add_row(at, Text(f"{entry.interaction.name.lower()} {entry.resource}"), "", "")
            continue
        outcome = "voided" if entry.voided else f"{entry.response:.3g}"
        changes = ", ".join(
            f"{change.skill} {100 * change.before:.0f} -> {100 * change.after:.0f} %" for change in step.changes
        )
        why = changes if entry.evidence else "" if entry.voided else "no evidence: its items already counted"
        table.add_row(at, Text(f"answered {entry.item or entry.resource or 'an activity'}"), outcome, Text(why))
    return table


def _asked(environment_file: Path, ask: Callable[[PersonalData], Awaitable[_T]]) -> _T:
    from services.recommender.bootstrap.personal import personal_data  # noqa: PLC0415 - loads the compiled kernel.

    async def run() -> _T:
        async with personal_data(environment_file) as data:
            return await ask(data)

    return asyncio.run(run())


@contextmanager
def _explained() -> Iterator[None]:
    from services.common.auth.tenants_file import TenantsFileError  # noqa: PLC0415 - with the commands that need it.
    from services.recommender.adapters.files.bundle_store import BundlesUrlInvalidError  # noqa: PLC0415 - likewise.
    from services.recommender.application.ports.models import BundleUnreadableError  # noqa: PLC0415 - likewise.
    from services.recommender.application.ports.state_store import StateUrlInvalidError  # noqa: PLC0415 - likewise.
    from services.recommender.application.state.epochs import EpochUnusableError  # noqa: PLC0415 - likewise.
    from services.recommender.bootstrap.environment import SettingsError  # noqa: PLC0415 - likewise.
    from services.recommender.bootstrap.personal import TenantUnknownError  # noqa: PLC0415 - likewise.

    try:
        yield
    except (
        SettingsError,
        StateUrlInvalidError,
        TenantsFileError,
        TenantUnknownError,
        EpochUnusableError,
        BundleUnreadableError,
        BundlesUrlInvalidError,
    ) as error:
        fail(str(error), BAD_INPUT)
    except (ConnectionError, LookupError, LearnerDamagedError, LearnersDamagedError) as error:
        fail(str(error), FAILED)
