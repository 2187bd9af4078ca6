"""`python -m deploy.local`: run the whole system on this machine, for a demo or for development."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from deploy.local import supervisor, terminal
from deploy.local.demo import DemoOptions, run_demo
from deploy.local.stack import BrokerKind, StackOptions
from deploy.local.stop_signals import StopRequestedError, stop_on_signals
from deploy.processes import StackError

_DEMO_DIRECTORY = Path(".local/demo")

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)

Kafka = Annotated[
    str, typer.Option(envvar="CAIRN_KAFKA", help="Use this Kafka, host:port, instead of the embedded broker.")
]
FetchWait = Annotated[
    int, typer.Option(envvar="CAIRN_KAFKA_FETCH_WAIT_MS", help="How long that Kafka may hold an empty fetch.")
]
Redis = Annotated[str, typer.Option(envvar="CAIRN_REDIS", help="Use this Redis, a URL, instead of the embedded one.")]
BrokerOption = Annotated[
    BrokerKind, typer.Option(help="The broker to start: the embedded one, or Apache Kafka, which needs Java and Maven.")
]
Tenant = Annotated[str, typer.Option(help="The tenant to create an API key for.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Loopback port; 0: a free one.")]


@app.callback()
def _describe() -> None:
    """Run Cairn on this machine: broker, Redis and every service, on loopback."""
    # Kafka clients log every lost connection; the commands themselves report what matters.
    logging.basicConfig(handlers=[logging.NullHandler()])


@app.command(epilog="Example: python -m deploy.local demo --dataset ../shared/data/assistments2009 --json figures.json")
def demo(
    *,
    dataset: Annotated[
        Path | None, typer.Option(help="Folder with interactions.csv.gz: a real log instead of a simulated district.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Also write the summary to this file.")] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running, with its data; `down` stops it.")
    ] = False,
    kafka: Kafka = "",
    broker: BrokerOption = BrokerKind.EMBEDDED,
    kafka_fetch_wait_ms: FetchWait = 500,
    redis: Redis = "",
) -> None:
    """Send a district's events through the whole system and get recommendations back.

    Starts everything, loads, trains, replays, plays one learner's next assessment live, and stops everything.
    """
    stack = StackOptions(
        supervisor.DIRECTORY if keep else _DEMO_DIRECTORY,
        kafka=supervisor.outside("KAFKA", kafka),
        broker=broker,
        kafka_fetch_wait_ms=kafka_fetch_wait_ms,
        redis=supervisor.outside("REDIS", redis),
        public=True,
    )
    with _ending_in_a_sentence():
        run_demo(DemoOptions(stack, dataset, json, keep=keep), terminal.console())


@app.command(epilog="Example: python -m deploy.local up --ingest-port 50051 --server-port 50053")
def up(
    *,
    tenant: Tenant = "riverbend",
    kafka: Kafka = "",
    broker: BrokerOption = BrokerKind.EMBEDDED,
    kafka_fetch_wait_ms: FetchWait = 500,
    redis: Redis = "",
    broker_port: Port = 0,
    redis_port: Port = 0,
    catalog_port: Port = 0,
    ingest_port: Port = 0,
    ingest_http_port: Port = 0,
    worker_port: Port = 0,
    server_port: Port = 0,
    gateway_port: Port = 0,
) -> None:
    """Start everything and leave it running; `down` stops it.

    Writes the addresses and an API key to `.local/env` (readable only by you).
    """
    ports = {
        "broker": broker_port,
        "redis": redis_port,
        "catalog": catalog_port,
        "ingest": ingest_port,
        "ingest-http": ingest_http_port,
        "worker": worker_port,
        "server": server_port,
        "gateway": gateway_port,
    }
    options = StackOptions(
        supervisor.DIRECTORY,
        tenant,
        kafka=supervisor.outside("KAFKA", kafka),
        broker=broker,
        kafka_fetch_wait_ms=kafka_fetch_wait_ms,
        redis=supervisor.outside("REDIS", redis),
        ports=ports,
    )
    console = terminal.console()
    with _ending_in_a_sentence():
        supervisor.up(options, terminal.component_reporter(console))
        terminal.print_how_to_use(console, supervisor.environment_file(options.directory), _what_is_kept(options))


def _what_is_kept(options: StackOptions) -> str:
    """What of the data outlives the stack, in one line."""
    if options.kafka:
        return f"The log is in your Kafka, {options.kafka}."
    if options.keeps_its_log:
        return f"The log, the tenants and the bundles stay in {options.data}; `make up BROKER=kafka` goes on with them."
    return "The embedded broker keeps nothing: `make down` ends the log. To keep it: make up BROKER=kafka"


@app.command(epilog="Example: python -m deploy.local down")
def down() -> None:
    """Stop what `up` started."""
    stopped = supervisor.down(supervisor.DIRECTORY)
    typer.echo(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running.")


@app.command(hidden=True)
def supervise(options: str) -> None:
    """Run a stack in the background. `up` starts this command, with its options as JSON."""
    with _ending_in_a_sentence():
        supervisor.supervise(supervisor.OPTIONS.validate_json(options))


@contextlib.contextmanager
def _ending_in_a_sentence() -> Iterator[None]:
    """Turn errors that a person can fix into a sentence on standard error and an exit code."""
    stop_on_signals()
    try:
        yield
    except StackError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from error
    except StopRequestedError as stopped:
        typer.echo("Everything is stopped.", err=True)
        raise typer.Exit(128 + stopped.number) from stopped


if __name__ == "__main__":
    app()
