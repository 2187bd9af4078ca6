"""The CatalogService: reads from the view, writes through the use cases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from google.rpc import status_pb2

from cairn.v1 import catalog_pb2
from services.catalog.application.import_catalog import ImportInvalidError
from services.catalog.application.ports import CatalogUnavailableError, CatalogView
from services.catalog.application.read_catalog import FilteredResources, ResourceFilter, page_of, page_token_after
from services.catalog.application.writing import CatalogLogRecreatedError
from services.catalog.domain.etags import etag_of
from services.catalog.domain.model import Resource, Skill
from services.catalog.entrypoints.calls.edit import EditCalls
from services.catalog.entrypoints.calls.shared import RETRY_AFTER_S, Calls, Context, UseCases
from services.catalog.entrypoints.calls.tag import TagCalls
from services.catalog.entrypoints.metrics import CatalogMetrics
from services.catalog.wire.resources import filter_from_proto, resource_from_proto, resource_to_proto
from services.catalog.wire.rules import rule_to_proto
from services.catalog.wire.skills import skill_from_proto, skill_to_proto
from services.catalog.wire.versions import outcome_to_proto
from services.common.rpc.call_context import current_tenant, note_for_audit
from services.common.rpc.statuses import (
    FieldViolation,
    abort,
    failed_precondition,
    invalid_argument,
    not_found,
    unavailable,
)
from services.common.turns import Pauses

SERVICE_NAME = catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"].full_name

# Room for the reply's other fields and framing.
_REPLY_MARGIN_BYTES = 4 * 1024

# Scopes of the page tokens of rules.
_RULES, _RULES_WITH_ENDED = "rules", "rules with those that have ended"

Message = TypeVar("Message", catalog_pb2.Skill, catalog_pb2.Resource, catalog_pb2.Rule)


@dataclass(frozen=True, slots=True)
class ImportLimits:
    """How large one import may be.

    Attributes:
        records_max: skills and resources together.
        bytes_max: their encoded size together, which bounds what one import holds in memory.
    """

    records_max: int = 200_000
    bytes_max: int = 256 * 1024 * 1024


class CatalogServicer(EditCalls, TagCalls):
    """Serves the tenant of the call's credential. Records of another tenant are answered like absent ones."""

    def __init__(
        self,
        view: CatalogView,
        use: UseCases,
        metrics: CatalogMetrics,
        *,
        limits: ImportLimits,
        reply_bytes_max: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Args: the view and use cases, the metrics, the limits, the largest reply, and the clock, aware."""
        self._calls = Calls(view, use, metrics)
        self._limits = limits
        self._page_bytes_max = reply_bytes_max - _REPLY_MARGIN_BYTES
        self._now = now
        self._filtered = FilteredResources()

    async def GetResource(  # noqa: N802 - the method's name in the contract.
        self, request: catalog_pb2.GetResourceRequest, context: Context
    ) -> catalog_pb2.GetResourceResponse:
        """One resource, or NOT_FOUND."""
        resource = (await self._calls.contents(context)).resources.get(request.id)
        if resource is None:
            await abort(context, not_found(f"there is no resource {request.id[:80]!r}; ListResources lists all"))
        return catalog_pb2.GetResourceResponse(resource=resource_to_proto(resource), etag=etag_of(resource))

    async def GetSkill(  # noqa: N802 - the method's name in the contract.
        self, request: catalog_pb2.GetSkillRequest, context: Context
    ) -> catalog_pb2.GetSkillResponse:
        """One skill, or NOT_FOUND."""
        skill = (await self._calls.contents(context)).skills.get(request.id)
        if skill is None:
            await abort(context, not_found(f"there is no skill {request.id[:80]!r}; ListSkills lists all"))
        return catalog_pb2.GetSkillResponse(skill=skill_to_proto(skill), etag=etag_of(skill))

    async def GetRule(  # noqa: N802 - the method's name in the contract.
        self, request: catalog_pb2.GetRuleRequest, context: Context
    ) -> catalog_pb2.GetRuleResponse:
        """One rule, or NOT_FOUND."""
        rule = (await self._calls.contents(context)).rules.get(request.id)
        if rule is None:
            await abort(context, not_found(f"there is no rule {request.id[:80]!r}; ListRules lists all"))
        return catalog_pb2.GetRuleResponse(rule=rule_to_proto(rule), etag=etag_of(rule))

    async def ListResources(  # noqa: N802 - the method's name in the contract.
        self, request: catalog_pb2.ListResourcesRequest, context: Context
    ) -> catalog_pb2.ListResourcesResponse:
        """A page of resources; fewer than requested when they would not fit in a reply."""
        contents = await self._calls.contents(context)
        wanted = filter_from_proto(request.filter)
        await self._check_filter(wanted, context)
        async with self._calls.reading(context):
            matching = self._filtered.of(current_tenant().name, contents.resources, wanted)
            page = page_of(matching, request.page_size, request.page_token, wanted.scope)
        messages = self._fitting([resource_to_proto(resource) for resource in page.records])
        more = page.more or len(messages) < len(page.records)
        return catalog_pb2.ListResourcesResponse(
            resources=messages,
            next_page_token=page_token_after(messages[-1].id, wanted.scope) if more else "",
            total_size=page.total,
        )

    async def ListSkills(  # noqa: N802 - the method's name in the contract.
        self, request: catalog_pb2.ListSkillsRequest, context: Context
    ) -> catalog_pb2.ListSkillsResponse:
        """A page of skills; fewer than requested when they would not fit in a reply."""
        contents = await self._calls.contents(context)
        async with self._calls.reading(context):
            page = page_of(contents.skills, request.page_size, request.page_token)
        messages = self._fitting([skill_to_proto(skill) for skill in page.records])
        more = page.more or len(messages) < len(page.records)
        return catalog_pb2.ListSkillsResponse(
            skills=messages, next_page_token=page_token_after(messages[-1].id) if more else "", total_size=page.total
        )

    async def ListRules(  # noqa: N802 - the method's name in the contract.
        self, request: catalog_pb2.ListRulesRequest, context: Context
    ) -> catalog_pb2.ListRulesResponse:
        """A page of rules; without those that have ended, unless requested."""
        contents = await self._calls.contents(context)
        now = self._now()
        rules = {
            name: rule for name, rule in contents.rules.items() if request.include_expired or not rule.has_ended(now)
        }
        scope = _RULES_WITH_ENDED if request.include_expired else _RULES
        async with self._calls.reading(context):
            page = page_of(rules, request.page_size, request.page_token, scope)
        messages = self._fitting([rule_to_proto(rule) for rule in page.records])
        more = page.more or len(messages) < len(page.records)
        return catalog_pb2.ListRulesResponse(
            rules=messages,
            next_page_token=page_token_after(messages[-1].id, scope) if more else "",
            total_size=page.total,
        )

    async def ImportCatalog(  # noqa: N802 - the method's name in the contract.
        self, request_iterator: AsyncIterator[catalog_pb2.ImportCatalogRequest], context: Context
    ) -> catalog_pb2.ImportCatalogResponse:
        """Write all records, or none."""
        await self._calls.contents(context)
        tenant = current_tenant().name
        skills, resources = await self._receive(request_iterator, context)
        start_s = time.perf_counter()
        try:
            outcome = await self._calls.use.import_catalog.run(tenant, skills, resources)
        except ImportInvalidError as error:
            # There may be several for each of 200,000 records.
            status = await asyncio.to_thread(_violations, error)
            await self._refuse(context, "invalid", status)
        except CatalogUnavailableError as error:
            status = unavailable(
                f"{error}; send the same import again: records that were already written count as unchanged",
                reason="CATALOG_LOG_UNAVAILABLE",
                retry_after_s=RETRY_AFTER_S,
            )
            await self._refuse(context, "unavailable", status)
        except CatalogLogRecreatedError as error:
            await self._refuse(context, "unavailable", failed_precondition(str(error), reason="CATALOG_LOG_RECREATED"))
        self._calls.metrics.imports.labels("written").inc()
        self._calls.metrics.written.labels("skill").inc(outcome.skills_written)
        self._calls.metrics.written.labels("resource").inc(outcome.resources_written)
        self._calls.metrics.import_seconds.observe(time.perf_counter() - start_s)
        note_for_audit(skills=outcome.skills_written, resources=outcome.resources_written)
        return outcome_to_proto(outcome)

    async def _receive(
        self, request_iterator: AsyncIterator[catalog_pb2.ImportCatalogRequest], context: Context
    ) -> tuple[list[Skill], list[Resource]]:
        skills: list[Skill] = []
        resources: list[Resource] = []
        received_bytes, pauses = 0, Pauses()
        async for request in request_iterator:
            received_bytes += request.ByteSize()
            for skill in request.skills:
                skills.append(skill_from_proto(skill))
                await pauses.when_due()
            for resource in request.resources:
                resources.append(resource_from_proto(resource))
                await pauses.when_due()
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

    async def _check_filter(self, wanted: ResourceFilter, context: Context) -> None:
        unknown = [name for name, values in (("kinds", wanted.kinds), ("statuses", wanted.statuses)) if None in values]
        if unknown:
            reason = "has a value that is unspecified or unknown to this service; leave it out to match any"
            await abort(context, invalid_argument([FieldViolation(f"filter.{name}", reason) for name in unknown]))

    async def _refuse(self, context: Context, outcome: str, status: status_pb2.Status) -> None:
        self._calls.metrics.imports.labels(outcome).inc()
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


def _violations(error: ImportInvalidError) -> status_pb2.Status:
    return invalid_argument(FieldViolation(problem.path, problem.reason) for problem in error.problems)
