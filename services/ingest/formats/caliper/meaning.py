"""What an event of Caliper means: an outcome, an interaction, a correction, or nothing that is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.common.auth.identity import natural_event_id
from services.ingest.domain.kinds.assessment import Assessment, Grain
from services.ingest.domain.kinds.correction import Correction, Void
from services.ingest.domain.kinds.interaction import Interaction, InteractionKind
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Instant, Submission
from services.ingest.formats.caliper.events import CANONICAL, EventRule
from services.ingest.formats.caliper.parts import (
    Described,
    Reference,
    UnreadableEventError,
    count_of,
    first,
    places,
    points_of,
    reference,
    same_learner,
    score_of,
    span_ms,
    time_of,
)
from services.ingest.formats.caliper.profiles import Profile
from services.ingest.formats.caliper.terms import field_of, is_foreign, term_of
from services.ingest.formats.long_ids import kept_id

_OPENED = frozenset({"Started"})
_COMPLETED = frozenset({"Submitted", "Completed"})
_REMOVED = frozenset({"Deleted", "Removed"})
_RESOURCE_EVENTS = frozenset({"AssessmentEvent", "AssignableEvent"})
_GRADE_EVENTS = frozenset({"GradeEvent", "OutcomeEvent", "ResultEvent"})


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An event that is left out, and why in the words of a summary."""

    reason: str


@dataclass(frozen=True, slots=True)
class Context:
    """What is known besides the event itself.

    Attributes:
        source: of events that name no application.
        described: the entities that the document describes.
        profile: what the producer bends.
    """

    source: str
    described: Described
    profile: Profile


class Act:
    """What an event says about one act of a learner: who, on what, in which attempt."""

    def __init__(self, event: Mapping[str, Any], context: Context) -> None:
        """Args: the event, which has no problems; what is known besides."""
        self.event = event
        self._described = context.described
        self._profile = context.profile
        self.kind = term_of(field_of(event, "type"))
        self.action = CANONICAL[term_of(event["action"]).casefold()]
        generated = event.get("generated")
        self.generated = generated if isinstance(generated, dict) else {}
        self.object = reference(event.get("object"), self._described) or Reference("", "", {})
        application = reference(event.get("edApp"), self._described)
        self.source = kept_id((application.id if application is not None else "") or context.source)
        found = score_of(self.generated)
        self.score_path = "generated" if found is None else found[0]
        self.score = None if found is None else found[1]
        self._attempts = list(self._find_attempts())
        self.attempt = self._attempts[0].entity if self._attempts else {}
        self.assignable = self._find_assignable()

    def _find_attempts(self) -> list[Reference]:
        """The attempt, as far as each place tells it: the object, what was generated, or a part of that."""
        # A score that was deleted is the object, and names its attempt.
        holders = (self.generated, self.score or {}, self.object.entity if self.object.is_a("Score", "Result") else {})
        found = [self.object, *(reference(holder, self._described) for holder in holders)]
        found += [reference(value, self._described) for value in places(holders, "attempt")]
        return [each for each in found if each is not None and each.is_a("Attempt") and each.entity]

    def _find_assignable(self) -> Reference | None:
        if self.object.id and not self.object.is_a("Attempt", "Score", "Result") and self.kind not in _GRADE_EVENTS:
            return self.object
        holders = [attempt.entity for attempt in self._attempts]
        holders += [self.score] if self.score is not None else []
        return first(places(holders, "assignable"), self._described)

    def assignee(self) -> str | None:
        """The learner whom the attempt is assigned to; None: it names none.

        Raises:
            UnreadableEventError: when it names several.
        """
        # Attempts and Results of 1.0 name their actor.
        holders = [*(attempt.entity for attempt in self._attempts), *([] if self.score is None else [self.score])]
        return same_learner(places(holders, "assignee", "actor"), self._described, "object.assignee")

    def worker(self) -> str | None:
        """The learner who worked: the assignee, else the actor; None: an application, or somebody in another role.

        Raises:
            UnreadableEventError: when the attempt names several.
        """
        actor = reference(self.event.get("actor"), self._described)
        person = None if actor is None or actor.is_a("SoftwareApplication", "Organization") else actor.id
        learner = self.assignee() or person or None
        return None if learner == person and not self._may_learn() else learner

    def _may_learn(self) -> bool:
        membership = reference(self.event.get("membership"), self._described)
        roles = membership.entity.get("roles") if membership is not None else None
        named = [term_of(role) for role in roles if isinstance(role, str)] if isinstance(roles, list) else []
        return not named or any(role.startswith("Learner") for role in named)

    def is_item(self) -> bool:
        """Whether one question was answered, instead of a whole activity."""
        if self.assignable is None:
            return False
        if self.assignable.is_a("AssessmentItem") or self.assignable.kind in self._profile.items:
            return True
        # A bare IRI, in an attempt that is a part of another.
        return not self.assignable.kind and any(attempt.entity.get("isPartOf") for attempt in self._attempts)

    def activity_of_item(self) -> str:
        """The activity that an item belongs to; empty: it is not known, or is a whole course."""
        holders = [self.assignable.entity] if self.assignable is not None else []
        whole = first(places(holders, "isPartOf"), self._described)
        if whole is None:
            parents = first((value for attempt in self._attempts for value in [attempt.entity.get("isPartOf")]), {})
            whole = first(places([parents.entity] if parents else [], "assignable"), self._described)
        return "" if whole is None or whole.is_a("Organization") else whole.id

    def happened_at(self) -> Instant | None:
        """When the learner finished; else when the event happened; None: it does not say.

        Raises:
            UnreadableEventError: when it is no time.
        """
        for attempt in self._attempts:
            if (ended := time_of(attempt.entity, "endedAtTime", "object.")) is not None:
                return ended
        return time_of(self.event, "eventTime") or time_of(self.generated, "dateCreated", "generated.")

    def event_id(self) -> str:
        """The id of the event; empty: it has none, as in 1.0."""
        return str(field_of(self.event, "id") or "")

    def attempt_id(self, item: str, activity: str) -> str:
        """What tells the attempt from the learner's others, which a regrade shares; empty: nothing does.

        The id of an attempt often holds the learner's, which may not enter the log.
        """
        count = count_of((attempt.entity for attempt in self._attempts), "object.")
        started = next((value for a in self._attempts if isinstance(value := a.entity.get("startedAtTime"), str)), "")
        if count is None and not started and not self._profile.one_attempt:
            return ""
        parts = ("caliper attempt", item, activity, str(count or ""), started)
        return natural_event_id(tuple(part.encode(errors="backslashreplace").decode() for part in parts))

    @property
    def count(self) -> int | None:
        """Which try it was."""
        return count_of((attempt.entity for attempt in self._attempts), "object.")

    @property
    def duration_ms(self) -> int | None:
        """The time that it took."""
        spans = (span_ms(holder) for holder in (*(a.entity for a in self._attempts), self.generated))
        return next((span for span in spans if span is not None), None)


