"""What a learner does with a resource of the catalog."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from services.ingest.domain.problems import ID_CHARACTERS_MAX, Problem, ProblemKind, text_problems
from services.ingest.domain.submission import (
    AssessedSkills,
    BodySummary,
    ContentField,
    LoggedBody,
    Submission,
    SubmittedBody,
    with_normalised_ids,
)

RECOMMENDATION_ID_CHARACTERS_MAX = 64


class InteractionKind(IntEnum):
    """What a learner did with a resource."""

    UNSPECIFIED = 0
    OPENED = 1
    COMPLETED = 2
    DISMISSED = 3


# Looking up a number among the members of an enum would take longer than all other checks of the field.
_KINDS = frozenset(map(int, InteractionKind))


@dataclass(frozen=True, slots=True)
class Interaction(SubmittedBody, LoggedBody):
    """Something a learner did with a resource.

    Attributes:
        resource: the resource, by its id in the catalog.
        kind: what was done: an `InteractionKind`, or an unknown number.
        recommendation_id: what led to it; empty when nothing did, or when not known.
        duration_ms: time spent; None when not measured.
    """

    resource: str
    kind: int
    recommendation_id: str = ""
    duration_ms: int | None = None

    def normalised(self) -> Interaction:
        """See SubmittedBody."""
        return with_normalised_ids(self, "resource", "recommendation_id")

    def problems(self, submission: Submission) -> Iterator[Problem]:
        """See SubmittedBody."""
        required = "the resource's id in the catalog"
        yield from text_problems("interaction.resource", self.resource, ID_CHARACTERS_MAX, required=required)
        if self.kind == InteractionKind.UNSPECIFIED or self.kind not in _KINDS:
            reason = "is not set" if not self.kind else f"is {self.kind}, which is not a kind"
            remedy = (
                "send INTERACTION_KIND_OPENED (1), INTERACTION_KIND_COMPLETED (2) or INTERACTION_KIND_DISMISSED (3)"
            )
            kind = ProblemKind.UNKNOWN if self.kind else ProblemKind.MISSING
            yield Problem("interaction.kind", kind, f"{reason}: {remedy}")
        field = "interaction.recommendation_id"
        yield from text_problems(field, self.recommendation_id, RECOMMENDATION_ID_CHARACTERS_MAX)

    def natural_key(self, source: str) -> tuple[str, ...]:
        """See SubmittedBody."""
        return "interaction", self.resource, str(int(self.kind))

    def content(self, source: str) -> Sequence[ContentField]:
        """See SubmittedBody."""
        return (
            ("interaction.resource", self.resource),
            ("interaction.kind", str(int(self.kind))),
            ("interaction.recommendation_id", self.recommendation_id),
            ("interaction.duration_ms", "" if self.duration_ms is None else str(self.duration_ms)),
        )

    def accept(self, source: str, assessed_skills: AssessedSkills) -> Interaction:
        """See SubmittedBody."""
        return self

    def summary(self) -> BodySummary:
        """See SubmittedBody."""
        return BodySummary("interaction", self.resource, str(self.kind))
