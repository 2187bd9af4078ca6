"""What the reasons of a list must agree with: the learner's state, the catalog and the models, as plain data.

Nothing here is computed by ranking. Chances and mastery follow docs/science.md: with m and s2 the mean and variance of
the logit of success on a skill's average item, the chance is sigmoid(m / sqrt(1 + pi s2 / 8)), and a skill with at
least 3 responses is mastered if the logit exceeds that of .7 with a probability of at least .8.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.learner.mastery import DEFAULT_RULE
from services.recommender.domain.learner.parameters import FilterSettings
from services.recommender.domain.learner.preferences import NO_PREFERENCES, Preferences
from services.recommender.domain.learner.state import LearnerState
from services.recommender.evaluation.reason_recall import Recall

_CENTRAL_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class SkillFacts:
    """A skill.

    Attributes:
        skill_id: its id.
        statement: what its framework says it is.
        code: its code there.
        prerequisites: the skills that it builds on.
        same: the skills that are the same in other frameworks.
        source: its code and its framework, as sentences name them.
    """

    skill_id: str
    statement: str = ""
    code: str = ""
    prerequisites: tuple[str, ...] = ()
    same: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class ResourceFacts:
    """A resource: the name of its kind, the weight of each of its skills, the skills it teaches, and its topics."""

    kind: str
    skills: Mapping[str, float]
    teaches: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CatalogFacts:
    """A catalog: looks up a resource and a skill by id; None where it has none of that id."""

    resource: Callable[[str], ResourceFacts | None]
    skill: Callable[[str], SkillFacts | None]


@dataclass(frozen=True, slots=True)
class KnownSkill:
    """What is known about a learner on a skill.

    Attributes:
        responses: responses that were evidence.
        successes: the sum of their marks.
        chance: chance of success on the skill's average item.
        low: lower end of its central 95 % interval.
        high: upper end.
        mastered: whether it counts as mastered.
        last_at_s: when the last response was given, Unix seconds; 0: not known.
        recent_failures: the decaying sum of the marks missed; None: not known.
        recall: the expected recall today; None: there is none, or it is not known.
    """

    responses: int
    successes: float
    chance: float
    low: float
    high: float
    mastered: bool
    last_at_s: float
    recent_failures: float | None
    recall: float | None = None


@dataclass(frozen=True, slots=True)
class LearnerFacts:
    """What is known about a learner.

    Attributes:
        known: what is known on a skill, also from answers on the same skill of other frameworks.
        responses: responses that were evidence, on any skill.
        recent: the resources they worked on lately, oldest first; None: not known and not checked.
        preferences: what they stated.
        own: responses that were evidence, on a skill of one framework; None: not known and not checked.
        by_recall: whether reviews are due by a recall model; None: not known and not checked.
    """

    known: Callable[[str], KnownSkill]
    responses: int
    recent: tuple[str, ...] | None = ()
    preferences: Preferences = NO_PREFERENCES
    own: Callable[[str], int] | None = None
    by_recall: bool | None = None


@dataclass(frozen=True, slots=True)
class ScoreFacts:
    """The collaborative scores that a list used.

    Attributes:
        scores: of the resources that the model knows.
        index: the index of a resource into them, -1 where the model does not know it.
        history: how many resources of the learner's history they were computed from.
        for_all: whether they are the same for every learner.
    """

    scores: NDArray[np.float32]
    index: Callable[[str], int]
    history: int
    for_all: bool = False


@dataclass(frozen=True, slots=True)
class UsualWork:
    """What learners usually work on.

    Attributes:
        follows: how strongly other skills follow a skill, by their ids.
        place: how far into a learner's work a resource usually comes, from 0 to 1.
        learners: how many worked on a resource.
    """

    follows: Callable[[str], Mapping[str, float]]
    place: Callable[[str], float]
    learners: Callable[[str], float]


@dataclass(frozen=True, slots=True)
class RuleFacts:
    """A rule that favours resources: whether it pins or else moves up, its note, and whether it covers a resource."""

    pins: bool
    note: str
    covers: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the reasons of one list must agree with. What is None is not known and not checked.

    Attributes:
        catalog: the catalog.
        learner: the learner.
        as_of_s: the moment of the list, Unix seconds.
        scores: the collaborative scores; `NO_SCORES`: none were used.
        usual: what learners usually work on; `NO_USUAL_WORK`: nothing was counted.
        rules: the rules, by id.
    """

    catalog: CatalogFacts
    learner: LearnerFacts
    as_of_s: float
    scores: ScoreFacts | None = None
    usual: UsualWork | None = None
    rules: Mapping[str, RuleFacts] | None = None


