"""What a valid statement means: a response, a score, work with a resource, a correction, or nothing that counts.

The specification leaves the meaning of most statements to their verbs and results; docs/formats.md has these rules as
a table.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from services.ingest.domain.kinds.assessment import Assessment, Grain
from services.ingest.domain.kinds.correction import Correction, Void
from services.ingest.domain.kinds.interaction import Interaction, InteractionKind
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Instant, Submission, SubmittedBody
from services.ingest.formats.long_ids import kept_id
from services.ingest.formats.xapi.profiles import Profile
from services.ingest.formats.xapi.texts import VOIDED, duration_ms_of, moment_of

_ADL = "http://adlnet.gov/expapi/"
_STREAMS = "http://activitystrea.ms/schema/1.0/"
_OPENED = frozenset(
    {
        *(f"{_ADL}verbs/{verb}" for verb in ("experienced", "initialized", "launched", "resumed")),
        *(f"{base}{verb}" for base in (_STREAMS, "http://activitystrea.ms/") for verb in ("access", "open", "read")),
        *(f"{base}{verb}" for base in (_STREAMS, "http://activitystrea.ms/") for verb in ("start", "play")),
        "http://id.tincanapi.com/verb/viewed",
    }
)
_FINISHED = f"{_ADL}verbs/completed"
_COMPLETED = frozenset({_FINISHED, f"{_STREAMS}complete", "http://activitystrea.ms/complete"})
_SUCCESS = {f"{_ADL}verbs/passed": True, f"{_ADL}verbs/mastered": True, f"{_ADL}verbs/failed": False}
# What their result says is how far the work is, or what the learner thinks of the object.
_UNFINISHED = frozenset(
    f"{_ADL}verbs/{verb}" for verb in ("initialized", "launched", "progressed", "resumed", "suspended")
)
_OPINIONS = frozenset(
    {
        "http://id.tincanapi.com/verb/rated",
        *(f"{base}{verb}" for base in (_STREAMS, "http://activitystrea.ms/") for verb in ("like", "dislike")),
    }
)
# Of cmi5: someone decided that the learner need not do it.
_WAIVED = "https://w3id.org/xapi/adl/verbs/waived"
_ANSWERED = frozenset({f"{_ADL}verbs/answered", f"{_ADL}verbs/responded"})
_ITEMS = frozenset({f"{_ADL}activities/cmi.interaction", f"{_ADL}activities/question"})
_ATTEMPTS = frozenset({f"{_ADL}activities/attempt"})
_COURSES = frozenset({f"{_ADL}activities/course", "https://w3id.org/xapi/cmi5/activitytype/course"})
_VIDEOS = frozenset(
    {
        "https://w3id.org/xapi/video/activity-type/video",
        "https://w3id.org/xapi/acrossx/activities/video",
        f"{_ADL}activities/media",
        f"{_STREAMS}video",
    }
)

GROUP = "the actor is a group, not one learner"
NO_ACTIVITY = "the object is an agent, a group or another statement"
SUBSTATEMENT = "the object is a sub-statement, which is no act of its own"
UNGRADED = "the maximum is not above the minimum, so it was not graded"
NOT_PLACED = "a score without a scale"
NO_OUTCOME = "an answer or a question without an outcome"
VIDEO = "work with a video"
WAIVED = "work that was waived, so nobody answered"
OPINION = "an opinion, which is neither right nor wrong"
OTHER = "no outcome, and the verb is not one of opening or completing a resource"
SUMS_UP = "sums up answers that the same document has"


class _LeftOutError(Exception):
    """A statement means nothing that counts; the reason is the message."""


class Meaning(NamedTuple):
    """What a statement means.

    Attributes:
        submission: the event; None where it is left out.
        reason: why it is left out.
        parts_of: the activities of which an answer is a part.
        sums_up: the activity whose score it is, which may sum up answers.
    """

    submission: Submission | None = None
    reason: str = ""
    parts_of: frozenset[str] = frozenset()
    sums_up: str = ""


def learner_of(agent: dict[str, Any]) -> str:
    """The id of a learner: the agent's one identifier. An account's name is unique within its home page."""
    if "account" in agent:
        return kept_id(f"{agent['account']['homePage']}|{agent['account']['name']}")
    if "mbox_sha1sum" in agent:
        return f"mbox_sha1sum:{agent['mbox_sha1sum'].lower()}"
    identifier: str = agent.get("mbox") or agent["openid"]
    return kept_id(identifier)


def meaning_of(statement: dict[str, Any], source: str, profile: Profile) -> Meaning:
    """What a valid statement means.

    Args:
        statement: it.
        source: the system that observed it.
        profile: of its producer.
    """
    try:
        return _meaning(statement, source, profile)
    except _LeftOutError as left_out:
        return Meaning(reason=str(left_out))


def _meaning(statement: dict[str, Any], source: str, profile: Profile) -> Meaning:
    actor, target, verb = statement["actor"], statement["object"], statement["verb"]["id"]
    if verb == VOIDED:
        body: SubmittedBody = Correction(target["id"].lower(), Void())
        learner = learner_of(actor if actor.get("objectType") != "Group" else _identified(actor))
        return Meaning(_submission(statement, learner, source, body))
    if actor.get("objectType") == "Group":
        raise _LeftOutError(GROUP)
    if reason := _reason_to_leave_out(target, verb, profile):
        raise _LeftOutError(reason)
    kind = target.get("definition", {}).get("type", "")
    if kind in profile.statuses and verb in _SUCCESS:
        verb = _FINISHED
    learner = learner_of(actor)
    result = statement.get("result", {})
    outcome = None if verb in _UNFINISHED else _outcome(result, verb)
    if outcome is None:
        interaction = _interaction(statement, verb, kind, profile)
        return Meaning(_submission(statement, learner, source, interaction))
    parents = _parents(statement, "parent")
    duration_ms = duration_ms_of(result["duration"]) if "duration" in result else None
    if _is_item(target, verb, profile):
        activity = next(
            (
                parent["id"]
                for parent in parents
                if _type_of(parent) not in (_COURSES | _ATTEMPTS | profile.within_parent)
            ),
            "",
        )
        assessment = Assessment(
            item=kept_id(target["id"]),
            activity=kept_id(activity),
            outcome=outcome,
            attempt=_attempt(target, profile),
            duration_ms=duration_ms,
        )
        parts_of = frozenset(parent["id"] for parent in (*parents, *_parents(statement, "grouping")))
        return Meaning(_submission(statement, learner, source, assessment), parts_of=parts_of)
    whole = _whole(target, kind, parents, profile)
    assessment = Assessment(activity=kept_id(whole), outcome=outcome, duration_ms=duration_ms, grain=Grain.ACTIVITY)
    return Meaning(_submission(statement, learner, source, assessment), sums_up=target["id"])


def _reason_to_leave_out(target: dict[str, Any], verb: str, profile: Profile) -> str:
    """Why a statement with this object and verb means nothing that counts; empty: it may."""
    object_type = target.get("objectType", "Activity")
    if object_type == "SubStatement":
        return SUBSTATEMENT
    if object_type in ("Agent", "Group", "StatementRef"):
        return NO_ACTIVITY
    if reason := profile.left_out(verb, target):
        return reason
    if verb == _WAIVED:
        return WAIVED
    return OPINION if verb in _OPINIONS or _asks_for_opinion(target) else ""


def _identified(group: dict[str, Any]) -> dict[str, Any]:
    """A group that may be named as an agent is."""
    if any(name in group for name in ("account", "mbox", "mbox_sha1sum", "openid")):
        return group
    raise _LeftOutError(GROUP)


def _submission(statement: dict[str, Any], learner: str, source: str, body: SubmittedBody) -> Submission:
    at = statement.get("timestamp") or statement.get("stored")
    moment = moment_of(at) if at else None
    return Submission(
        learner_id=learner,
        source=source,
        body=body,
        event_id=statement.get("id", "").lower(),
        occurred_at=None if moment is None else Instant(int(moment.timestamp() // 1), moment.microsecond * 1000),
    )


def _outcome(result: dict[str, Any], verb: str) -> bool | Score | None:
    """Whether the learner was right, or the points: `scaled` counts only where there is no scale."""
    score = result.get("score", {})
    raw, low, high, scaled = score.get("raw"), score.get("min"), score.get("max"), score.get("scaled")
    if raw is not None and high is not None:
        if high <= (low or 0):
            raise _LeftOutError(UNGRADED)
        if low is not None or raw >= 0:
            return Score(float(raw), float(low or 0), float(high))
    if scaled is not None:
        return Score(float(scaled), -1.0 if scaled < 0 else 0.0, 1.0)
    success: bool | None = result.get("success", _SUCCESS.get(verb))
    if success is None and raw is not None:
        raise _LeftOutError(NOT_PLACED)
    return success


def _is_item(target: dict[str, Any], verb: str, profile: Profile) -> bool:
    definition = target.get("definition", {})
    kind = definition.get("type", "")
    return "interactionType" in definition or kind in _ITEMS or kind in profile.items or verb in _ANSWERED


def _asks_for_opinion(target: dict[str, Any]) -> bool:
    """Whether it is a scale of opinions, of which none is the right answer."""
    definition = target.get("definition", {})
    return definition.get("interactionType") == "likert" and not definition.get("correctResponsesPattern")


def _interaction(statement: dict[str, Any], verb: str, kind: str, profile: Profile) -> Interaction:
    target = statement["object"]
    if kind in _VIDEOS:
        raise _LeftOutError(VIDEO)
    if _is_item(target, verb, profile):
        raise _LeftOutError(NO_OUTCOME)
    if verb not in _OPENED and verb not in _COMPLETED:
        raise _LeftOutError(OTHER)
    resource = _whole(target, kind, _parents(statement, "parent"), profile)
    done = InteractionKind.COMPLETED if verb in _COMPLETED else InteractionKind.OPENED
    duration = statement.get("result", {}).get("duration")
    return Interaction(kept_id(resource), done, duration_ms=duration_ms_of(duration) if duration else None)


def _whole(target: dict[str, Any], kind: str, parents: list[dict[str, Any]], profile: Profile) -> str:
    """The activity that is meant: the object, or the first parent of which it is an attempt or a part."""
    whole: str = target["id"]
    parts = _ATTEMPTS | profile.within_parent
    return (
        next((parent["id"] for parent in parents if _type_of(parent) not in parts), whole) if kind in parts else whole
    )


def _parents(statement: dict[str, Any], relation: str) -> list[dict[str, Any]]:
    parents = statement.get("context", {}).get("contextActivities", {}).get(relation, [])
    return parents if isinstance(parents, list) else [parents]


def _type_of(activity: dict[str, Any]) -> str:
    kind: str = activity.get("definition", {}).get("type", "")
    return kind


def _attempt(target: dict[str, Any], profile: Profile) -> int | None:
    counted = target.get("definition", {}).get("extensions", {}).get(profile.attempt)
    return counted if type(counted) is int and 0 < counted < 1 << 31 else None
