"""Commands about what every service shares: the Kafka topics and the tenants' API keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.common.kafka import BrokerUnavailableError, KafkaConnection
from services.common.tenants import TenantsFileError, create_api_key
from services.common.topics import TopicOutcome, TopicReport, TopicsFileError, ensure_topics, load_declarations

_BAD_INPUT = 2
_STYLES = {TopicOutcome.CREATED: "green", TopicOutcome.AS_DECLARED: "", TopicOutcome.DIFFERS: "bold red"}

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
topics_app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Create the Kafka topics.")
keys_app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Create tenants and their API keys.")
app.add_typer(topics_app, name="topics")
app.add_typer(keys_app, name="keys")


@topics_app.callback()
def _topics() -> None:
    """Create the Kafka topics."""


@keys_app.callback()
def _keys() -> None:
    """Create tenants and their API keys."""


@topics_app.command("create", epilog="Example: cairn topics create --kafka 10.0.0.5:9092 --replication-factor 3")
def create_topics(
    *,
    kafka: Annotated[
        str, typer.Option(envvar="CAIRN_KAFKA", help="Bootstrap servers, host:port, separated by commas.")
    ] = "127.0.0.1:9092",
    file: Annotated[Path, typer.Option(help="The declaration of the topics.")] = Path("deploy/topics.yaml"),
    replication_factor: Annotated[
        int | None, typer.Option(min=1, help="Copies of each partition, instead of the declared number.")
    ] = None,
) -> None:
    """Create the topics that are declared and do not exist.

    Running it again changes nothing; it never changes or deletes a topic. Ends with 1 when a topic that exists differs
    from its declaration.
    """
    try:
        declarations = load_declarations(file)
    except TopicsFileError as error:
        _fail(f"{error}. Name the file with --file", _BAD_INPUT)
    try:
        reports = ensure_topics(KafkaConnection(kafka), declarations, replication_factor=replication_factor)
    except BrokerUnavailableError as error:
        _fail(f"{error}. Start it, or name another with --kafka or CAIRN_KAFKA", 1)
    Console(highlight=False).print(_topics_table(reports))
    if any(report.outcome is TopicOutcome.DIFFERS for report in reports):
        raise typer.Exit(1)


@keys_app.command("create", epilog="Example: cairn keys create --tenant riverbend --name gradebook")
def create_key(
    *,
    tenant: Annotated[str, typer.Option(help="The district or platform: 1 to 63 of a-z, 0-9 and -.")],
    name: Annotated[str, typer.Option(help="What the key is for, to recognise it by later.")] = "default",
    tenants: Annotated[
        Path, typer.Option(envvar="CAIRN_TENANTS", help="The tenants file; made, mode 0600, when there is none.")
    ] = Path("tenants.yaml"),
) -> None:
    """Create an API key for a tenant, and the tenant with it.

    The key is printed on standard output this once; the file keeps its hash.
    Services read the file when they start.
    """
    try:
        api_key = create_api_key(tenants, tenant, name)
    except TenantsFileError as error:
        _fail(str(error), _BAD_INPUT)
    except OSError as error:
        _fail(f"the tenants file {tenants} cannot be written: {error.strerror}. Name another with --tenants", 1)
    typer.echo(f"Key {name!r} of tenant {tenant!r} added to {tenants}; keep it, it is not stored.", err=True)
    typer.echo(api_key)


def _topics_table(reports: list[TopicReport]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("topic", no_wrap=True)
    table.add_column("")
    for report in reports:
        what = report.outcome.value + (f": {report.detail}" if report.detail else "")
        table.add_row(report.topic, Text(what, style=_STYLES[report.outcome]))
    return table


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)
