"""Requests and messages of Subscribe: checked and turned into queries, and back; cursors as readers keep them."""

from __future__ import annotations

import base64
import binascii
import hmac
import struct
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from cairn.v1 import recommender_pb2
from services.common.auth.identity import LEARNER_PATTERN
from services.common.auth.tenant import Tenant
from services.recommender.application.subscriptions.list_cursors import INPUTS_BYTES, LIST_BYTES, ListCursor
from services.recommender.application.subscriptions.subscribe import (
    LearnerForgotten,
    LearnerUnreadable,
    Message,
    SnapshotDone,
)
from services.recommender.application.subscriptions.subscriptions import SubscribeQuery
from services.recommender.domain.ranking.policy import EVERYTHING
from services.recommender.wire.calls import (
    Problems,
    add_recommendations,
    check_class_id,
    check_learner_id,
    degradations,
    provenance_message,
    resource_filter,
)
from services.recommender.wire.rosters import problem_message

LEARNERS_MAX = 1_000
LIMIT_DEFAULT = 5
LIMIT_MAX = 20
CURSOR_CHARACTERS_MAX = 200

_LAYOUT = struct.Struct(f"<Bq{INPUTS_BYTES}s{LIST_BYTES}s")
_VERSION = 1
_TAG_BYTES = 12
_REMEDY = (
    "pass the cursor of the learner's last update unchanged, with the same limit, filter, class and tenant, or none"
)


def subscribe_query(
    request: recommender_pb2.SubscribeRequest, tenant: Tenant
) -> tuple[SubscribeQuery, Mapping[str, str]]:
    """The query of a Subscribe call, and the learner ids of the request by pseudonym.

    Raises:
        RequestInvalidError: when a field violates the contract.
    """
    problems = Problems()
    names = _names(request, tenant, problems)
    if request.limit > LIMIT_MAX:
        problems.say("limit", f"{request.limit} is more than {LIMIT_MAX}; ask for 1 to {LIMIT_MAX}")
    wanted = resource_filter(request.filter, problems) if request.HasField("filter") else EVERYTHING
    check_class_id(request.class_id, problems)
    problems.raise_any()
    query = SubscribeQuery(
        learners=tuple(names),
        whole_tenant=request.whole_tenant,
        limit=request.limit or LIMIT_DEFAULT,
        wanted=wanted,
        class_id=request.class_id,
    )
    cursors = _cursors(request, CursorCodec(tenant, query), tenant, names, problems)
    problems.raise_any()
    return (
        SubscribeQuery(query.learners, query.whole_tenant, query.limit, query.wanted, query.class_id, cursors),
        names,
    )


class CursorCodec:
    """Cursors as opaque text, bound to the tenant, the learner and the query."""

    def __init__(self, tenant: Tenant, query: SubscribeQuery) -> None:
        """Args: `query`, whose limit, filter and class matter."""
        asked = repr((query.limit, query.wanted.identity, query.class_id))
        self._tag = hmac.new(tenant.secret, b"cairn-list-cursor\0", "sha256")
        self._tag.update(blake2b(asked.encode()).digest())

    def encode(self, learner: str, cursor: ListCursor) -> str:
        """The cursor of a learner, by pseudonym, as text."""
        body = _LAYOUT.pack(_VERSION, cursor.offset, cursor.inputs, cursor.listed)
        return _as_text(body + self._tag_of(learner, body))

    def decode(self, learner: str, text: str) -> ListCursor | None:
        """The inverse; None when this is not a cursor of that learner for the query."""
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        body, tag = raw[: _LAYOUT.size], raw[_LAYOUT.size :]
        # Several texts decode to the same bytes: only the canonical one is accepted.
        if (
            len(body) != _LAYOUT.size
            or _as_text(raw) != text
            or not hmac.compare_digest(tag, self._tag_of(learner, body))
        ):
            return None
        version, offset, inputs, listed = _LAYOUT.unpack(body)
        return ListCursor(offset, inputs, listed) if version == _VERSION else None

    def _tag_of(self, learner: str, body: bytes) -> bytes:
        tag = self._tag.copy()
        tag.update(learner.encode())
        tag.update(body)
        return tag.digest()[:_TAG_BYTES]


