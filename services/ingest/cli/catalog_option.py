"""The option `--target-catalog` of `cairn ingest load`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer

from services.common.rpc.calls import channel_to, key_metadata
from services.ingest.adapters.grpc_catalog import read_catalog_tags
from services.ingest.application.file_figures import CatalogTags

TargetCatalog = Annotated[
    str,
    typer.Option(
        envvar="CAIRN_TARGET_CATALOG",
        help="host:port of the catalog service, which is asked for the skills of items; empty: it is not asked.",
    ),
]


def catalog_tags(target: str, api_key_file: Path | None, *, insecure: bool) -> CatalogTags:
    """The tags of the catalog at a target; where it cannot be asked, the reason. A load does not need them."""
    if not target:
        return CatalogTags(not_asked="set CAIRN_TARGET_CATALOG or --target-catalog")
    if api_key_file is None and not os.environ.get("CAIRN_API_KEY", "").strip():
        return CatalogTags(not_asked="set CAIRN_API_KEY or --api-key-file")
    metadata = key_metadata(api_key_file)
    with channel_to(target, insecure=insecure) as channel:
        try:
            return read_catalog_tags(channel, metadata)
        except grpc.RpcError as error:
            return CatalogTags(not_asked=_reason(error, target))


def _reason(error: Any, target: str) -> str:
    """Args: the error of a call, which has `code` and `details`; gRPC types it only as RpcError."""
    return f"the catalog service at {target} gives no answer ({error.code().name}: {error.details()})"
