"""What the catalog service says of skills, items and activities."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from cairn.v1 import catalog_pb2, catalog_pb2_grpc
from services.common.rpc.calls import Metadata
from services.ingest.application.file_figures import CatalogTags

_PAGE_SIZE = 1_000
_CALL_TIMEOUT_S = 10.0


def read_catalog_tags(channel: grpc.Channel, metadata: Metadata) -> CatalogTags:
    """The tenant's skills, and its resources that assess some. Raises grpc.RpcError."""
    stub = catalog_pb2_grpc.CatalogServiceStub(channel)

    def skills() -> Iterator[str]:
        request = catalog_pb2.ListSkillsRequest(page_size=_PAGE_SIZE)
        while True:
            page = stub.ListSkills(request, metadata=metadata, timeout=_CALL_TIMEOUT_S)
            yield from (skill.id for skill in page.skills)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def assessing() -> Iterator[str]:
        request = catalog_pb2.ListResourcesRequest(page_size=_PAGE_SIZE)
        request.filter.untagged = False
        while True:
            page = stub.ListResources(request, metadata=metadata, timeout=_CALL_TIMEOUT_S)
            yield from (resource.id for resource in page.resources if resource.assesses)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    return CatalogTags(frozenset(skills()), frozenset(assessing()))
