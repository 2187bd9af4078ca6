"""How the catalog's commands call the CatalogService, and what they say when they cannot."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import grpc
import typer
from grpc_status import rpc_status
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cairn.v1 import catalog_pb2, catalog_pb2_grpc, recommender_pb2_grpc
from services.catalog import wire
from services.catalog.domain.model import Resource, Skill

Metadata = tuple[tuple[str, str | bytes], ...]

FAILED = 1
BAD_INPUT = 2
_CHUNK_BYTES_MAX = 1_000_000
_PAGE_SIZE = 1_000
# A field of a chunk costs a tag and a length beside the record itself.
_FRAMING_BYTES = 6


class Kind(StrEnum):
    """What the catalog keeps."""

    SKILL = "skill"
    RESOURCE = "resource"


Target = Annotated[
    str, typer.Option(envvar="CAIRN_TARGET_CATALOG", help="host:port of the catalog service.", show_default=True)
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

DEFAULT_TARGET = "127.0.0.1:50052"


@contextmanager
def calling(
    target: str, api_key_file: Path | None, *, insecure: bool
) -> Iterator[tuple[catalog_pb2_grpc.CatalogServiceStub, Metadata]]:
    """A stub and what to send along; a call that fails ends the command with a sentence."""
    metadata = (("authorization", f"Bearer {_api_key(api_key_file)}"),)
    with _channel(target, insecure=insecure) as channel:
        try:
            yield catalog_pb2_grpc.CatalogServiceStub(channel), metadata
        except grpc.RpcError as error:
            fail(_sentence(error, target), FAILED)


@contextmanager
def calling_recommender(
    target: str, api_key_file: Path | None, *, insecure: bool
) -> Iterator[tuple[recommender_pb2_grpc.RecommendationServiceStub, Metadata]]:
    """The same for the recommendation service."""
    metadata = (("authorization", f"Bearer {_api_key(api_key_file)}"),)
    with _channel(target, insecure=insecure) as channel:
        try:
            yield recommender_pb2_grpc.RecommendationServiceStub(channel), metadata
        except grpc.RpcError as error:
            fail(_sentence(error, target, "recommendation"), FAILED)


def _api_key(file: Path | None) -> str:
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


def _channel(target: str, *, insecure: bool) -> grpc.Channel:
    host = target.rpartition(":")[0].strip("[]")
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if loopback or insecure:
        return grpc.insecure_channel(target)
    return grpc.secure_channel(target, grpc.ssl_channel_credentials())


def _sentence(error: Any, target: str, service: str = "catalog") -> str:
    code = error.code()
    if code is grpc.StatusCode.UNAVAILABLE and rpc_status.from_call(error) is None:
        # The service's own UNAVAILABLE carries details; this one is the connection's.
        option = "--target" if service == "catalog" else "--target-recommender"
        return f"no {service} service answers at {target}: start it, or name another with {option} ({error.details()})"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"the {service} service at {target} did not answer in time: allow it longer with --timeout-s"
    return f"{code.name}: {error.details()}"


def send(
    stub: catalog_pb2_grpc.CatalogServiceStub, metadata: Metadata, records: Sequence[Skill | Resource], timeout_s: float
) -> catalog_pb2.ImportCatalogResponse:
    """Import records, skills before the resources that name them, with a progress bar on a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("sending", total=len(records))

        def chunks() -> Iterator[catalog_pb2.ImportCatalogRequest]:
            for chunk in _chunked(records):
                yield chunk
                progress.advance(task, len(chunk.skills) + len(chunk.resources))
            progress.update(task, description="writing")

        return stub.ImportCatalog(chunks(), metadata=metadata, timeout=timeout_s)


def _chunked(records: Sequence[Skill | Resource]) -> Iterator[catalog_pb2.ImportCatalogRequest]:
    chunk, size_bytes = catalog_pb2.ImportCatalogRequest(), 0
    for record in records:
        message = wire.skill_to_proto(record) if isinstance(record, Skill) else wire.resource_to_proto(record)
        message_bytes = message.ByteSize() + _FRAMING_BYTES
        if size_bytes and size_bytes + message_bytes > _CHUNK_BYTES_MAX:
            yield chunk
            chunk, size_bytes = catalog_pb2.ImportCatalogRequest(), 0
        if isinstance(message, catalog_pb2.Skill):
            chunk.skills.append(message)
        else:
            chunk.resources.append(message)
        size_bytes += message_bytes
    yield chunk


def listed(
    stub: catalog_pb2_grpc.CatalogServiceStub,
    metadata: Metadata,
    kind: Kind,
    limit: int,
    timeout_s: float,
) -> Iterator[Skill | Resource]:
    """Up to `limit` records in the order of their ids, fetched a page at a time."""
    left, token = limit, ""
    while left:
        size = min(left, _PAGE_SIZE)
        records: list[Skill] | list[Resource]
        if kind is Kind.SKILL:
            skills = stub.ListSkills(
                catalog_pb2.ListSkillsRequest(page_size=size, page_token=token), metadata=metadata, timeout=timeout_s
            )
            records, token = [wire.skill_from_proto(message) for message in skills.skills], skills.next_page_token
        else:
            resources = stub.ListResources(
                catalog_pb2.ListResourcesRequest(page_size=size, page_token=token), metadata=metadata, timeout=timeout_s
            )
            records = [wire.resource_from_proto(message) for message in resources.resources]
            token = resources.next_page_token
        yield from records
        left -= len(records)
        if not token:
            return


def fail(message: str, code: int) -> NoReturn:
    """End the command with a sentence on stderr and an exit code."""
    typer.echo(message, err=True)
    raise typer.Exit(code)
