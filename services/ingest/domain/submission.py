"""What a platform submits, and what ingest makes of it for the log."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self, TypeVar

from services.common.auth.identity import EventIdentity, are_plain, natural_event_id, normalised_id
from services.ingest.domain.problems import Problem

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Dataclass = TypeVar("_Dataclass", bound="DataclassInstance")

AssessedSkills = Callable[[str], tuple[str, ...] | None]
"""Maps a resource's id to the skills it assesses in the tenant's catalog, heaviest first; None: no such resource."""


@dataclass(frozen=True, slots=True, order=True)
class Instant:
    """A point in time.

    Attributes:
        seconds: whole seconds since 1970-01-01T00:00:00Z.
        nanoseconds: the rest, 0 to 999,999,999 where the instant is valid.
    """

    seconds: int
    nanoseconds: int = 0

    def __str__(self) -> str:
        return f"{self.seconds}.{self.nanoseconds:09d}"


ContentField = tuple[str, str] | tuple[str, str, str]
"""A field of an event's content: its path, which may depend on the content; its text, empty when it is not set; and,
where the fold reads it less precisely than the text says, the text to compare instead."""


class LoggedBody:
    """What happened, as it is written to the log: checked and complete. Each kind of event is a subclass."""

    __slots__ = ()

    @property
    def without_skills(self) -> bool:
        """Whether it is an assessment of no skill."""
        return False


@dataclass(frozen=True, slots=True)
class BodySummary:
    """A body in a few words, for a preview.

    Attributes:
        what: the item, the activity, or the kind of event.
        about: skills or a resource.
        outcome: right, wrong, points, or what was done.
    """

    what: str
    about: str = ""
    outcome: str = ""


class SubmittedBody(ABC):
    """What happened, as the platform describes it. Nothing has been checked. Each kind of event is a subclass.

    Attributes:
        revisable: whether an event of this kind may replace an earlier one with the same identity.
    """

    __slots__ = ()

    revisable: ClassVar[bool] = False

    @abstractmethod
    def normalised(self) -> Self:
        """With every id in its one form, and points without noise; the same object when nothing changes."""

    @abstractmethod
    def problems(self, submission: Submission) -> Iterable[Problem]:
        """Everything wrong with it, once it is normalised; `submission` is the event it belongs to."""

    @abstractmethod
    def natural_key(self, source: str) -> tuple[str, ...]:
        """What distinguishes it from the learner's other events, when the platform gave no id.

        The first part is the kind's own name, so no two kinds share a key. Only an assessment's key is just its item
        and its activity. It is the same in every release: what distinguishes events since a later one is in
        `natural_details`.

        Args:
            source: the system that observed the event.
        """

    def natural_details(self) -> tuple[str, ...]:
        """What else distinguishes it, beyond the key of the first release; empty where it has none of that."""
        return ()

    @abstractmethod
    def content(self, source: str) -> Sequence[ContentField]:
        """Every field that the log keeps: two bodies whose fields compare as equal say the same.

        At most 9, always in the same order, each within the kind's own message. What the catalog adds is no part of
        it, so that a change of tags makes no other event.

        Args:
            source: the system that observed the event.
        """

    @abstractmethod
    def accept(self, source: str, assessed_skills: AssessedSkills) -> LoggedBody:
        """The body for the log, once it has no problems.

        Args:
            source: the system that observed the event.
            assessed_skills: what the tenant's catalog knows.
        """

    @abstractmethod
    def summary(self) -> BodySummary:
        """The body in a few words."""


@dataclass(frozen=True, slots=True)
class Submission:
    """One event as a platform knows it. Nothing about it has been checked.

    Attributes:
        learner_id: the learner as the platform knows them.
        source: the system that observed the event.
        body: what happened; None when the platform did not say.
        event_id: the platform's id of the event; empty: one is derived.
        occurred_at: when the learner acted; None when not known.
        source_sequence: the source's own sequence number or row id.
        ordinal: how many earlier rows of its file agree with it in everything its id is derived from.
        former_id_taken: whether an earlier row of its file had the id that the first release derived.
        revises: whether it may replace the outcome of an earlier event with the same identity.
    """

    learner_id: str
    source: str
    body: SubmittedBody | None
    event_id: str = ""
    occurred_at: Instant | None = None
    source_sequence: str = ""
    ordinal: int = 0
    former_id_taken: bool = False
    revises: bool = False

    def normalised(self) -> Submission:
        """With every id in its one form, and points without noise; the same object when nothing changes."""
        body = self.body if self.body is None else self.body.normalised()
        with_body = self if body is self.body else replace(self, body=body)
        if are_plain(self.learner_id, self.source, self.event_id, self.source_sequence):
            return with_body
        return with_normalised_ids(with_body, "learner_id", "source", "event_id", "source_sequence")


@dataclass(frozen=True, slots=True)
class AcceptedEvent:
    """An event as it is written to the log, where it never changes.

    Attributes:
        event_id: identity within the source.
        tenant: the learner's tenant.
        learner: the learner's pseudonym.
        source: the system that observed it.
        occurred_at: when the learner acted; None when not known.
        received_at: when it was accepted.
        body: what happened, checked and complete.
        former_event_id: the id that the first release derived, where it is another one and may have been applied.
        revises: whether it may replace the outcome of an earlier event with the same identity.
    """

    event_id: str
    tenant: str
    learner: str
    source: str
    occurred_at: Instant | None
    received_at: Instant
    body: LoggedBody
    former_event_id: str = ""
    revises: bool = False

    @property
    def identity(self) -> EventIdentity:
        """What makes another record a copy of it."""
        return EventIdentity(self.tenant, self.learner, self.source, self.event_id)


def with_normalised_ids(record: _Dataclass, *names: str) -> _Dataclass:
    """A record with the ids of these names in their one form; the same object when they have it already."""
    changes = {name: form for name in names if (form := normalised_id(sent := getattr(record, name))) != sent}
    return replace(record, **changes) if changes else record


def event_ids_of(submission: Submission, tenant: str, learner: str, sent: Submission | None = None) -> tuple[str, str]:
    """The event's id, and the id that the first release gave it where that one differs and may be in the log.

    The id is the platform's, or UUIDv5 of the natural key. Without an id, a time, an attempt and a source sequence, two
    submissions with the same content are one event, unless they are rows of one file.

    Args:
        submission: the event, normalised.
        tenant: the learner's tenant.
        learner: the learner's pseudonym.
        sent: the event as it was sent, which is what the first release identified it by; None: the same.
    """
    sent = submission if sent is None else sent
    if submission.event_id:
        return submission.event_id, "" if sent.event_id == submission.event_id else sent.event_id
    details = natural_details(submission)
    derived = _derived(submission, tenant, learner, details)
    if submission.former_id_taken or (not details and sent is submission):
        return derived, ""
    former = _derived(sent, tenant, learner, ())
    return derived, "" if former == derived else former


def _derived(submission: Submission, tenant: str, learner: str, details: tuple[str, ...]) -> str:
    source, *key = former_key(submission)
    return natural_event_id((tenant, source, learner, *key, *details))


def former_key(submission: Submission) -> tuple[str, ...]:
    """What the first release told a learner's events apart by, beginning with the source.

    Its order never changes, so that a file loaded then keeps its ids.
    """
    if submission.body is None:
        raise AssertionError("an event without a body passed the check")
    occurred_at = "" if submission.occurred_at is None else str(submission.occurred_at)
    key = submission.body.natural_key(submission.source)
    return submission.source, *key, occurred_at, submission.source_sequence


def natural_details(submission: Submission) -> tuple[str, ...]:
    """What events are told apart by besides; empty for an event that keeps the id of the first release."""
    if submission.body is None:
        raise AssertionError("an event without a body passed the check")
    details = submission.body.natural_details()
    return (*details, "ordinal", str(submission.ordinal)) if submission.ordinal else details
