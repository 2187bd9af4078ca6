"""`cairn topics`: create the Kafka topics, compare them with their declaration, and repartition the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.cli.kafka_option import KafkaOption, connection_to
from services.common.command_line import BAD_INPUT, fail
from services.common.kafka.connection import BrokerUnavailableError, TopicMissingError
from services.common.kafka.envelope import LEARNER_EVENTS
from services.common.kafka.repartition import RepartitionError, copy_of, repartition
from services.common.kafka.topics import (
    TopicOutcome,
    TopicReport,
    TopicsFileError,
    check_topics,
    ensure_topics,
    load_declarations,
)

_TELL_EVERY_S = 5.0

_STYLES = {
    TopicOutcome.CREATED: "green",
    TopicOutcome.AS_DECLARED: "",
    TopicOutcome.MISSING: "bold red",
    TopicOutcome.DIFFERS: "bold red",
}

_Declaration = Annotated[
    Path | None,
    typer.Option(help="The declaration of the topics.", show_default="the one that ships with Cairn"),
]

_Partitions = Annotated[
    int | None, typer.Option(min=1, help="Partitions of cairn.learner-events, instead of the declared number.")
]


app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Create, check and repartition the Kafka topics.",
)


@app.callback()
def _topics() -> None:
    """Create, check and repartition the Kafka topics."""


@app.command("create", epilog="Example: cairn topics create --kafka 10.0.0.5:9092 --replication-factor 3")
def create_topics(
    *,
    kafka: KafkaOption = "127.0.0.1:9092",
    file: _Declaration = None,
    partitions: _Partitions = None,
    replication_factor: Annotated[
        int | None, typer.Option(min=1, help="Copies of each partition, instead of the declared number.")
    ] = None,
) -> None:
    """Create the declared topics that do not exist.

    Running it again changes nothing; it never changes or deletes a topic. Exits with 1 when an existing topic
    differs from its declaration.
    """
    _report_topics(ensure_topics, kafka, file, partitions, replication_factor)


@app.command("check", epilog="Example: cairn topics check --kafka 10.0.0.5:9092 --replication-factor 3")
def check_existing_topics(
    *,
    kafka: KafkaOption = "127.0.0.1:9092",
    file: _Declaration = None,
    partitions: _Partitions = None,
    replication_factor: Annotated[
        int | None, typer.Option(min=1, help="Copies that each partition should have, instead of the declared number.")
    ] = None,
) -> None:
    """Compare the topics with their declaration: partitions, copies and settings. It changes nothing.

    Exits with 1 when a topic is missing or differs.
    """
    _report_topics(check_topics, kafka, file, partitions, replication_factor)


@app.command("repartition", epilog="Example: cairn topics repartition --partitions 8")
def repartition_log(
    *,
    kafka: KafkaOption = "127.0.0.1:9092",
    partitions: Annotated[
        int | None,
        typer.Option(min=1, help="How many partitions the log gets.", show_default="as many as it has"),
    ] = None,
) -> None:
    """Move every record of the log to its learner's partition, after or for a change of their number.

    Kafka leaves earlier records where they are when partitions are added. **Stop ingest and the workers first.** The
    log is copied to `cairn.learner-events.repartitioned`, verified, created again and copied back. Each learner's
    records keep their order, bytes, headers and times. The copy stays until you delete it. The command can be run again
    whenever it was interrupted. When every record is on its partition already, the log is left as it is.

    Afterwards replay into a new epoch and switch to it; then start ingest and the workers.

    Exit codes: 1, Kafka cannot be reached. 2, somebody writes to the log, or a copy of an earlier time is in the way.
    """
    shown = _Progress()
    try:
        result = asyncio.run(repartition(connection_to(kafka), LEARNER_EVENTS, partitions, shown.show))
    except RepartitionError as error:
        fail(f"error: {error}", BAD_INPUT)
    except (BrokerUnavailableError, TopicMissingError) as error:
        fail(f"error: {error}", 1)
    if not result.replaced:
        typer.echo(
            f"{LEARNER_EVENTS}: all {sum(result.records):,} records are on the partitions of their learners already. "
            "Nothing was changed"
        )
        return
    moved = f", {result.moved:,} of them from another one" if result.moved else ""
    typer.echo(
        f"{LEARNER_EVENTS}: {sum(result.records):,} records are on the partitions of their learners{moved}, "
        f"{len(result.records)} partitions. Next: cairn replay --epoch NUMBER --parameters same, cairn epoch switch "
        f"NUMBER, then start ingest and the workers. {copy_of(LEARNER_EVENTS)} holds a copy: delete it when all is "
        f"well (kafka-topics.sh --delete --topic {copy_of(LEARNER_EVENTS)})"
    )


class _Progress:
    """Prints a line for each step, and one every few seconds, on standard error."""

    def __init__(self) -> None:
        self._step = ""
        self._told_s = 0.0

    def show(self, step: str, done: int, total: int) -> None:
        """The step, the records that it has handled, and how many there are."""
        now_s = time.monotonic()
        if step != self._step or done == total or now_s - self._told_s >= _TELL_EVERY_S:
            self._step, self._told_s = step, now_s
            typer.echo(f"{step}: {done:,} of {total:,} records", err=True)


def _report_topics(
    inspect: Callable[..., list[TopicReport]],
    kafka: str,
    file: Path | None,
    partitions: int | None,
    replication_factor: int | None,
) -> None:
    try:
        declarations = load_declarations(file)
    except TopicsFileError as error:
        fail(f"{error}. Name the file with --file", BAD_INPUT)
    if partitions is not None and LEARNER_EVENTS in declarations:
        declared = declarations[LEARNER_EVENTS]
        declarations = declarations | {LEARNER_EVENTS: declared.model_copy(update={"partitions": partitions})}
    try:
        reports = inspect(connection_to(kafka), declarations, replication_factor=replication_factor)
    except BrokerUnavailableError as error:
        fail(f"{error}. Start it, or name another with --kafka or CAIRN_KAFKA", 1)
    Console(highlight=False).print(_topics_table(reports))
    if any(report.outcome in {TopicOutcome.DIFFERS, TopicOutcome.MISSING} for report in reports):
        raise typer.Exit(1)


def _topics_table(reports: list[TopicReport]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("topic", no_wrap=True)
    table.add_column("")
    for report in reports:
        what = report.outcome.value + (f": {report.detail}" if report.detail else "")
        table.add_row(report.topic, Text(what, style=_STYLES[report.outcome]))
    return table
