"""Voiding or regrading an assessment event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from services.ingest.domain.outcome import Score, folded, score_problems, text_of, without_noise
from services.ingest.domain.problems import (
    EVENT_ID_CHARACTERS_MAX,
    ID_CHARACTERS_MAX,
    Problem,
    ProblemKind,
    shown,
    text_problems,
)
from services.ingest.domain.submission import (
    AssessedSkills,
    BodySummary,
    ContentField,
    LoggedBody,
    Submission,
    SubmittedBody,
    with_normalised_ids,
)


@dataclass(frozen=True, slots=True)
class Void:
    """The event never happened."""


@dataclass(frozen=True, slots=True)
class Correction(SubmittedBody, LoggedBody):
    """An assessment event of the same learner was wrong.

    Attributes:
        target_event_id: the id of the event that was wrong.
        change: that it never happened, or what should have been observed; None when neither was sent.
        target_source: the source of the event that was wrong; empty: the correction's own.
    """

    target_event_id: str
    change: Void | bool | Score | None
    target_source: str = ""

    def normalised(self) -> Correction:
        """See SubmittedBody."""
        change = without_noise(self.change)
        changed = self if change is self.change else replace(self, change=change)
        return with_normalised_ids(changed, "target_event_id", "target_source")

    def problems(self, submission: Submission) -> Iterator[Problem]:
        """See SubmittedBody."""
        field, target = "correction.target_event_id", self.target_event_id
        required = "the id of the wrong event, as the platform gave it or as PublishEvents derived it"
        yield from text_problems(field, target, EVENT_ID_CHARACTERS_MAX, required=required)
        yield from text_problems("correction.target_source", self.target_source, ID_CHARACTERS_MAX)
        own = (submission.source, submission.event_id)
        if target and own == (self.target_source or submission.source, target):
            reason = f"is {shown(target)}, this correction's own id: name the event that was wrong"
            yield Problem(field, ProblemKind.CONTRADICTORY, reason)
        if self.change is None:
            reason = "is not set: send voided if the event never happened, else correct, or score with raw, min and max"
            yield Problem("correction.change", ProblemKind.MISSING, reason)
        elif isinstance(self.change, Score):
            yield from score_problems("correction.score", self.change)

    def natural_key(self, source: str) -> tuple[str, ...]:
        """See SubmittedBody."""
        return "correction", self.target_source or source, self.target_event_id, _key_of(self.change)

    def content(self, source: str) -> Sequence[ContentField]:
        """See SubmittedBody."""
        return (
            ("correction.target_source", self.target_source or source),
            ("correction.target_event_id", self.target_event_id),
            ("correction.change", *_change_content(self.change)),
        )

    def accept(self, source: str, assessed_skills: AssessedSkills) -> Correction:
        """See SubmittedBody."""
        return replace(self, target_source=self.target_source or source)

    def summary(self) -> BodySummary:
        """See SubmittedBody."""
        return BodySummary("correction")


def _change_content(change: Void | bool | Score | None) -> tuple[str, str]:  # noqa: FBT001 - as below.
    if change is None or isinstance(change, Void):
        return "voided", "voided"
    return text_of(change), repr(folded(change))


def _key_of(change: Void | bool | Score | None) -> str:  # noqa: FBT001 - right or wrong is a bool.
    match change:
        case Score() as score:
            # The shortest text that reads back as the same number.
            return f"score {score.raw!r} {score.min!r} {score.max!r}"
        case bool() as correct:
            return "correct" if correct else "incorrect"
        case Void():
            return "void"
        case None:
            raise AssertionError("a correction without a change passed the check")
