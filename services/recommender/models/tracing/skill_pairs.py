"""Measures what responses say about ordered pairs of skills, for `domain.training.prerequisites`.

One pass of the filter over the responses gives each learner's abilities before every response. A second pass stops at
each learner's first response to a skill. For every skill met before, it adds the terms of a regression: of the first
answers to the new skill, less what the filter expected, on what the filter knew of the old one. Memory grows with the
square of the number of skills.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from services.recommender.application.training.train import Advance
from services.recommender.domain.learner.kernel import EVENT_RECORD, EVENT_SKILL_RECORD, trace_responses
from services.recommender.domain.learner.mastery import DEFAULT_RULE, mastered
from services.recommender.domain.learner.parameter_columns import settings_row
from services.recommender.domain.learner.parameters import FilterSettings
from services.recommender.domain.learner.state import LEARNER_RECORD, SKILL_RECORD
from services.recommender.domain.training.prerequisites import LEARNERS_MIN, SkillPairs
from services.recommender.domain.training.responses import ResponseTable
from services.recommender.domain.training.twins import redundant
from services.recommender.models.tracing.difficulty_fit import Difficulties, fit_difficulties, parameters_of
from services.recommender.models.tracing.settings_search import search_settings

SKILLS_MAX = 1_000

# How many of a learner's first answers to a skill are compared with what was expected before the first.
_FIRST_ANSWERS = 3
_LEARNERS_TO_SEARCH = 50
# Where abilities hardly differ, they give no slope.
_INFORMATION_MIN = 1e-6
# Of each pair: learners; and the upper triangles of the information and of the score's covariance, with the score
# between them.
_TERMS = 1 + 6 + 3 + 6

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def fit_skill_pairs(table: ResponseTable, *, seed: int, advance: Advance = lambda _done, _total: None) -> SkillPairs:
    """Fit the filter to responses, and measure what they say about pairs of skills.

    Args:
        table: the responses.
        seed: decides on which learners the filter's constants are chosen.
        advance: reports how many steps are done, and the total.

    One of near-identical learners is enough: they are no evidence of their own.
    """
    table = table.of_learners(~redundant(table))
    settings = FilterSettings()
    if len(table.learners) >= _LEARNERS_TO_SEARCH:
        settings = search_settings(table, seed=seed, advance=advance)
    return skill_pairs(table, fit_difficulties(table, settings))


def skill_pairs(table: ResponseTable, difficulties: Difficulties) -> SkillPairs:
    """Measure what responses say about pairs of skills; of more than SKILLS_MAX, about those with the most learners.

    Args:
        table: the responses.
        difficulties: those of the table's items and skills.
    """
    # A learner's skills, by learner; `slots` says which of them each entry of the table's skills is.
    ids = table.learner[table.skill_rows()].astype(np.int64) * len(table.skills) + table.skill
    met, slots = np.unique(ids, return_inverse=True)
    learner, skill = np.divmod(met, max(len(table.skills), 1))
    learners_of = np.bincount(skill, minlength=len(table.skills))
    most = np.argsort(-learners_of, kind="stable")[:SKILLS_MAX]
    judged = np.sort(most[learners_of[most] >= LEARNERS_MIN])
    place = np.full(len(table.skills), -1)
    place[judged] = np.arange(len(judged))
    abilities, left, learners, records = _traced(table, difficulties, slots, len(met))
    items, skills = difficulties.columns()
    terms = np.zeros((len(judged), len(judged), _TERMS))
    _add_terms(
        table.learner,
        table.item,
        table.response,
        table.skill_start,
        table.skill,
        _first_answers(table, slots, len(met))[slots],
        place,
        abilities,
        left["mean"].astype(np.float64),
        difficulties.settings.base - items[:, 0],
        skills[:, 0],
        terms,
    )
    first, second = np.nonzero(terms[:, :, 0])
    slope, error = _slopes(terms[first, second])
    counted = place[skill] >= 0
    known, unknown = (
        _by_learner(learner[chosen], place[skill[chosen]], (len(table.learners), len(judged)))
        for chosen in _known_and_unknown(table, difficulties, learners[learner], records, skill, counted)
    )
    both, first_only, second_only, neither = (
        (one.T @ other).toarray()[first, second] for one in (known, unknown) for other in (known, unknown)
    )
    return SkillPairs(
        skills=tuple(table.skills[each] for each in judged.tolist()),
        learners_of=dict(zip(table.skills, learners_of.tolist(), strict=True)),
        first=first,
        second=second,
        learners=terms[first, second, 0].astype(np.int64),
        slope=slope,
        error=error,
        both=both,
        first_only=first_only,
        second_only=second_only,
        neither=neither,
    )


def _traced(
    table: ResponseTable, difficulties: Difficulties, slots: Ints, met: int
) -> tuple[Floats, NDArray[np.void], NDArray[np.void], NDArray[np.void]]:
    """Run the filter; return the ability before each response, the skills after it, and learners and skills at the end.

    Args:
        table: the responses.
        difficulties: those of its items and skills.
        slots: for each entry of the table's skills its record, numbered over all learners.
        met: how many records there are.
    """
    settings = difficulties.settings
    events, event_skills = np.zeros(len(table), EVENT_RECORD), np.empty(len(table.skill), EVENT_SKILL_RECORD)
    events["row"], events["item"], events["response"] = table.learner, table.item, table.response
    events["at_s"], events["evidence"], events["skills"] = table.at_s, 1, np.diff(table.skill_start)
    event_skills["slot"], event_skills["skill"] = slots, table.skill
    learners, records = np.zeros(len(table.learners), LEARNER_RECORD), np.zeros(met, SKILL_RECORD)
    learners["variance"], records["variance"] = settings.learner_variance, settings.skill_variance
    none = np.zeros(len(learners), np.int64)
    _, abilities, left = trace_responses(
        learners, records, none, none, events, event_skills, np.array([settings_row(settings)]), *difficulties.columns()
    )
    return abilities, left, learners, records


def _known_and_unknown(
    table: ResponseTable,
    difficulties: Difficulties,
    learners: NDArray[np.void],
    records: NDArray[np.void],
    skill: Ints,
    counted: NDArray[np.bool_],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which of the counted skills are mastered, and which surely are not; all aligned with `records`."""
    parameters = parameters_of(table, difficulties)
    difficulty = np.array(
        [parameters.skills[each].mean + parameters.skills[each].mean_item_difficulty for each in table.skills]
    )
    mean = parameters.settings.base + learners["mean"].astype(np.float64) + records["mean"] - difficulty[skill]
    variance = learners["variance"].astype(np.float64) + records["variance"]
    bar = math.log(DEFAULT_RULE.success / (1.0 - DEFAULT_RULE.success))
    # Mirrored at the bar, what is surely below it is surely above.
    known, unknown = (mastered(each, variance, records["attempts"]) for each in (mean, 2.0 * bar - mean))
    return known & counted, unknown & counted


