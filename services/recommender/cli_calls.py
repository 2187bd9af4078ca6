"""How commands call the RecommendationService: options they share, the connection, and what a refusal says."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import grpc
import typer
from google.protobuf import json_format
from google.protobuf.message import Message
from grpc_status import rpc_status
from rich.console import Console

from cairn.v1 import recommender_pb2, recommender_pb2_grpc

FAILED = 1
BAD_INPUT = 2
DEFAULT_TARGET = "127.0.0.1:50053"

Metadata = tuple[tuple[str, str | bytes], ...]

Target = Annotated[
    str, typer.Option(envvar="CAIRN_TARGET_RECOMMENDER", help="host:port of the recommendation service.")
]
ApiKeyFile = Annotated[
    Path | None,
    typer.Option(
        help="File that holds the API key; without it the key is taken from CAIRN_API_KEY.", show_default=False
    ),
]
Insecure = Annotated[
    bool,
    typer.Option("--insecure", help="Talk to another machine without TLS. The API key can then be read on the way."),
]
TimeoutS = Annotated[float, typer.Option(min=0.1, help="Give up after this many seconds.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the reply as JSON.")]


def print_degraded(console: Console, degraded: Sequence[recommender_pb2.Degradation.ValueType]) -> None:
    """A line for each thing that was missing."""
    for each in degraded:
        console.print(f"note: {_NOTES.get(each, recommender_pb2.Degradation.Name(each))}", soft_wrap=True)


_NOTES = {
    recommender_pb2.DEGRADATION_NEW_LEARNER: "nothing is known of this learner yet",
    recommender_pb2.DEGRADATION_NO_BUNDLE: "nothing was fitted yet: all items count as equally hard (cairn train)",
    recommender_pb2.DEGRADATION_NO_COLLABORATIVE_FILTERING: "too little data yet to compare with other learners",
    recommender_pb2.DEGRADATION_EMPTY_CATALOG: "the catalog has no active resource (cairn catalog import)",
    recommender_pb2.DEGRADATION_STALE_STATE: "the event of the token does not count yet",
    recommender_pb2.DEGRADATION_STALE_CATALOG: "Kafka is away: the catalog may have changed since",
}


def print_json(reply: Message) -> None:
    """The reply in Protobuf's JSON."""
    typer.echo(json_format.MessageToJson(reply, ensure_ascii=False))


@contextmanager
def calling(
    target: str, api_key_file: Path | None, *, insecure: bool
) -> Iterator[tuple[recommender_pb2_grpc.RecommendationServiceStub, Metadata]]:
    """The service and what every call carries; a refusal ends the command with what it says."""
    metadata = (("authorization", f"Bearer {api_key_from(api_key_file)}"),)
    with channel_to(target, insecure=insecure) as channel:
        try:
            yield recommender_pb2_grpc.RecommendationServiceStub(channel), metadata
        except grpc.RpcError as error:
            fail_with(error, target)


def api_key_from(file: Path | None) -> str:
    """The API key in a file, or else in CAIRN_API_KEY; without one the command ends."""
    try:
        api_key = file.read_text().strip() if file else os.environ.get("CAIRN_API_KEY", "").strip()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"the API key file {file} cannot be read: {error}. Name another with --api-key-file", BAD_INPUT)
    if not api_key:
        fail(
            "there is no API key: set CAIRN_API_KEY or name its file with --api-key-file "
            "(make one with: cairn keys create --tenant NAME)",
            BAD_INPUT,
        )
    return api_key


def _is_loopback(target: str) -> bool:
    host = target.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def channel_to(target: str, *, insecure: bool) -> grpc.Channel:
    """A channel, with TLS unless the target is this machine or `insecure`."""
    if _is_loopback(target) or insecure:
        return grpc.insecure_channel(target)
    return grpc.secure_channel(target, grpc.ssl_channel_credentials())


def async_channel(target: str, *, insecure: bool, options: Sequence[tuple[str, int]] = ()) -> grpc.aio.Channel:
    """A channel for asyncio, with TLS unless the target is this machine or `insecure`."""
    if _is_loopback(target) or insecure:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), options=options)


def fail_with(error: Any, target: str, *, service: str = "recommendation service") -> NoReturn:
    """End the command with what a refusal says."""
    # gRPC types its errors as RpcError alone; those of a call are the call as well.
    code = error.code()
    if code is grpc.StatusCode.UNAVAILABLE and rpc_status.from_call(error) is None:
        # The service's own UNAVAILABLE carries details; this one is the connection's.
        fail(
            f"no {service} answers at {target}: start it, or name another with --target ({error.details()})",
            FAILED,
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        fail(f"the service at {target} did not answer in time: allow it longer with --timeout-s", FAILED)
    fail(f"{code.name}: {error.details()}", BAD_INPUT if code is grpc.StatusCode.INVALID_ARGUMENT else FAILED)


def fail(message: str, code: int) -> NoReturn:
    """End the command with a sentence on standard error."""
    typer.echo(message, err=True)
    raise typer.Exit(code)
