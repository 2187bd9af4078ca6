"""A learner's response to an item, or a score on an activity: as submitted, and as stamped for the log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import ClassVar

from services.common.auth.identity import are_plain, normalised_id
from services.ingest.domain.outcome import Score, folded, normalised, score_problems, text_of, without_noise
from services.ingest.domain.problems import (
    ID_CHARACTERS_MAX,
    Problem,
    ProblemKind,
    shown,
    skill_list_problems,
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

SKILLS_MAX = 16


class Grain(IntEnum):
    """How much of the learner's work one score is about."""

    UNSPECIFIED = 0
    ITEM = 1
    ACTIVITY = 2


class SkillsFrom(IntEnum):
    """Where an event's skills came from."""

    EVENT = 1
    CATALOG = 2
    NONE = 3


# Into which the fold divides the range of responses when it compares them.
_FRACTIONS = 1 << 24
# Looking up a number among the members of an enum would take longer than all other checks of the field.
_GRAINS = frozenset(map(int, Grain))


@dataclass(frozen=True, slots=True)
class Assessment(SubmittedBody):
    """A response to an item, or a score on an activity.

    Attributes:
        item: the question answered; empty when the score is on an activity.
        activity: the quiz, problem set or lesson; empty when not known.
        skills: the skills it assesses, as the platform names them; empty: the catalog's.
        outcome: right or wrong, or points; None when neither was sent.
        attempt: which try this was, from 1.
        hints: hints requested before answering.
        duration_ms: time from shown to answered.
        grain: what was scored: a `Grain`, or an unknown number.
    """

    item: str = ""
    activity: str = ""
    skills: tuple[str, ...] = ()
    outcome: bool | Score | None = None
    attempt: int | None = None
    hints: int | None = None
    duration_ms: int | None = None
    grain: int = Grain.UNSPECIFIED

    revisable: ClassVar[bool] = True

    @property
    def effective_grain(self) -> int:
        """The grain; when unspecified, an item if there is one, else an activity."""
        if self.grain == Grain.UNSPECIFIED:
            return Grain.ITEM if self.item else Grain.ACTIVITY
        return self.grain

    def normalised(self) -> Assessment:
        """See SubmittedBody."""
        outcome = without_noise(self.outcome)
        if outcome is self.outcome and are_plain(self.item, self.activity, *self.skills):
            return self
        changed = replace(self, skills=tuple(map(normalised_id, self.skills)), outcome=outcome)
        changed = self if changed == self else changed
        return with_normalised_ids(changed, "item", "activity")

    def problems(self, submission: Submission) -> Iterator[Problem]:
        """See SubmittedBody."""
        yield from text_problems("assessment.item", self.item, ID_CHARACTERS_MAX)
        yield from text_problems("assessment.activity", self.activity, ID_CHARACTERS_MAX)
        yield from _grain_problems(self)
        if self.skills:
            keep = "the main ones"
            yield from skill_list_problems("assessment.skills", self.skills, SKILLS_MAX, keep)
        if self.outcome is None:
            reason = "is not set: send correct, or score with raw, min and max"
            yield Problem("assessment.outcome", ProblemKind.MISSING, reason)
        elif isinstance(self.outcome, Score):
            yield from score_problems("assessment.score", self.outcome)
        if self.attempt == 0:
            reason = "is 0: count tries from 1, or leave it out when not counted"
            yield Problem("assessment.attempt", ProblemKind.OUT_OF_RANGE, reason)

    def natural_key(self, source: str) -> tuple[str, ...]:
        """See SubmittedBody."""
        return self.item, self.activity

    def natural_details(self) -> tuple[str, ...]:
        """See SubmittedBody."""
        if not self.skills and self.attempt is None:
            return ()
        # Exports of the same act may list its skills in another order.
        skills = sorted(self.skills)
        return "skills", str(len(skills)), *skills, "attempt", "" if self.attempt is None else str(self.attempt)

    def content(self, source: str) -> Sequence[ContentField]:
        """See SubmittedBody."""
        return (
            ("assessment.item", self.item),
            ("assessment.activity", self.activity),
            # As in `natural_details`, in any order.
            ("assessment.skills", ", ".join(map(repr, sorted(self.skills)))),
            (
                "assessment.score" if isinstance(self.outcome, Score) else "assessment.correct",
                text_of(self.outcome),
                "" if self.outcome is None else str(int(folded(self.outcome) * _FRACTIONS)),
            ),
            ("assessment.attempt", "" if self.attempt is None else str(self.attempt)),
            ("assessment.hints", "" if self.hints is None else str(self.hints)),
            ("assessment.duration_ms", "" if self.duration_ms is None else str(self.duration_ms)),
            ("assessment.grain", str(int(self.effective_grain))),
        )

    def accept(self, source: str, assessed_skills: AssessedSkills) -> StampedAssessment:
        """See SubmittedBody."""
        return stamp(self, assessed_skills)

    def summary(self) -> BodySummary:
        """See SubmittedBody."""
        match self.outcome:
            case Score(raw, low, high):
                outcome = f"{raw:g} of {low:g} to {high:g}"
            case None:
                outcome = "none"
            case correct:
                outcome = "right" if correct else "wrong"
        return BodySummary(self.item or self.activity, ", ".join(self.skills), outcome)