def _as_text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def subscribe_response(
    message: Message, names: Mapping[str, str], cursors: CursorCodec
) -> recommender_pb2.SubscribeResponse:
    """One message of a subscription.

    Args:
        message: the message.
        names: the reader's ids of learners, by pseudonym; others are identified by their pseudonym.
        cursors: encodes cursors.
    """
    response = recommender_pb2.SubscribeResponse()
    if isinstance(message, SnapshotDone):
        response.snapshot_complete.learners = message.learners
        return response
    if isinstance(message, LearnerForgotten):
        response.gone.learner_id = message.learner
        return response
    if isinstance(message, LearnerUnreadable):
        response.unreadable.learner_id = names.get(message.learner, message.learner)
        response.unreadable.problem.CopyFrom(problem_message(message.problem))
        return response
    update = response.update
    update.learner_id = names.get(message.learner, message.learner)
    add_recommendations(update.recommendations, message.answer)
    update.provenance.CopyFrom(provenance_message(message.answer.provenance))
    update.degraded.extend(degradations(message.answer.degraded))
    update.cursor = cursors.encode(message.learner, message.cursor)
    return response


def _names(request: recommender_pb2.SubscribeRequest, tenant: Tenant, problems: Problems) -> dict[str, str]:
    """Learner ids by pseudonym."""
    learner_ids: Sequence[str] = request.learner_ids
    if request.whole_tenant:
        if learner_ids:
            problems.say("learner_ids", "whole_tenant watches every learner; leave learner_ids empty, or whole_tenant")
        return {}
    if not learner_ids:
        problems.say("learner_ids", f"it is empty; name 1 to {LEARNERS_MAX} learners, or set whole_tenant")
    elif len(learner_ids) > LEARNERS_MAX:
        problems.say(
            "learner_ids",
            f"it has {len(learner_ids)} entries; name at most {LEARNERS_MAX}, or set whole_tenant",
        )
        return {}
    first_place: dict[str, int] = {}
    for place, learner_id in enumerate(learner_ids):
        form = check_learner_id(learner_id, problems, f"learner_ids[{place}]")
        first = first_place.setdefault(form, place)
        if first != place:
            problems.say(f"learner_ids[{place}]", f"the same learner is at learner_ids[{first}]; name each once")
    return {tenant.pseudonym(form): learner_ids[place] for form, place in first_place.items()}


def _cursors(
    request: recommender_pb2.SubscribeRequest,
    codec: CursorCodec,
    tenant: Tenant,
    names: Mapping[str, str],
    problems: Problems,
) -> dict[str, ListCursor]:
    cursors: dict[str, ListCursor] = {}
    for place, given in enumerate(request.cursors):
        field = f"cursors[{place}]"
        learner = given.learner_id if request.whole_tenant else tenant.pseudonym(given.learner_id)
        if request.whole_tenant and not LEARNER_PATTERN.fullmatch(learner):
            problems.say(f"{field}.learner_id", "it is not a pseudonym; pass the learner_id of the update unchanged")
        elif not request.whole_tenant and learner not in names:
            problems.say(f"{field}.learner_id", "the learner is not in learner_ids; leave their cursor out")
        elif learner in cursors:
            problems.say(f"{field}.learner_id", "the learner has a cursor already; pass the last one only")
        elif len(given.cursor) > CURSOR_CHARACTERS_MAX:
            problems.say(f"{field}.cursor", f"it has {len(given.cursor)} characters; {_REMEDY}")
        elif (cursor := codec.decode(learner, given.cursor)) is None:
            problems.say(f"{field}.cursor", f"{given.cursor!r} is not a cursor of this learner; {_REMEDY}")
        else:
            cursors[learner] = cursor
    return cursors
