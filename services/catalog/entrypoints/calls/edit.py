"""The calls that put and delete single records."""

from __future__ import annotations

from cairn.v1 import catalog_pb2, catalog_pb2_grpc
from services.catalog.application.edit_catalog import BatchOutcome, EditInvalidError, Expectation, PutResult, PutStatus
from services.catalog.domain.model import RecordKind, Resource, Skill
from services.catalog.domain.validation.fields import Problem
from services.catalog.entrypoints.calls.shared import Calls, Context
from services.catalog.wire.resources import resource_from_proto, resource_to_proto
from services.catalog.wire.rules import rule_from_proto, rule_to_proto
from services.catalog.wire.skills import skill_from_proto, skill_to_proto
from services.catalog.wire.versions import version_to_proto
from services.common.rpc.call_context import current_api_key_id, current_tenant, note_for_audit
from services.common.rpc.statuses import FieldViolation, abort, invalid_argument
from services.common.rpc.timestamps import timestamp_problem
from services.common.turns import Pauses

BATCH_MAX = 500

_STATUSES = {
    PutStatus.WRITTEN: catalog_pb2.PUT_STATUS_WRITTEN,
    PutStatus.UNCHANGED: catalog_pb2.PUT_STATUS_UNCHANGED,
    PutStatus.CONFLICT: catalog_pb2.PUT_STATUS_CONFLICT,
    PutStatus.REJECTED: catalog_pb2.PUT_STATUS_REJECTED,
}

_PutRequest = catalog_pb2.PutSkillRequest | catalog_pb2.PutResourceRequest | catalog_pb2.PutRuleRequest


