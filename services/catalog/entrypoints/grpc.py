"""The CatalogService: reads from the view, imports through the use case."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from google.rpc import status_pb2

from cairn.v1 import catalog_pb2, catalog_pb2_grpc
from services.catalog import wire
from services.catalog.application.import_catalog import CatalogLogRecreatedError, ImportCatalog, ImportInvalidError
from services.catalog.application.ports import CatalogUnavailableError, CatalogView
from services.catalog.application.read_catalog import PageRequestInvalidError, page_of, page_token_after
from services.catalog.domain.contents import Contents
from services.catalog.domain.model import Resource, Skill
from services.catalog.entrypoints.metrics import CatalogMetrics
from services.common.grpc_server import current_tenant
from services.common.statuses import (
    FieldViolation,
    abort,
    failed_precondition,
    invalid_argument,
    not_found,
    unavailable,
)

SERVICE_NAME = catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"].full_name

_RETRY_AFTER_S = 1.0
# Room for the reply's other fields and framing.
_REPLY_MARGIN_BYTES = 4 * 1024

Context = grpc.aio.ServicerContext[Any, Any]
Message = TypeVar("Message", catalog_pb2.Skill, catalog_pb2.Resource)


@dataclass(frozen=True, slots=True)
class ImportLimits:
    """How large one import may be.

    Attributes:
        records_max: skills and resources together.
        bytes_max: their encoded size together, which bounds what one import holds in memory.
    """

    records_max: int = 200_000
    bytes_max: int = 256 * 1024 * 1024


class CatalogServicer(catalog_pb2_grpc.CatalogServiceServicer):
    """Answers for the tenant of the call's credential; what belongs to another is as absent."""

    def __init__(
        self,
        view: CatalogView,
        import_catalog: ImportCatalog,
        metrics: CatalogMetrics,
        *,
        limits: ImportLimits,
        reply_bytes_max: int,
    ) -> None:
        """Args: the ports and use case, the metrics, the limits, and the largest reply."""
        self._view = view
        self._import = import_catalog
        self._metrics = metrics
        self._limits = limits
        self._page_bytes_max = reply_bytes_max - _REPLY_MARGIN_BYTES

    async def GetResource(  # noqa: N802 - the method's name in the contract.
        self, request: catalog_pb2.GetResourceRequest, context: Context
    ) -> catalog_pb2.GetResourceResponse:
        """One resource, or NOT_FOUND."""
        resource = (await self._contents(context)).resources.get(request.id)
        if resource is None:
            await abort(context, not_found(f"there is no resource {request.id[:80]!r}; ListResources names all"))
        return catalog_pb2.GetResourceResponse(resource=wire.resource_to_proto(resource))

    async def GetSkill(  # noqa: N802 - the method's name in the contract.
        self, request: catalog_pb2.GetSkillRequest, context: Context
    ) -> catalog_pb2.GetSkillResponse:
        """One skill, or NOT_FOUND."""
        skill = (await self._contents(context)).skills.get(request.id)
        if skill is None:
            await abort(context, not_found(f"there is no skill {request.id[:80]!r}; ListSkills names all"))
        return catalog_pb2.GetSkillResponse(skill=wire.skill_to_proto(skill))

    async def ListResources(  # noqa: N802 - the method's name in the contract.
        self, request: catalog_pb2.ListResourcesRequest, context: Context
    ) -> catalog_pb2.ListResourcesResponse:
        """A page of resources, fewer than asked for where they would not fit in a reply."""
        contents = await self._contents(context)
        try:
            page = page_of(contents.resources, request.page_size, request.page_token)
        except PageRequestInvalidError as error:
            await abort(context, invalid_argument([FieldViolation(error.field, str(error))]))
        messages = self._fitting([wire.resource_to_proto(resource) for resource in page.records])
        more = page.more or len(messages) < len(page.records)
        return catalog_pb2.ListResourcesResponse(
            resources=messages, next_page_token=page_token_after(messages[-1].id) if more else "", total_size=page.total
        )

    async def ListSkills(  # noqa: N802 - the method's name in the contract.
        self, request: catalog_pb2.ListSkillsRequest, context: Context
    ) -> catalog_pb2.ListSkillsResponse:
        """A page of skills, fewer than asked for where they would not fit in a reply."""
        contents = await self._contents(context)
        try:
            page = page_of(contents.skills, request.page_size, request.page_token)
        except PageRequestInvalidError as error:
            await abort(context, invalid_argument([FieldViolation(error.field, str(error))]))
        messages = self._fitting([wire.skill_to_proto(skill) for skill in page.records])
        more = page.more or len(messages) < len(page.records)
        return catalog_pb2.ListSkillsResponse(
            skills=messages, next_page_token=page_token_after(messages[-1].id) if more else "", total_size=page.total
        )

    async def ImportCatalog(  # noqa: N802 - the method's name in the contract.
        self, request_iterator: AsyncIterator[catalog_pb2.ImportCatalogRequest], context: Context
    ) -> catalog_pb2.ImportCatalogResponse:
        """Write all that is sent, or nothing."""
        await self._contents(context)
        tenant = current_tenant().name
        skills, resources = await self._receive(request_iterator, context)
        start_s = time.perf_counter()
        try:
            outcome = await self._import.run(tenant, skills, resources)
        except ImportInvalidError as error:
            violations = [FieldViolation(problem.path, problem.reason) for problem in error.problems]
            await self._refuse(context, "invalid", invalid_argument(violations))
        except CatalogUnavailableError as error:
            status = unavailable(
                f"{error}; send the same import again: what was written already counts as unchanged",
                reason="CATALOG_LOG_UNAVAILABLE",
                retry_after_s=_RETRY_AFTER_S,
            )
            await self._refuse(context, "unavailable", status)
        except CatalogLogRecreatedError as error:
            await self._refuse(context, "unavailable", failed_precondition(str(error), reason="CATALOG_LOG_RECREATED"))
        self._metrics.imports.labels("written").inc()
        self._metrics.written.labels("skill").inc(outcome.skills_written)
        self._metrics.written.labels("resource").inc(outcome.resources_written)
        self._metrics.import_seconds.observe(time.perf_counter() - start_s)
        return wire.outcome_to_proto(outcome)

    async def _receive(
        self, request_iterator: AsyncIterator[catalog_pb2.ImportCatalogRequest], context: Context
    ) -> tuple[list[Skill], list[Resource]]:
        skills: list[Skill] = []
        resources: list[Resource] = []
        received_bytes = 0
        async for request in request_iterator:
            received_bytes += request.ByteSize()
            skills += map(wire.skill_from_proto, request.skills)
            resources += map(wire.resource_from_proto, request.resources)
            for name, received, limit in (
                ("records", len(skills) + len(resources), self._limits.records_max),
                ("bytes", received_bytes, self._limits.bytes_max),
            ):
                if received > limit:
                    field = "resources" if resources else "skills"
                    reason = (
                        f"{received:,} {name} so far, one import takes at most {limit:,}; send several, skills first"
                    )
                    await self._refuse(context, "invalid", invalid_argument([FieldViolation(field, reason)]))
        return skills, resources

    async def _contents(self, context: Context) -> Contents:
        if not self._view.ready:
            message = "the catalog is still being read from its topics; try again, or wait for the health service"
            await abort(context, unavailable(message, reason="CATALOG_NOT_READY", retry_after_s=_RETRY_AFTER_S))
        return self._view.contents(current_tenant().name)

    async def _refuse(self, context: Context, outcome: str, status: status_pb2.Status) -> None:
        self._metrics.imports.labels(outcome).inc()
        await abort(context, status)

    def _fitting(self, messages: Sequence[Message]) -> list[Message]:
        # At least one: no record is larger than a reply may be.
        fitting: list[Message] = []
        size_bytes = 0
        for message in messages:
            # A repeated field adds a tag and a length of up to 5 bytes.
            size_bytes += message.ByteSize() + 6
            if fitting and size_bytes > self._page_bytes_max:
                break
            fitting.append(message)
        return fitting