@dataclass(frozen=True, slots=True)
class GivenReason:
    """A reason as it was given: the name of its kind, for example `GAP`, and its sentence."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a list.

    Attributes:
        resource: id of its resource.
        skill: id of the skill it serves; empty for none.
        step: the name of its step, for example `FIND_OUT`.
        success: the chance of success on it.
        reasons: why it is in the list.
    """

    resource: str
    skill: str
    step: str
    success: float
    reasons: Sequence[GivenReason] = field(default_factory=tuple)


NO_SCORES = ScoreFacts(np.zeros(0, np.float32), lambda _resource: -1, 0)
NO_USUAL_WORK = UsualWork(lambda _skill: {}, lambda _resource: 0.5, lambda _resource: 0.0)


def known_skill(mean: float, variance: float, record: Mapping[str, float], recall: float | None = None) -> KnownSkill:
    """What is known on a skill, from the logit of success on its average item.

    Args:
        mean: of the logit.
        variance: of the logit.
        record: `attempts`, `successes`, `last_at_s` and `recent_failures`; without any: all 0.
        recall: the expected recall today, if any.
    """
    deviation = math.sqrt(variance)
    above = (mean - math.log(DEFAULT_RULE.success / (1.0 - DEFAULT_RULE.success))) / deviation
    certainty = 0.5 * math.erfc(-above / math.sqrt(2.0))
    responses = int(record.get("attempts", 0))
    return KnownSkill(
        responses=responses,
        successes=float(record.get("successes", 0.0)),
        chance=_sigmoid(mean / math.sqrt(1.0 + math.pi * variance / 8.0)),
        low=_sigmoid(mean - _CENTRAL_95 * deviation),
        high=_sigmoid(mean + _CENTRAL_95 * deviation),
        mastered=certainty >= DEFAULT_RULE.certainty and responses >= DEFAULT_RULE.responses,
        last_at_s=float(record.get("last_at_s", 0.0)),
        recent_failures=float(record.get("recent_failures", 0.0)),
        recall=recall,
    )


def _sigmoid(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit))


def learner_facts(
    state: LearnerState | None,
    settings: FilterSettings,
    difficulty: Callable[[str], tuple[float, float]],
    catalog: CatalogFacts,
    recall: Recall | None = None,
) -> LearnerFacts:
    """A learner's state as facts.

    Args:
        state: the state; None for a new learner.
        settings: the filter's constants.
        difficulty: of a skill's average item, on the logit scale, and the variance of the skill's difficulty.
        catalog: says which skills are the same.
        recall: the expected recall, where a recall model is served.
    """
    ability, variance = (0.0, settings.learner_variance) if state is None else (state.mean, state.variance)
    names: tuple[str, ...] = () if state is None or state.skill_records.dtype.names is None else (
        state.skill_records.dtype.names
    )  # fmt: skip
    remembered: dict[str, KnownSkill] = {}

    def own(skill: str) -> dict[str, float]:
        place = None if state is None else state.slot_of_skill.get(skill)
        if state is None or place is None:
            return {}
        return dict(zip(names, map(float, state.skill_records[place].tolist()), strict=True))

    def known(skill: str) -> KnownSkill:
        if skill not in remembered:
            facts = catalog.skill(skill)
            each = [own(name) for name in (skill, *(() if facts is None else facts.same))]
            record = _together([one for one in each if one], settings.skill_variance)
            of_average_item, of_skill = difficulty(skill)
            mean = settings.base + ability + record.get("mean", 0.0) - of_average_item
            of_abilities = variance + record.get("variance", settings.skill_variance)
            met = record.get("attempts", 0) > 0
            of_logit = (
                settings.inflation_met * of_abilities if met else settings.inflation_new * of_abilities + of_skill
            )
            remembered[skill] = known_skill(mean, of_logit, record, None if recall is None else recall(skill, record))
        return remembered[skill]

    def answered(skill: str) -> int:
        return int(own(skill).get("attempts", 0))

    if state is None:
        return LearnerFacts(known, 0, own=answered, by_recall=recall is not None)
    recent = tuple(recent.resource for recent in state.resources)
    return LearnerFacts(known, state.responses, recent, state.preferences, answered, recall is not None)