class EditCalls(catalog_pb2_grpc.CatalogServiceServicer):
    """Handlers that return once the service's own view holds the change."""

    _calls: Calls

    async def PutResource(  # noqa: N802 - the method's name in the contract.
        self, request: catalog_pb2.PutResourceRequest, context: Context
    ) -> catalog_pb2.PutResourceResponse:
        """Write one resource."""
        async with self._calls.changing(context, "PutResource"):
            resource = resource_from_proto(request.resource)
            written = await self._calls.use.edit.put(current_tenant().name, resource, _expected(request))
            self._count("resource", int(written.changed))
            note_for_audit(id=resource.id, changed=written.changed)
            return catalog_pb2.PutResourceResponse(
                resource=resource_to_proto(written.record),
                etag=written.etag,
                version=version_to_proto(written.version),
            )

    async def DeleteResource(  # noqa: N802 - the method's name in the contract.
        self, request: catalog_pb2.DeleteResourceRequest, context: Context
    ) -> catalog_pb2.DeleteResourceResponse:
        """Remove one resource."""
        async with self._calls.changing(context, "DeleteResource"):
            version = await self._calls.use.edit.delete(
                current_tenant().name, RecordKind.RESOURCE, request.id, request.etag
            )
            note_for_audit(id=request.id)
            return catalog_pb2.DeleteResourceResponse(version=version_to_proto(version))

    async def PutSkill(  # noqa: N802 - the method's name in the contract.
        self, request: catalog_pb2.PutSkillRequest, context: Context
    ) -> catalog_pb2.PutSkillResponse:
        """Write one skill."""
        async with self._calls.changing(context, "PutSkill"):
            skill = skill_from_proto(request.skill)
            written = await self._calls.use.edit.put(current_tenant().name, skill, _expected(request))
            self._count("skill", int(written.changed))
            note_for_audit(id=skill.id, changed=written.changed)
            return catalog_pb2.PutSkillResponse(
                skill=skill_to_proto(written.record),
                etag=written.etag,
                version=version_to_proto(written.version),
            )

    async def DeleteSkill(  # noqa: N802 - the method's name in the contract.
        self, request: catalog_pb2.DeleteSkillRequest, context: Context
    ) -> catalog_pb2.DeleteSkillResponse:
        """Remove one skill that no other record refers to."""
        async with self._calls.changing(context, "DeleteSkill"):
            version = await self._calls.use.edit.delete(
                current_tenant().name, RecordKind.SKILL, request.id, request.etag
            )
            note_for_audit(id=request.id)
            return catalog_pb2.DeleteSkillResponse(version=version_to_proto(version))

    async def BatchPut(  # noqa: N802 - the method's name in the contract.
        self, request: catalog_pb2.BatchPutRequest, context: Context
    ) -> catalog_pb2.BatchPutResponse:
        """Write several skills and resources."""
        entries = len(request.skills) + len(request.resources)
        if entries > BATCH_MAX:
            reason = f"{entries} entries in total; send at most {BATCH_MAX} at once"
            await abort(context, invalid_argument([FieldViolation("resources", reason)]))
        async with self._calls.changing(context, "BatchPut"):
            pauses = Pauses()
            skills_in, resources_in = list[tuple[Skill, Expectation]](), list[tuple[Resource, Expectation]]()
            for of_skill in request.skills:
                skills_in.append((skill_from_proto(of_skill.skill), _expected(of_skill)))
                await pauses.when_due()
            for of_resource in request.resources:
                resources_in.append((resource_from_proto(of_resource.resource), _expected(of_resource)))
                await pauses.when_due()
            outcome = await self._calls.use.edit.put_batch(current_tenant().name, skills_in, resources_in)
            skills, resources = (
                sum(result.status is PutStatus.WRITTEN for result in results)
                for results in (outcome.skills, outcome.resources)
            )
            self._count("skill", skills)
            self._count("resource", resources)
            note_for_audit(skills=skills, resources=resources)
            return await _batch_reply(outcome, pauses)

    async def PutRule(  # noqa: N802 - the method's name in the contract.
        self, request: catalog_pb2.PutRuleRequest, context: Context
    ) -> catalog_pb2.PutRuleResponse:
        """Write one rule."""
        async with self._calls.changing(context, "PutRule"):
            if reason := timestamp_problem(request.rule.expires_at, absent="for a rule that does not end"):
                raise EditInvalidError([Problem("rule.expires_at", reason)])
            rule = rule_from_proto(request.rule)
            written = await self._calls.use.edit.put(
                current_tenant().name, rule, _expected(request), key_id=current_api_key_id()
            )
            self._count("rule", int(written.changed))
            note_for_audit(id=rule.id, changed=written.changed, rule_action=rule.action)
            return catalog_pb2.PutRuleResponse(rule=rule_to_proto(written.record), etag=written.etag)

    async def DeleteRule(  # noqa: N802 - the method's name in the contract.
        self, request: catalog_pb2.DeleteRuleRequest, context: Context
    ) -> catalog_pb2.DeleteRuleResponse:
        """Remove one rule."""
        async with self._calls.changing(context, "DeleteRule"):
            await self._calls.use.edit.delete(current_tenant().name, RecordKind.RULE, request.id, request.etag)
            note_for_audit(id=request.id)
            return catalog_pb2.DeleteRuleResponse()

    def _count(self, kind: str, written: int) -> None:
        self._calls.metrics.written.labels(kind).inc(written)


def _expected(request: _PutRequest) -> Expectation:
    return Expectation(request.etag, request.must_be_new)


async def _batch_reply(outcome: BatchOutcome, pauses: Pauses) -> catalog_pb2.BatchPutResponse:
    reply = catalog_pb2.BatchPutResponse(version=version_to_proto(outcome.version))
    for results, answered in ((outcome.skills, reply.skills), (outcome.resources, reply.resources)):
        for result in results:
            answered.append(_result(result))
            await pauses.when_due()
    return reply


def _result(result: PutResult) -> catalog_pb2.PutResult:
    return catalog_pb2.PutResult(
        status=_STATUSES[result.status],
        etag=result.etag,
        problems=[catalog_pb2.CatalogProblem(field=one.path, reason=one.reason) for one in result.problems],
    )
