"""`python -m deploy.kafka.acls`: Kafka's own commands that allow each part of Cairn what `deploy/acls.yaml` lists."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
import yaml

from deploy.kafka.access import ACLS

_OPTIONS = {"topics": "--topic", "groups": "--group", "transactional_ids": "--transactional-id"}


def commands(acls: Path, arguments: list[str]) -> Iterator[list[str]]:
    """A command for each resource of each user.

    Args:
        acls: by user, and by kind of resource, the operations on each resource.
        arguments: how the commands reach the cluster.
    """
    for user, resources in yaml.safe_load(acls.read_text(encoding="utf-8"))["users"].items():
        for kind, names in resources.items():
            for name, operations in names.items():
                # A name that ends in `*` stands for all that begin so.
                prefixed = ["--resource-pattern-type", "prefixed"] if name.endswith("*") else []
                allowed = [part for operation in operations for part in ("--operation", _title(operation))]
                yield [
                    *("kafka-acls.sh", *arguments, "--add", "--allow-principal", f"User:{user}"),
                    *(*allowed, _OPTIONS[kind], name.removesuffix("*"), *prefixed),
                ]


def acls(
    *,
    bootstrap_server: Annotated[str, typer.Option(help="host:port of the cluster.")],
    command_config: Annotated[
        Path | None, typer.Option(help="Kafka's properties with which an administrator logs in.")
    ] = None,
    file: Annotated[Path, typer.Option(help="The rights of each user; give users other names in a copy.")] = ACLS,
) -> None:
    """Print the commands; run them with `| sh` where kafka-acls.sh is on PATH."""
    arguments = ["--bootstrap-server", bootstrap_server]
    if command_config is not None:
        arguments += ["--command-config", str(command_config)]
    for command in commands(file, arguments):
        typer.echo(shlex.join(command))


def _title(operation: str) -> str:
    """`DESCRIBE_CONFIGS` as Kafka's command spells it: `DescribeConfigs`."""
    return "".join(word.title() for word in operation.split("_"))


if __name__ == "__main__":
    typer.run(acls)
