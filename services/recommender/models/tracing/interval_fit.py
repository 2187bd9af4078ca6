"""Fits how much wider than the filter says the uncertainty about abilities is.

The filter's variances are right where responses follow its model. Where items differ in more than their difficulty,
answers are guessed, or people learn at different speeds, they are not. So the variances that are served are multiplied
by a factor: the one that makes what held-out learners answer next, taken together, the most likely.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from services.recommender.domain.learner.kernel import EVENT_RECORD, EVENT_SKILL_RECORD, fold_responses
from services.recommender.domain.learner.parameter_columns import settings_row
from services.recommender.domain.learner.parameters import FilterSettings
from services.recommender.domain.learner.state import LEARNER_RECORD, RECENT_ITEM_RECORD, RECENT_ITEMS, SKILL_RECORD
from services.recommender.domain.training.responses import ResponseTable
from services.recommender.models.tracing.difficulty_fit import Difficulties, at_most, fit_difficulties, short

Floats = NDArray[np.float64]

# The learners of each fold are read up to this many responses, to bound the time.
_RESPONSES_READ = 20_000
# A block has from two responses, of which one alone says nothing of a variance, to this many: abilities move on.
_BLOCK_MIN, _BLOCK_MAX = 2, 20
# For skills without responses, the skills of each learner are hidden in turn, a fifth at a time.
_SKILL_FOLDS = 5
_BOUNDS = (math.log(0.25), math.log(6.0))
# Standard deviation of the logarithm of a factor before any data.
_PRIOR_DEVIATION = 0.2
_CURVATURE_STEP = 0.05
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(15)


class Blocks(NamedTuple):
    """Responses in blocks of one learner to the same skills, forecast from what the learner did before.

    Attributes:
        first: where each block begins.
        response: the outcomes, block after block.
        mean: of the logit of each.
        deviation: of the logit of each, as far as it comes from the abilities of its learner.
    """

    first: NDArray[np.int64]
    response: Floats
    mean: Floats
    deviation: Floats


def fit_inflation(
    table: ResponseTable, settings: FilterSettings, cv_fold: NDArray[np.int64], folds: Sequence[int], seed: int
) -> FilterSettings:
    """Return the constants with the factors of the variance on skills met and on others.

    Args:
        table: the responses.
        settings: the filter's other constants.
        cv_fold: of each learner.
        folds: those of which each is forecast from a fit to the others.
        seed: decides which skills are hidden together.
    """
    met, new = [], []
    for fold in folds:
        difficulties = fit_difficulties(table.of_learners(cv_fold != fold), settings)
        held_out = at_most(table.of_learners(cv_fold == fold), _RESPONSES_READ)
        met.append(_forecast(held_out, difficulties, _first_half(held_out)))
        new += [_forecast(held_out, difficulties, ~hidden, hidden=True) for hidden in _hidden(held_out, seed)]
    return dataclasses.replace(settings, inflation_met=inflation_of(met), inflation_new=inflation_of(new))


def inflation_of(forecasts: Sequence[Blocks]) -> float:
    """The factor of the variance: the upper end of the one standard error around the one with the greatest posterior.

    At least 1, and 1 without blocks: an interval that is too narrow misleads more than one that is as much too wide.
    """
    first, before = [], 0
    for blocks in forecasts:
        first.append(blocks.first + before)
        before += len(blocks.response)
    if not before:
        return 1.0
    starts = np.concatenate(first)
    response, mean, deviation = (
        np.concatenate([getattr(blocks, name) for blocks in forecasts]) for name in ("response", "mean", "deviation")
    )
    of_abilities = deviation[:, None] * _NODES

    def loss(logarithm: float) -> float:
        logits = mean[:, None] + math.exp(0.5 * logarithm) * of_abilities
        log_likelihoods = response[:, None] * logits - np.logaddexp(0.0, logits)
        of_blocks = np.exp(np.add.reduceat(log_likelihoods, starts)) @ (_WEIGHTS / _WEIGHTS.sum())
        return float(-np.log(of_blocks).sum() + 0.5 * (logarithm / _PRIOR_DEVIATION) ** 2)

    found = minimize_scalar(loss, bounds=_BOUNDS, options={"xatol": 1e-3})
    below, above = loss(found.x - _CURVATURE_STEP), loss(found.x + _CURVATURE_STEP)
    curvature = (below + above - 2.0 * found.fun) / _CURVATURE_STEP**2
    # At a bound, only the prior says how sure the factor is.
    error = 1.0 / math.sqrt(max(curvature, 1.0 / _PRIOR_DEVIATION**2))
    return max(short(math.exp(found.x + error)), 1.0)


def _first_half(table: ResponseTable) -> NDArray[np.bool_]:
    """Which responses are in the first half of their learner's."""
    starts = np.searchsorted(table.learner, np.arange(len(table.learners) + 1))
    place = np.arange(len(table)) - starts[table.learner]
    first_half: NDArray[np.bool_] = place < (np.diff(starts)[table.learner] + 1) // 2
    return first_half


