"""How the catalog's commands call the CatalogService, and how they report errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import grpc
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cairn.v1 import catalog_pb2, catalog_pb2_grpc, recommender_pb2_grpc
from services.catalog.domain.model import Resource, Skill
from services.catalog.wire.resources import resource_from_proto, resource_to_proto
from services.catalog.wire.skills import skill_from_proto, skill_to_proto
from services.common.command_line import FAILED, fail
from services.common.rpc.calls import Metadata, channel_to, key_metadata, what_went_wrong

_CHUNK_BYTES_MAX = 1_000_000
_PAGE_SIZE = 1_000
# A field of a chunk adds a tag and a length to the record itself.
_FRAMING_BYTES = 6


class Kind(StrEnum):
    """Kinds of records that the commands read and write."""

    SKILL = "skill"
    RESOURCE = "resource"


Target = Annotated[
    str, typer.Option(envvar="CAIRN_TARGET_CATALOG", help="host:port of the catalog service.", show_default=True)
]
DEFAULT_TARGET = "127.0.0.1:50052"


@contextmanager
def calling(
    target: str, api_key_file: Path | None, *, insecure: bool
) -> Iterator[tuple[catalog_pb2_grpc.CatalogServiceStub, Metadata]]:
    """A stub and the metadata of its calls; a failed call exits the command with a message."""
    metadata = key_metadata(api_key_file)
    with channel_to(target, insecure=insecure) as channel:
        try:
            yield catalog_pb2_grpc.CatalogServiceStub(channel), metadata
        except grpc.RpcError as error:
            fail(what_went_wrong(error, target, "catalog service"), FAILED)


@contextmanager
def calling_recommender(
    target: str, api_key_file: Path | None, *, insecure: bool
) -> Iterator[tuple[recommender_pb2_grpc.RecommendationServiceStub, Metadata]]:
    """The same for the recommendation service."""
    metadata = key_metadata(api_key_file)
    with channel_to(target, insecure=insecure) as channel:
        try:
            yield recommender_pb2_grpc.RecommendationServiceStub(channel), metadata
        except grpc.RpcError as error:
            option = "--target-recommender"
            fail(what_went_wrong(error, target, "recommendation service", option=option), FAILED)


def send(
    stub: catalog_pb2_grpc.CatalogServiceStub, metadata: Metadata, records: Sequence[Skill | Resource], timeout_s: float
) -> catalog_pb2.ImportCatalogResponse:
    """Import records, skills before the resources that use them, with a progress bar on a terminal."""
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
        message = skill_to_proto(record) if isinstance(record, Skill) else resource_to_proto(record)
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
            records, token = [skill_from_proto(message) for message in skills.skills], skills.next_page_token
        else:
            resources = stub.ListResources(
                catalog_pb2.ListResourcesRequest(page_size=size, page_token=token), metadata=metadata, timeout=timeout_s
            )
            records = [resource_from_proto(message) for message in resources.resources]
            token = resources.next_page_token
        yield from records
        left -= len(records)
        if not token:
            return
