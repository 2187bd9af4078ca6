"""How commands call the services: shared options, the API key, the channel, and error messages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from grpc_status import rpc_status

from cairn.client import CHANNEL_OPTIONS
from services.common.command_line import BAD_INPUT, fail
from services.common.rpc.addresses import is_loopback

Metadata = tuple[tuple[str, str | bytes], ...]

ApiKeyFile = Annotated[
    Path | None,
    typer.Option(
        help="File that holds the API key; without it the key is taken from CAIRN_API_KEY.", show_default=False
    ),
]
Insecure = Annotated[
    bool,
    typer.Option("--insecure", help="Call another machine without TLS. The API key can then be read on the network."),
]
TimeoutS = Annotated[float, typer.Option(min=0.1, help="Give up after this many seconds.")]


def api_key_from(file: Path | None) -> str:
    """The API key in a file, or else in CAIRN_API_KEY; without one the command ends."""
    try:
        api_key = file.read_text(encoding="utf-8").strip() if file else os.environ.get("CAIRN_API_KEY", "").strip()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"the API key file {file} cannot be read: {error}. Name another with --api-key-file", BAD_INPUT)
    if not api_key:
        fail(
            "there is no API key: set CAIRN_API_KEY or name its file with --api-key-file "
            "(make one with: cairn keys create --tenant NAME)",
            BAD_INPUT,
        )
    return api_key


def key_metadata(file: Path | None) -> Metadata:
    """The metadata of an authenticated call; `file` as for `api_key_from`."""
    return (("authorization", f"Bearer {api_key_from(file)}"),)


def channel_to(target: str, *, insecure: bool) -> grpc.Channel:
    """A channel, with TLS unless the target is this machine or `insecure`."""
    if is_loopback(target) or insecure:
        return grpc.insecure_channel(target, options=CHANNEL_OPTIONS)
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(), options=CHANNEL_OPTIONS)


def async_channel(target: str, *, insecure: bool, options: Sequence[tuple[str, int]] = ()) -> grpc.aio.Channel:
    """A channel for asyncio, with TLS unless the target is this machine or `insecure`; `options` more than its own."""
    options = (*CHANNEL_OPTIONS, *options)
    if is_loopback(target) or insecure:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), options=options)


def what_went_wrong(error: Any, target: str, service: str, *, option: str = "--target") -> str:
    """The message for a failed call.

    Args:
        error: the error of a call, which has `code` and `details`; gRPC types it only as RpcError.
        target: host:port of the service.
        service: its name.
        option: the command-line option that sets the target.
    """
    code = error.code()
    if code is grpc.StatusCode.UNAVAILABLE and rpc_status.from_call(error) is None:
        # UNAVAILABLE from the service itself has details; this one is from the connection.
        return f"no {service} answers at {target}: start it, or name another with {option} ({error.details()})"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"the {service} at {target} did not answer in time: increase --timeout-s"
    return f"{code.name}: {error.details()}"
