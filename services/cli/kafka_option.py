"""The option that names the Kafka cluster; how it is secured comes from the environment."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import ValidationError

from services.common.command_line import BAD_INPUT, fail
from services.common.environment import wrong_settings
from services.common.kafka.connection import KafkaConnection
from services.common.kafka.settings import KafkaSettings

KafkaOption = Annotated[
    str,
    typer.Option(
        envvar="CAIRN_KAFKA",
        help="Bootstrap servers, host:port, separated by commas. For TLS and a login set CAIRN_KAFKA_SECURITY and the "
        "variables that belong to it.",
    ),
]


def connection_to(servers: str) -> KafkaConnection:
    """The connection to a cluster; the command ends with a message when the settings about it are wrong."""
    try:
        return KafkaSettings(kafka=servers).connection
    except ValidationError as error:
        fail(f"error: {wrong_settings(error)}", BAD_INPUT)
