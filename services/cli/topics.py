"""`cairn topics`: create the Kafka topics, and compare them with their declaration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.common.command_line import BAD_INPUT, fail
from services.common.kafka.connection import BrokerUnavailableError, KafkaConnection
from services.common.kafka.topics import (
    TopicOutcome,
    TopicReport,
    TopicsFileError,
    check_topics,
    ensure_topics,
    load_declarations,
)

_STYLES = {
    TopicOutcome.CREATED: "green",
    TopicOutcome.AS_DECLARED: "",
    TopicOutcome.MISSING: "bold red",
    TopicOutcome.DIFFERS: "bold red",
}


app = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode="markdown", help="Create and check the Kafka topics."
)


@app.callback()
def _topics() -> None:
    """Create and check the Kafka topics."""


@app.command("create", epilog="Example: cairn topics create --kafka 10.0.0.5:9092 --replication-factor 3")
def create_topics(
    *,
    kafka: Annotated[
        str, typer.Option(envvar="CAIRN_KAFKA", help="Bootstrap servers, host:port, separated by commas.")
    ] = "127.0.0.1:9092",
    file: Annotated[
        Path | None,
        typer.Option(help="The declaration of the topics.", show_default="the one that ships with Cairn"),
    ] = None,
    replication_factor: Annotated[
        int | None, typer.Option(min=1, help="Copies of each partition, instead of the declared number.")
    ] = None,
) -> None:
    """Create the declared topics that do not exist.

    Running it again changes nothing; it never changes or deletes a topic. Exits with 1 when an existing topic
    differs from its declaration.
    """
    _report_topics(ensure_topics, kafka, file, replication_factor)


@app.command("check", epilog="Example: cairn topics check --kafka 10.0.0.5:9092 --replication-factor 3")
def check_existing_topics(
    *,
    kafka: Annotated[
        str, typer.Option(envvar="CAIRN_KAFKA", help="Bootstrap servers, host:port, separated by commas.")
    ] = "127.0.0.1:9092",
    file: Annotated[
        Path | None,
        typer.Option(help="The declaration of the topics.", show_default="the one that ships with Cairn"),
    ] = None,
    replication_factor: Annotated[
        int | None, typer.Option(min=1, help="Copies that each partition should have, instead of the declared number.")
    ] = None,
) -> None:
    """Compare the topics with their declaration: partitions, copies and settings. It changes nothing.

    Exits with 1 when a topic is missing or differs.
    """
    _report_topics(check_topics, kafka, file, replication_factor)


def _report_topics(
    inspect: Callable[..., list[TopicReport]], kafka: str, file: Path | None, replication_factor: int | None
) -> None:
    try:
        declarations = load_declarations(file)
    except TopicsFileError as error:
        fail(f"{error}. Name the file with --file", BAD_INPUT)
    try:
        reports = inspect(KafkaConnection(kafka), declarations, replication_factor=replication_factor)
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