def _hidden(table: ResponseTable, seed: int) -> list[NDArray[np.bool_]]:
    """Which responses are to the hidden skills of their learner, for each fifth of the skills."""
    rows = table.skill_rows()
    _, pair = np.unique(table.learner[rows].astype(np.int64) * len(table.skills) + table.skill, return_inverse=True)
    fifth = np.random.default_rng(seed).integers(0, _SKILL_FOLDS, pair.max(initial=0) + 1)[pair]
    return [np.bincount(rows[fifth == number], minlength=len(table)) > 0 for number in range(_SKILL_FOLDS)]


def _forecast(
    table: ResponseTable, difficulties: Difficulties, seen: NDArray[np.bool_], *, hidden: bool = False
) -> Blocks:
    """Fold the responses that are seen, and forecast the others: those to skills that are not `hidden`, or are."""
    settings = difficulties.settings
    items, skills = difficulties.columns()
    counts = np.diff(table.skill_start)
    owner = table.learner[table.skill_rows()].astype(np.int64)
    pairs, pair = np.unique(owner * len(table.skills) + table.skill, return_inverse=True)
    learners, records = _abilities(table, difficulties, seen, pairs, pair)

    # A block's name is the pairs of learner and skill, in bytes.
    rows = np.flatnonzero(~seen & (counts > 0))
    names = [pair[table.skill_start[row] : table.skill_start[row + 1]].tobytes() for row in rows.tolist()]
    _, block = np.unique(np.array(names, object), return_inverse=True)
    order = np.argsort(block, kind="stable")
    rows, block = rows[order], block[order]
    place = np.arange(len(block)) - np.searchsorted(block, block)

    # Per response: sums over its skills.
    responses_per_pair = records["attempts"]
    begin, many = table.skill_start[rows], counts[rows]
    entries = np.repeat(begin - np.cumsum(many) + many, many) + np.arange(many.sum())
    of_row = np.repeat(np.arange(len(rows)), many)

    def summed(values: Floats) -> Floats:
        sums: Floats = np.bincount(of_row, weights=values, minlength=len(rows)).astype(np.float64, copy=False)
        return sums

    slots = pair[entries]
    met = summed(responses_per_pair[slots] > 0)
    ability = summed(records["mean"][slots]) / many
    # Abilities also move on by themselves, up to the variance of the prior.
    of_skills = np.minimum(records["variance"][slots] + settings.skill_noise * place[of_row], settings.skill_variance)
    variance = learners["variance"][table.learner[rows]] + summed(of_skills) / many**2
    kept_share = settings.retention**place
    taught = place if settings.retention == 1.0 else (1.0 - kept_share) / (1.0 - settings.retention)
    logit = settings.base + learners["mean"][table.learner[rows]] + kept_share * ability + settings.learning * taught
    logit -= items[table.item[rows], 0] + summed(skills[table.skill[entries], 0]) / many
    # What is not known of an item differs from response to response: it moves chances towards one half.
    scale = np.sqrt(1.0 + math.pi / 8.0 * items[table.item[rows], 1])
    usable = (place < _BLOCK_MAX) & (met == (0 if hidden else many))
    usable &= np.bincount(block)[block] >= _BLOCK_MIN
    first = np.flatnonzero(place[usable] == 0)
    return Blocks(
        first,
        table.response[rows][usable].astype(np.float64),
        (logit / scale)[usable],
        (np.sqrt(variance) / scale)[usable],
    )


def _abilities(
    table: ResponseTable,
    difficulties: Difficulties,
    seen: NDArray[np.bool_],
    pairs: NDArray[np.int64],
    pair: NDArray[np.int64],
) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """The learners, and a record for each pair of learner and skill, after the responses that are seen."""
    settings = difficulties.settings
    items, skills = difficulties.columns()
    counts = np.diff(table.skill_start)
    first_slot = np.searchsorted(pairs, np.arange(len(table.learners)) * len(table.skills))
    entries = np.repeat(seen, counts)
    events = np.zeros(int(seen.sum()), EVENT_RECORD)
    event_skills = np.empty(int(entries.sum()), EVENT_SKILL_RECORD)
    events["row"], events["item"], events["response"] = table.learner[seen], table.item[seen], table.response[seen]
    events["evidence"], events["skills"] = 1, counts[seen]
    event_skills["slot"] = (pair - first_slot[table.learner[table.skill_rows()]])[entries]
    event_skills["skill"] = table.skill[entries]
    learners, records = np.zeros(len(table.learners), LEARNER_RECORD), np.zeros(len(pairs), SKILL_RECORD)
    learners["variance"], records["variance"] = settings.learner_variance, settings.skill_variance
    fold_responses(
        learners,
        np.zeros((len(learners), RECENT_ITEMS), RECENT_ITEM_RECORD),
        records,
        first_slot,
        np.zeros(len(learners), np.int64),
        events,
        event_skills,
        np.array([settings_row(settings)]),
        items,
        skills,
        np.zeros(len(items), np.uint32),
    )
    return learners, records
