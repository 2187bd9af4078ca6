"""The calls about suggested tags."""

from __future__ import annotations

from collections.abc import Sequence

from cairn.v1 import catalog_pb2, catalog_pb2_grpc
from services.catalog.application.review_tags import TagDecision
from services.catalog.application.taggers import SuggestedSkill
from services.catalog.domain.etags import etag_of
from services.catalog.entrypoints.calls.shared import Calls, Context
from services.catalog.wire.resources import resource_to_proto
from services.common.rpc.call_context import current_tenant, note_for_audit
from services.common.rpc.statuses import FieldViolation, abort, invalid_argument

_DECISIONS = {
    catalog_pb2.TAG_DECISION_ACCEPT: TagDecision.ACCEPT,
    catalog_pb2.TAG_DECISION_REJECT: TagDecision.REJECT,
}


class TagCalls(catalog_pb2_grpc.CatalogServiceServicer):
    """Suggestions, the queue of those to review, and the answers."""

    _calls: Calls

    async def SuggestTags(  # noqa: N802 - the method's name in the contract.
        self, request: catalog_pb2.SuggestTagsRequest, context: Context
    ) -> catalog_pb2.SuggestTagsResponse:
        """Suggest skills for resources and texts."""
        async with self._calls.reading(context):
            tagger, found = await self._calls.use.suggest_tags.run(
                current_tenant().name, request.resource_ids, request.texts, request.limit
            )
            self._calls.metrics.suggested.inc(len(found))
            names = [*request.resource_ids, *("" for _ in request.texts)]
            return catalog_pb2.SuggestTagsResponse(
                suggestions=[_suggestions(name, skills) for name, skills in zip(names, found, strict=True)],
                tagger=tagger,
            )

    async def ListTagReviews(  # noqa: N802 - the method's name in the contract.
        self, request: catalog_pb2.ListTagReviewsRequest, context: Context
    ) -> catalog_pb2.ListTagReviewsResponse:
        """A page of the queue."""
        async with self._calls.reading(context):
            page = await self._calls.use.list_tag_reviews.run(
                current_tenant().name, request.page_size, request.page_token
            )
            return catalog_pb2.ListTagReviewsResponse(
                reviews=[
                    catalog_pb2.TagReview(
                        resource_id=tag.resource_id,
                        title=tag.title,
                        skill=tag.skill,
                        confidence=tag.confidence,
                        traffic=tag.traffic,
                        drawn_at_random=tag.drawn_at_random,
                    )
                    for tag in page.waiting
                ],
                next_page_token=page.next_page_token,
                total_size=page.total,
            )

    async def ReviewTag(  # noqa: N802 - the method's name in the contract.
        self, request: catalog_pb2.ReviewTagRequest, context: Context
    ) -> catalog_pb2.ReviewTagResponse:
        """A person's answer."""
        decision = _DECISIONS.get(request.decision)
        if decision is None:
            reason = f"{request.decision} is not an answer; send TAG_DECISION_ACCEPT or TAG_DECISION_REJECT"
            await abort(context, invalid_argument([FieldViolation("decision", reason)]))
        async with self._calls.changing(context, "ReviewTag"):
            written = await self._calls.use.review_tag.run(
                current_tenant().name, request.resource_id, request.skill, decision, request.etag
            )
            self._calls.metrics.reviews.labels(decision).inc(int(written.changed))
            note_for_audit(
                id=request.resource_id, skill=request.skill, decision=decision.value, changed=written.changed
            )
            return catalog_pb2.ReviewTagResponse(
                resource=resource_to_proto(written.record), etag=etag_of(written.record)
            )


def _suggestions(resource_id: str, skills: Sequence[SuggestedSkill]) -> catalog_pb2.TagSuggestions:
    return catalog_pb2.TagSuggestions(
        resource_id=resource_id,
        skills=[
            catalog_pb2.TagSuggestion(skill=one.skill, confidence=one.confidence, examples=one.examples)
            for one in skills
        ],
    )
