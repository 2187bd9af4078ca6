"""`python -m deploy.evaluation.laws`: count the laws of a list for the learners of the simulated district.

Lists are made as by a server, in this process, of the sample catalog as the demo has it: with a bundle that was
trained on all that happened in the district, and without one. Each learner gets a list after each session of the
simulated weeks (`assigned`), and then after each of the resources that they take from the top of their list
(`followed`). A lesson is completed, anything else is answered, and some resources are opened again and again without
being finished.
"""

from __future__ import annotations

import itertools
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Annotated

import typer
from threadpoolctl import threadpool_limits

from deploy.local.district import District, DistrictSettings, SimulatedResponse
from deploy.local.material import SAMPLE
from services.catalog.domain.model import Resource, Skill
from services.catalog.formats.jsonl import read_resources, read_skills
from services.catalog.wire.records import record_to_proto
from services.recommender.application.answers.rank_learner import RecommendQuery
from services.recommender.domain.learner.events import (
    AssessmentEvent,
    Grain,
    InteractionEvent,
    InteractionKind,
    LearnerEvent,
)
from services.recommender.domain.ranking.catalog import CatalogColumns, build_columns
from services.recommender.domain.ranking.policy import EVERYTHING
from services.recommender.evaluation.checkout import commit_of_checkout
from services.recommender.evaluation.closed_loop.answers import (
    SERVED,
    Answers,
    ServedPolicy,
    next_item_only,
    store,
    train,
)
from services.recommender.evaluation.instructions import instructions
from services.recommender.evaluation.law_count import Answer, LawCount, checks_of
from services.recommender.evaluation.results import Evaluation, as_json
from services.recommender.wire.catalog import decode_resource, decode_skill

# A Friday afternoon; any would do.
_ENDS_AT = datetime(2026, 3, 13, 15, tzinfo=UTC)
# As many as `cairn recommend` and `cairn class` ask for.
_LIMITS = (10, 3)
_BETWEEN = timedelta(hours=12)
_NEVER_FINISHED = 0.2

Numbered = Sequence[tuple[int, LearnerEvent]]
"""A learner's events in order, with their offsets."""

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def laws(
    *,
    learners: Annotated[int, typer.Option(min=12, help="Learners of the district.")] = 100,
    steps: Annotated[int, typer.Option(min=0, help="Resources that each takes from the top of their list.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Decides everything that is drawn.")] = 7,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file, as JSON.")] = None,
) -> None:
    """Count, for each law of a list, the lists of the district to which it applies and in how many of them it holds.

    Exits with 1 when one of them is broken.
    """
    sample = Sample(learners, seed)
    with threadpool_limits(1):
        evaluation = evaluate_laws(sample, steps, lambda name: typer.echo(name, err=True))
    if json_file is not None:
        json_file.write_bytes(as_json(evaluation))
    typer.echo(f"{evaluation.protocol}: {evaluation.data}")
    for check in evaluation.checks:
        typer.echo(check.described)
    if not all(check.holds for check in evaluation.checks):
        raise typer.Exit(1)


class Sample:
    """The sample catalog and a district that uses it.

    Attributes:
        catalog: the catalog as ranking has it.
        resources: its resources by id.
    """

    def __init__(self, learners: int, seed: int) -> None:
        """Args: `learners` of the district; `seed` of what is drawn."""
        self._settings = DistrictSettings(seed, _ENDS_AT, learners=learners)
        self._skills: Sequence[Skill] = read_skills(SAMPLE / "skills.jsonl").records
        resources = read_resources(SAMPLE / "resources.jsonl").records
        self.resources = {resource.id: resource for resource in resources}
        self.catalog: CatalogColumns = build_columns(
            [decode_resource(each.id, record_to_proto(each).SerializeToString(), ()) for each in resources],
            [decode_skill(each.id, record_to_proto(each).SerializeToString(), ()) for each in self._skills],
        )

    @property
    def seed(self) -> int:
        """The seed."""
        return self._settings.seed

    @property
    def described(self) -> str:
        """What it is, in words."""
        return f"SIMULATED district of {self._settings.learners} learners, {len(self.resources)} resources"

    def after_history(self) -> tuple[District, dict[str, list[Numbered]]]:
        """The district after the simulated weeks, and each learner's sessions in them; the same at every call."""
        district = District(self._settings, self._skills, list(self.resources.values()))
        of_learner: dict[str, list[tuple[int, AssessmentEvent]]] = {}
        for offset, response in enumerate(district.history()):
            of_learner.setdefault(response.learner_id, []).append((offset, self.event(offset, response)))
        return district, {
            learner: [list(session) for _, session in itertools.groupby(events, _day_and_resource)]
            for learner, events in of_learner.items()
        }

    def event(self, offset: int, response: SimulatedResponse) -> AssessmentEvent:
        """A response with the skills that its resource assesses, as ingest stamps it."""
        return AssessmentEvent(
            struct.pack("<Q", offset),
            float(response.correct),
            int(response.occurred_at.timestamp()),
            response.item,
            response.resource,
            tuple(tag.skill for tag in self.resources[response.resource].assesses),
            Grain.ITEM,
            response.resource,
        )