def meaning_of(event: Mapping[str, Any], rule: EventRule, context: Context) -> Submission | LeftOut:
    """What an event that has no problems means.

    Raises:
        UnreadableEventError: when what it says about an outcome cannot be read.
    """
    if rule.left_out:
        return LeftOut(rule.left_out)
    if is_foreign(term_of(event["action"])):
        return LeftOut("Caliper: actions of another vocabulary")
    act = Act(event, context)
    assigned = act.assignable.kind if act.assignable is not None else ""
    reason = context.profile.left_out(act.kind, act.action, assigned)
    if reason is not None:
        return LeftOut(reason)
    return _meaning_of_act(act)


def _meaning_of_act(act: Act) -> Submission | LeftOut:
    if act.kind == "Event":
        return _deletion(act)
    if act.kind in _GRADE_EVENTS or act.score is not None:
        return _outcome(act)
    if act.kind in _RESOURCE_EVENTS:
        return _interaction(act)
    return LeftOut("Caliper: items without a score")


def _outcome(act: Act) -> Submission | LeftOut:
    if act.score is None:
        return LeftOut("Caliper: graded without a score")
    assigned = act.assignable.entity if act.assignable is not None else None
    points = points_of(act.score_path, act.score, assigned)
    if points.raw is None:
        return LeftOut("Caliper: graded without a score")
    if points.max is None:
        return LeftOut("Caliper: points without a maximum")
    if points.max <= 0:
        return LeftOut("Caliper: ungraded, the maximum is not above 0")
    # Who grades is no learner; who completes is one.
    learner = act.assignee() if act.kind in _GRADE_EVENTS else act.worker()
    if learner is None:
        raise UnreadableEventError("object.assignee", "is missing: name the learner whose attempt it is")
    if act.assignable is None or not act.assignable.id:
        raise UnreadableEventError("object.assignable", "is missing: name what was graded")
    item, activity = "", act.assignable.id
    if act.is_item():
        item, activity = act.assignable.id, act.activity_of_item()
    # Extra credit goes above the maximum, and penalties below 0: more than right, and less than wrong, is neither.
    raw = max(0.0, min(points.raw, points.max))
    attempt_id = act.attempt_id(item, activity)
    return Submission(
        learner_id=kept_id(learner),
        source=act.source,
        event_id=attempt_id or act.event_id(),
        occurred_at=act.happened_at(),
        body=Assessment(
            item=kept_id(item),
            activity=kept_id(activity),
            outcome=Score(raw, 0.0, points.max),
            attempt=act.count,
            duration_ms=act.duration_ms,
            grain=Grain.ITEM if item else Grain.ACTIVITY,
        ),
        revises=bool(attempt_id),
    )


def _interaction(act: Act) -> Submission | LeftOut:
    if act.action in _OPENED:
        kind = InteractionKind.OPENED
    elif act.action in _COMPLETED:
        kind = InteractionKind.COMPLETED
    else:
        return LeftOut("Caliper: other steps of an assignment")
    learner = act.worker()
    if learner is None:
        return LeftOut("Caliper: work of somebody who is no learner")
    if act.assignable is None or not act.assignable.id:
        path = "object.assignable" if act.object.is_a("Attempt") else "object.id"
        raise UnreadableEventError(path, "is missing: name what was assigned")
    duration_ms = act.duration_ms if kind is InteractionKind.COMPLETED else None
    return Submission(
        learner_id=kept_id(learner),
        source=act.source,
        event_id=act.event_id(),
        occurred_at=time_of(act.event, "eventTime"),
        body=Interaction(kept_id(act.assignable.id), kind, duration_ms=duration_ms),
    )


def _deletion(act: Act) -> Submission | LeftOut:
    """An attempt that was deleted never happened."""
    if act.action not in _REMOVED or not act.object.is_a("Attempt", "Score", "Result"):
        return LeftOut("Caliper: events of no profile")
    learner = act.assignee()
    assignable = act.assignable.id if act.assignable is not None else ""
    item = assignable if act.is_item() else ""
    target = act.attempt_id(item, act.activity_of_item() if item else assignable) if assignable else ""
    if learner is None or not target:
        return LeftOut("Caliper: deleted attempts that do not say whose and which they are")
    return Submission(
        learner_id=kept_id(learner),
        source=act.source,
        event_id=act.event_id(),
        occurred_at=time_of(act.event, "eventTime"),
        body=Correction(target, Void()),
    )