def _by_learner(learner: Ints, place: Ints, shape: tuple[int, int]) -> csr_matrix:
    return csr_matrix((np.ones(len(learner), np.int64), (learner, place)), shape)


def _slopes(terms: Floats) -> tuple[Floats, Floats]:
    """The slope of each pair with its standard error; NaN where there is too little information."""
    information, covariance = np.empty((len(terms), 3, 3)), np.empty((len(terms), 3, 3))
    rows, columns = np.triu_indices(3)
    for matrix, entries in ((information, terms[:, 1:7]), (covariance, terms[:, 10:16])):
        matrix[:, rows, columns] = matrix[:, columns, rows] = entries
    slope, error = np.full(len(terms), np.nan), np.full(len(terms), np.nan)
    # What is left of the information on the last coefficient when the others are fitted.
    others = np.linalg.det(information[:, :2, :2])
    fitted = others > _INFORMATION_MIN
    fitted[fitted] = np.linalg.det(information[fitted]) / others[fitted] > _INFORMATION_MIN
    inverse = np.linalg.inv(information[fitted])
    slope[fitted] = np.einsum("pi,pi->p", inverse[:, 2], terms[fitted, 7:10])
    error[fitted] = np.sqrt(np.einsum("pi,pij,pj->p", inverse[:, 2], covariance[fitted], inverse[:, 2]))
    return slope, error