def evaluate_laws(sample: Sample, steps: int, advance: Callable[[str], None] = lambda _name: None) -> Evaluation:
    """Count the laws in the lists of a district.

    Args:
        sample: the catalog and the district.
        steps: how many resources each learner takes from the top of their list.
        advance: called with the name of each step as it starts.
    """
    _, sessions = sample.after_history()
    events = {learner: [event for session in of_one for event in session] for learner, of_one in sessions.items()}
    counts: dict[str, LawCount] = {}
    elapsed_s: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        advance("training")
        trained = Answers(sample.catalog, train(events, f"{folder}/bundles", sample.seed))
        untrained = Answers(sample.catalog, store(f"{folder}/none"))
        for name, answers, policies in (
            ("cairn", trained, SERVED),
            ("next_item", trained, next_item_only),
            ("untrained", untrained, SERVED),
        ):
            advance(name)
            began_s = time.perf_counter()
            counts |= {f"{name}, {when}": of_one for when, of_one in _counted(sample, answers.policy(policies), steps)}
            elapsed_s[name] = round(time.perf_counter() - began_s, 3)
    return Evaluation(
        protocol="laws/district",
        data=f"{sample.described}; a list after each session, and after each of {steps} resources taken from its top",
        commit=commit_of_checkout(),
        models={},
        differences={},
        checks=checks_of(counts),
        laws={name: of_one.as_values() for name, of_one in counts.items()},
        seeds={"district and models": sample.seed},
        elapsed_s=elapsed_s,
        arithmetic=instructions(),
    )


def _counted(sample: Sample, policy: ServedPolicy, steps: int) -> Iterator[tuple[str, LawCount]]:
    """The laws after the sessions of the simulated weeks, and while learners follow their lists."""
    district, sessions = sample.after_history()
    count = LawCount(policy.prepared)
    for learner, of_one in sessions.items():
        for session in of_one:
            policy.observe({learner: session})
            for answer in _answers(policy, learner, session, _end_s(session)):
                count.add(answer)
    yield "assigned", count
    count = LawCount(policy.prepared)
    for learner, of_one in sessions.items():
        for answer in _following(sample, district, policy, learner, of_one[-1], steps):
            count.add(answer)
    yield "followed", count


def _following(
    sample: Sample, district: District, policy: ServedPolicy, learner: str, latest: Numbered, steps: int
) -> Iterator[Answer]:
    """The lists of a learner who always takes what is first in them."""
    # Offsets and ids only have to be new.
    offsets = itertools.count(1_000_000)
    for step in range(1, steps + 1):
        begins_at = _ENDS_AT + step * _BETWEEN
        answers = _answers(policy, learner, latest, begins_at.timestamp())
        yield from answers
        if not answers or not answers[0].resources:
            return
        resource = sample.resources[sample.catalog.resource_ids[answers[0].resources[0].row]]
        worked = _work(sample, district, learner, resource, begins_at, offsets)
        policy.observe({learner: worked})
        if isinstance(worked[-1][1], AssessmentEvent):
            latest = worked


def _work(
    sample: Sample, district: District, learner: str, resource: Resource, begins_at: datetime, offsets: Iterator[int]
) -> Numbered:
    """What a learner does with a resource."""
    drawn = Random(f"{sample.seed}/{learner}/{resource.id}").random()  # noqa: S311 - a simulation, not a secret.
    if drawn >= _NEVER_FINISHED and resource.assesses:
        return [
            (offset, sample.event(offset, response))
            for offset, response in zip(offsets, district.work_on(learner, resource, begins_at), strict=False)
        ]
    kind = InteractionKind.OPENED if drawn < _NEVER_FINISHED else InteractionKind.COMPLETED
    offset = next(offsets)
    return [(offset, InteractionEvent(struct.pack("<Q", offset), int(begins_at.timestamp()), resource.id, kind))]


def _answers(policy: ServedPolicy, learner: str, latest: Numbered, now_s: float) -> list[Answer]:
    """A learner's lists, of resources for any grade, each of another length; none for a learner without a state.

    Args:
        policy: makes the lists.
        learner: the learner.
        latest: the session whose last event is their latest response.
        now_s: the moment of the lists, Unix seconds.
    """
    stored, last = policy.known(learner), latest[-1][1]
    if stored is None or not isinstance(last, AssessmentEvent):
        return []
    missed = frozenset(last.skills) if last.response < 0.5 else frozenset[str]()
    made = [policy.answer(RecommendQuery(learner, limit, EVERYTHING), stored, now_s) for limit in _LIMITS]
    return [Answer(learner, stored.state, now_s, EVERYTHING, each.resources, each.gap, missed) for each in made]


def _end_s(session: Numbered) -> float:
    """A minute after a session, Unix seconds."""
    last = session[-1][1]
    return last.at_s + 60.0 if isinstance(last, AssessmentEvent | InteractionEvent) else 0.0


def _day_and_resource(numbered: tuple[int, AssessmentEvent]) -> tuple[int, str]:
    return numbered[1].at_s // 86_400, numbered[1].resource


if __name__ == "__main__":
    app()