def _together(records: Sequence[dict[str, float]], prior_variance: float) -> dict[str, float]:
    """What several records say of one skill: each adds what it knows beyond the prior, its answers and its failures."""
    if len(records) < 2:
        return records[0] if records else {}
    beyond = [1.0 / record["variance"] - 1.0 / prior_variance for record in records]
    precision = max(1.0 / prior_variance + sum(beyond), *(1.0 / record["variance"] for record in records))
    summed = ("attempts", "successes", "recent_successes", "recent_failures")
    total = {name: sum(record[name] for record in records) for name in summed}
    weighted = sum(record["mean"] / record["variance"] for record in records)
    latest = max(record["last_at_s"] for record in records)
    return {**total, "mean": weighted / precision, "variance": 1.0 / precision, "last_at_s": latest}


def facts_of_columns(columns: Any) -> CatalogFacts:
    """The facts of a catalog in columns; a skill's statement is the name that the columns have for it."""
    resources: dict[str, ResourceFacts] = {}
    topics = columns.topics.rows

    def resource(identifier: str) -> ResourceFacts | None:
        if identifier not in columns.row_of_resource:
            return None
        if identifier not in resources:
            row = columns.row_of_resource[identifier]
            tags = range(int(columns.tags.starts[row]), int(columns.tags.starts[row + 1]))
            named = [columns.skill_ids[columns.tags.values[tag]] for tag in tags]
            resources[identifier] = ResourceFacts(
                kind=ResourceKind(int(columns.kinds[row])).name.lower(),
                skills=dict(zip(named, (float(columns.tag_weights[tag]) for tag in tags), strict=True)),
                teaches=frozenset(name for name, tag in zip(named, tags, strict=True) if columns.tag_teaches[tag]),
                topics=frozenset(topic for topic, rows in topics.items() if row in rows),
            )
        return resources[identifier]

    def skill(identifier: str) -> SkillFacts | None:
        if identifier not in columns.slot_of_skill:
            return None
        slot = columns.slot_of_skill[identifier]
        first, last = columns.skill_prerequisites.starts[slot : slot + 2].tolist()
        before = columns.skill_prerequisites.values[first:last].tolist()
        return SkillFacts(
            identifier,
            columns.skill_labels[slot],
            prerequisites=tuple(columns.skill_ids[each] for each in before),
            same=tuple(columns.skill_ids[each] for each in columns.equivalents.row(slot)),
            source=columns.skill_sources[slot],
        )

    return CatalogFacts(resource, skill)


def scores_of_rows(
    scores: NDArray[np.float32], index_of_row: NDArray[np.intp], columns: Any, history: int, *, for_all: bool
) -> ScoreFacts:
    """Collaborative scores whose indices are known by row of a catalog."""

    def index(resource: str) -> int:
        row = columns.row_of_resource.get(resource, -1)
        return -1 if row < 0 else int(index_of_row[row])

    return ScoreFacts(scores, index, history, for_all)


def usual_work(statistics: Any) -> UsualWork:
    """Interaction statistics as facts."""
    number = {resource: place for place, resource in enumerate(statistics.resources)}
    slot = {skill: place for place, skill in enumerate(statistics.skills)}
    links = statistics.follows

    def follows(skill: str) -> Mapping[str, float]:
        place = slot.get(skill)
        if place is None:
            return {}
        between = range(int(links.starts[place]), int(links.starts[place + 1]))
        return {statistics.skills[links.skills[link]]: float(links.strengths[link]) for link in between}

    return UsualWork(
        follows,
        lambda resource: float(statistics.places[number[resource]]) if resource in number else 0.5,
        lambda resource: float(statistics.popularity[number[resource]]) if resource in number else 0.0,
    )


def rules_of(subjects: Iterable[Any], columns: Any) -> dict[str, RuleFacts]:
    """Active rules that favour resources, with the rows that each covers, as facts."""

    def covering(rows: NDArray[np.intp]) -> Callable[[str], bool]:
        return lambda resource: bool(np.isin(columns.row_of_resource[resource], rows))

    return {
        each.rule.rule_id: RuleFacts(each.rule.action.name == "PIN", each.rule.note, covering(each.rows))
        for each in subjects
        if each.rule.action.name == "PIN" or (each.rule.action.name == "BOOST" and each.rule.factor > 1.0)
    }