@dataclass(frozen=True, slots=True)
class StampedAssessment(LoggedBody):
    """An assessment as it is written to the log.

    Attributes:
        assessment: what was submitted, checked.
        response: the outcome on [0, 1].
        skills: the skills it is evidence of.
        skills_from: where they came from.
        resource: the catalog resource it was given in; empty when there is none.
    """

    assessment: Assessment
    response: float
    skills: tuple[str, ...]
    skills_from: SkillsFrom
    resource: str

    @property
    def without_skills(self) -> bool:
        """See LoggedBody."""
        return not self.skills


def stamp(assessment: Assessment, assessed_skills: AssessedSkills) -> StampedAssessment:
    """The assessment with its response, the skills it is evidence of, and the resource it was given in.

    The outcome has been checked. Skills that the platform named take precedence; then those of the item's resource;
    then those of the activity's. If the item's resource assesses nothing, the activity's skills count.
    """
    if assessment.outcome is None:
        raise AssertionError("an assessment without an outcome passed the check")
    of_item = assessed_skills(assessment.item) if assessment.item else None
    of_activity = assessed_skills(assessment.activity) if assessment.activity else None
    resource = ""
    if of_item is not None:
        resource = assessment.item
    elif of_activity is not None:
        resource = assessment.activity
    skills, skills_from = assessment.skills, SkillsFrom.EVENT
    if not skills:
        skills = (of_item or of_activity or ())[:SKILLS_MAX]
        skills_from = SkillsFrom.CATALOG if skills else SkillsFrom.NONE
    return StampedAssessment(assessment, normalised(assessment.outcome), skills, skills_from, resource)


def _grain_problems(assessment: Assessment) -> Iterator[Problem]:
    if assessment.grain not in _GRAINS:
        yield Problem(
            "assessment.grain",
            ProblemKind.UNKNOWN,
            f"is {assessment.grain}, which is not a grain: send GRAIN_ITEM (1) or GRAIN_ACTIVITY (2), or leave it out",
        )
    elif not assessment.item and not assessment.activity:
        field = "activity" if assessment.grain == Grain.ACTIVITY else "item"
        yield Problem(
            f"assessment.{field}",
            ProblemKind.MISSING,
            "is empty and so is the other: name the item that was answered, or the activity that was scored",
        )
    elif assessment.grain == Grain.ITEM and not assessment.item:
        yield Problem(
            "assessment.item",
            ProblemKind.MISSING,
            "is empty but the grain is an item: name the item, or send GRAIN_ACTIVITY for a score on the activity",
        )
    elif assessment.grain == Grain.ACTIVITY and not assessment.activity:
        yield Problem(
            "assessment.activity",
            ProblemKind.MISSING,
            "is empty but the grain is an activity: name the activity, or send GRAIN_ITEM for a response to the item",
        )
    elif assessment.grain == Grain.ACTIVITY and assessment.item:
        yield Problem(
            "assessment.item",
            ProblemKind.CONTRADICTORY,
            f"is {shown(assessment.item)} but the grain is an activity: leave the item out, or send GRAIN_ITEM",
        )