def _first_answers(table: ResponseTable, slots: Ints, met: int) -> Ints:
    """The rows of the first answers to each record of a learner and a skill; -1 where there are fewer."""
    order = np.argsort(slots, kind="stable")
    number = np.arange(len(slots)) - np.searchsorted(slots[order], slots[order])
    early = number < _FIRST_ANSWERS
    rows = np.full((met, _FIRST_ANSWERS), -1)
    rows[slots[order][early], number[early]] = table.skill_rows()[order][early]
    return rows


@numba.njit(cache=True)
def _add_terms(
    learner: NDArray[np.int32],
    item: NDArray[np.int32],
    response: NDArray[np.float32],
    skill_start: Ints,
    skill: NDArray[np.int32],
    answers: Ints,
    place: Ints,
    ability: Floats,
    mean_after: Floats,
    ease: Floats,
    difficulty: Floats,
    terms: Floats,
) -> None:
    """Add each learner's terms of each pair of skills, the first met before the second.

    Args:
        learner: (R,) one learner's responses follow each other.
        item: (R,) row of the item's difficulty; -1: the last.
        response: (R,) on [0, 1].
        skill_start: (R + 1,) where the skills of each response begin in `skill`.
        skill: their numbers.
        answers: (entries of `skill`, _FIRST_ANSWERS) rows of the learner's first answers to the skill.
        place: of each skill in `terms`; -1: none.
        ability: (R,) the learner's before the response.
        mean_after: ability on each entry of `skill` after its response.
        ease: b0 less each item's difficulty.
        difficulty: of each skill.
        terms: (S, S, _TERMS), written.
    """
    # The skills that the learner has met, and the ability on each; on the others it is 0.
    met, count, means = np.empty(len(difficulty), np.int64), 0, np.zeros(len(difficulty))
    surprises, informations = np.empty(_FIRST_ANSWERS), np.empty(_FIRST_ANSWERS)
    for row in range(len(response)):
        if row > 0 and learner[row] != learner[row - 1]:
            means[met[:count]] = 0.0
            count = 0
        before = count
        for entry in range(skill_start[row], skill_start[row + 1]):
            if answers[entry, 0] != row:
                continue
            met[count] = skill[entry]
            count += 1
            if place[skill[entry]] < 0:
                continue
            surprises[:] = informations[:] = 0.0
            for number in range((answers[entry] >= 0).sum()):
                answer = answers[entry, number]
                of_answer = skill[skill_start[answer] : skill_start[answer + 1]]
                logit = ease[item[answer]] + ability[row] + (means[of_answer] - difficulty[of_answer]).mean()
                chance = 1.0 / (1.0 + math.exp(-logit))
                surprises[number], informations[number] = response[answer] - chance, chance * (1.0 - chance)
            for first in met[:before]:
                if place[first] >= 0:
                    own = _without(answers[entry], first, skill_start, skill)
                    surprise, information = (own * surprises).sum(), (own * informations).sum()
                    _add(terms[place[first], place[skill[entry]]], ability[row], means[first], surprise, information)
        for entry in range(skill_start[row], skill_start[row + 1]):
            means[skill[entry]] = mean_after[entry]


@numba.njit(cache=True)
def _without(answers: Ints, unwanted: int, skill_start: Ints, skill: NDArray[np.int32]) -> Floats:
    """1 for each answer that is there and not about a skill too: what needs two skills is no evidence of one."""
    chosen = np.zeros(len(answers))
    for number, answer in enumerate(answers):
        about = answer >= 0 and (skill[skill_start[answer] : skill_start[answer + 1]] == unwanted).any()
        chosen[number] = answer >= 0 and not about
    return chosen


@numba.njit(cache=True)
def _add(terms: Floats, ability: float, of_skill: float, surprise: float, information: float) -> None:
    """Add one learner to a pair: the terms of 1, the ability, and the ability on the first skill."""
    if information == 0.0:
        return
    terms[0] += 1.0
    row = (1.0, ability, of_skill)
    entry = 1
    for i in range(3):
        terms[7 + i] += surprise * row[i]
        for j in range(i, 3):
            terms[entry] += information * row[i] * row[j]
            terms[9 + entry] += surprise * surprise * row[i] * row[j]
            entry += 1
