"""A simulated learner who works on what is recommended, one resource a school day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from deploy.local.district import SOURCE, District, SimulatedResponse
from services.catalog.domain.model import Resource
from services.ingest.domain.kinds.assessment import Assessment
from services.ingest.domain.kinds.interaction import Interaction, InteractionKind
from services.ingest.domain.submission import Instant, Submission

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SATURDAY = 5
_BEGINS_AT_HOUR = 9
_MINUTES_ASSUMED = 10


@dataclass(frozen=True, slots=True)
class Worked:
    """A learner's work on one resource.

    Attributes:
        day: when it began.
        submissions: their events, in order: the answers, and that they completed it.
        right: number of right answers.
        answers: number of answers; 0 for a resource that only teaches.
    """

    day: datetime
    submissions: Sequence[Submission]
    right: int
    answers: int


class SimulatedLearning:
    """A learner of the district after an assessment of their class, who answers as the district's model says."""

    def __init__(self, district: District, learner_id: str, skill: str, resources: Mapping[str, Resource]) -> None:
        """Args: `skill`, the one that was assessed; `resources` of the catalog by id."""
        self.learner_id = learner_id
        self.skill = skill
        self._district = district
        self._resources = resources
        self._day = district.ends_at

    def work_on(self, resource_id: str, recommendation_id: str) -> Worked:
        """Work through a resource on the next school day.

        Args:
            resource_id: the resource.
            recommendation_id: the recommendation that led to it.
        """
        self._day = _next_school_day(self._day)
        resource = self._resources[resource_id]
        responses = self._district.work(self.learner_id, resource, self._day)
        minutes = resource.minutes or _MINUTES_ASSUMED
        ends_at = max([self._day + timedelta(minutes=minutes), *(response.occurred_at for response in responses)])
        completed = Submission(
            learner_id=self.learner_id,
            source=SOURCE,
            body=Interaction(resource_id, InteractionKind.COMPLETED, recommendation_id, minutes * 60_000),
            event_id=f"{self.learner_id}-completed-{resource_id}-{self._day:%Y%m%d}",
            occurred_at=_instant(ends_at),
        )
        submissions = [*map(submission_of, responses), completed]
        return Worked(self._day, submissions, sum(response.correct for response in responses), len(responses))


def submission_of(response: SimulatedResponse) -> Submission:
    """A response as a platform submits it."""
    return Submission(
        learner_id=response.learner_id,
        source=SOURCE,
        body=Assessment(
            item=response.item,
            activity=response.resource,
            outcome=response.correct,
            duration_ms=response.duration_ms,
        ),
        event_id=response.event_id,
        occurred_at=_instant(response.occurred_at),
    )


def _next_school_day(moment: datetime) -> datetime:
    day = moment + timedelta(days=1)
    while day.weekday() >= _SATURDAY:
        day += timedelta(days=1)
    return day.replace(hour=_BEGINS_AT_HOUR, minute=0, second=0, microsecond=0)


def _instant(moment: datetime) -> Instant:
    since = moment - _EPOCH
    return Instant(since.days * 86_400 + since.seconds, since.microseconds * 1_000)
