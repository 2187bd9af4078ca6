"""What a learner wants to work towards, and how."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from services.common.auth.identity import normalised_id
from services.common.resource_kinds import ResourceKind
from services.ingest.domain.problems import Problem, ProblemKind, shown, skill_list_problems
from services.ingest.domain.submission import (
    AssessedSkills,
    BodySummary,
    ContentField,
    LoggedBody,
    Submission,
    SubmittedBody,
)

GOALS_MAX = 16
INTERESTS_MAX = 32

_TOPIC = re.compile(r"[a-z0-9-]{1,64}")


class Pace(IntEnum):
    """How much of a challenge a learner wants."""

    UNSPECIFIED = 0
    GENTLE = 1
    STEADY = 2
    BRISK = 3


# Looking up a number among the members of an enum would take longer than all other checks of the field.
_PACES = frozenset(map(int, Pace))
_RESOURCE_KINDS = {int(kind): kind.name for kind in ResourceKind if kind is not ResourceKind.UNSPECIFIED}


@dataclass(frozen=True, slots=True)
class Preference(SubmittedBody, LoggedBody):
    """What a learner wants.

    Attributes:
        goals: skills to work towards; empty: none from now on; None: as before.
        interests: topics the learner likes; empty and None as for goals.
        formats: kinds of resource the learner prefers, each a `ResourceKind` or an unknown number; likewise.
        pace: a `Pace`, or an unknown number; unspecified: as before.
    """

    goals: tuple[str, ...] | None = None
    interests: tuple[str, ...] | None = None
    formats: tuple[int, ...] | None = None
    pace: int = Pace.UNSPECIFIED

    def normalised(self) -> Preference:
        """See SubmittedBody."""
        goals = None if self.goals is None else tuple(map(normalised_id, self.goals))
        return self if goals == self.goals else replace(self, goals=goals)

    def problems(self, submission: Submission) -> Iterator[Problem]:
        """See SubmittedBody."""
        if self == Preference():
            reason = "is empty: set goals, interests, formats or pace; an empty list withdraws an earlier one"
            yield Problem("preference", ProblemKind.MISSING, reason)
        goals = self.goals or ()
        yield from skill_list_problems("preference.goals.skills", goals, GOALS_MAX, "the most important ones")
        yield from _interest_problems(self.interests or ())
        yield from _format_problems(self.formats or ())
        if self.pace not in _PACES:
            remedy = "send PACE_GENTLE (1), PACE_STEADY (2) or PACE_BRISK (3), or leave it out"
            yield Problem("preference.pace", ProblemKind.UNKNOWN, f"is {self.pace}, which is not a pace: {remedy}")

    def natural_key(self, source: str) -> tuple[str, ...]:
        """See SubmittedBody."""
        return (
            "preference",
            *_counted(self.goals),
            *_counted(self.interests),
            *_counted(None if self.formats is None else tuple(str(int(kind)) for kind in self.formats)),
            str(int(self.pace)),
        )

    def content(self, source: str) -> Sequence[ContentField]:
        """See SubmittedBody."""
        return (
            ("preference.goals", _text_of(self.goals)),
            ("preference.interests", _text_of(self.interests)),
            ("preference.formats", _text_of(self.formats)),
            ("preference.pace", str(int(self.pace))),
        )

    def accept(self, source: str, assessed_skills: AssessedSkills) -> Preference:
        """See SubmittedBody."""
        return self

    def summary(self) -> BodySummary:
        """See SubmittedBody."""
        return BodySummary("preference")


def _text_of(values: Sequence[str | int] | None) -> str:
    """The values as one text; an absent list differs from an empty one."""
    return "" if values is None else f"[{', '.join(f'{value!r}' for value in values)}]"


def _counted(values: tuple[str, ...] | None) -> tuple[str, ...]:
    """The values after their number, so that no list runs into the next; an absent list differs from an empty one."""
    return ("",) if values is None else (str(len(values)), *values)


def _interest_problems(topics: tuple[str, ...]) -> Iterator[Problem]:
    if len(topics) > INTERESTS_MAX:
        reason = f"has {len(topics)} topics, at most {INTERESTS_MAX}: keep the most important ones"
        yield Problem("preference.interests.topics", ProblemKind.TOO_MANY, reason)
        return
    for index, topic in enumerate(topics):
        field = f"preference.interests.topics[{index}]"
        first = topics.index(topic)
        if not _TOPIC.fullmatch(topic):
            reason = f"is {shown(topic)}: send a label of the catalog's topics, 1 to 64 of a-z, 0-9 and -"
            yield Problem(field, ProblemKind.UNKNOWN, reason)
        elif first != index:
            yield Problem(field, ProblemKind.REPEATED, f"is {shown(topic)} again, as topics[{first}]: name each once")


def _format_problems(kinds: tuple[int, ...]) -> Iterator[Problem]:
    if len(kinds) > len(_RESOURCE_KINDS):
        reason = f"has {len(kinds)} kinds, and there are {len(_RESOURCE_KINDS)}: name each kind once"
        yield Problem("preference.formats.kinds", ProblemKind.TOO_MANY, reason)
        return
    for index, kind in enumerate(kinds):
        field = f"preference.formats.kinds[{index}]"
        first = kinds.index(kind)
        if first != index:
            yield Problem(field, ProblemKind.REPEATED, f"is {kind} again, as kinds[{first}]: name each kind once")
        elif kind not in _RESOURCE_KINDS:
            known = ", ".join(f"{name} ({number})" for number, name in _RESOURCE_KINDS.items())
            yield Problem(field, ProblemKind.UNKNOWN, f"is {kind}, which is not a kind of resource: send {known}")
