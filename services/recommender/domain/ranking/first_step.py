"""What a learner should do first: how well each candidate suits as the next step, besides its score.

    step_r  = 4 log (value_k * suits_r), at least 4 log .02, with k the skill that r serves
    value_k = sqrt(scope_k) * ready_k for a gap; .5 * .7^(levels above the learner's) for a skill never met whose
              prerequisites are all known; .5 for one that is due for review and for a resource without skills; else 0
    ready_k = the least over the prerequisites, and theirs if they are not known: 1 where known, p^2 where worked on, .1
              where never met
    suits_r = 2 for a lesson or a video on a skill never met; 1.2 for one where success on the skill is less likely than
              .6, else .5; for all other kinds exp(-(success - .7)^2 / (2 .5^2)), and .3 times that for an assessment;
              a tenth of all this for what was done before

A skill is known if it is mastered, if at least four answers make success on it more likely than .8, or if it was never
met and belongs below the level that the learner works at. Nobody learns much from what builds on what they do not
know (Gagne: Learning Hierarchies, 1968), or from what is far too hard for them.
"""

from __future__ import annotations

import numpy as np

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.ranking.catalog import BoolColumn, CatalogColumns, FloatColumn
from services.recommender.domain.ranking.compiled import least_of_rows
from services.recommender.domain.ranking.features import SkillEstimates, explains
from services.recommender.domain.ranking.signals.signal import Candidates

_WEIGHT = 4.0
_LEAST = 0.02
_LEAST_SCOPE = 0.02
_READY_UNMET = 0.1
_VALUE_OF_NEW, _VALUE_DUE, _VALUE_UNTAGGED = 0.5, 0.5, 0.5
_A_LEVEL_ABOVE = 0.7
_KNOWN_FROM, _KNOWN_RESPONSES = 0.8, 4
_LESSON_OF_NEW, _LESSON, _LESSON_AGAIN = 2.0, 1.2, 0.5
_LESSON_BELOW = 0.6
_ASSESSMENT = 0.3
_AGAIN = 0.1
_POSSIBLE_FROM = 0.4
_TARGET, _WIDTH = 0.7, 0.5


def first_step(candidates: Candidates, scope: FloatColumn, level: float, done: BoolColumn) -> FloatColumn:
    """How well each of C candidates suits as the first entry, at most 4 log 1.2; the same for all without skills.

    Args:
        candidates: the candidates.
        scope: S; the scope of each skill, 0 where it is out of reach.
        level: the learner's working level; NaN where it is not known.
        done: C; whether the learner has answered or completed it.
    """
    values = np.append(_values(candidates, scope, level), _VALUE_UNTAGGED)[candidates.served]
    suits = _suits(candidates) * np.where(done, _AGAIN, 1.0)
    step: FloatColumn = _WEIGHT * np.log(np.maximum(values * suits, _LEAST))
    return step


def can_begin_with(candidates: Candidates, done: BoolColumn) -> BoolColumn:
    """C; whether the learner can begin with each: it explains, or success is as likely as .4, and it was not done.

    Args:
        candidates: the candidates.
        done: C; whether the learner has answered or completed it.
    """
    possible: BoolColumn = explains(candidates.catalog.kinds[candidates.rows]) | (candidates.success >= _POSSIBLE_FROM)
    return possible & ~done


def _values(candidates: Candidates, scope: FloatColumn, level: float) -> FloatColumn:
    """S; how much working on each skill now is worth."""
    catalog, estimates = candidates.catalog, candidates.estimates
    met, chances = estimates.responses > 0, estimates.probabilities
    known = _known(catalog, estimates, level)
    prerequisite = np.where(known, 1.0, np.where(met, chances**2, _READY_UNMET))
    needed = catalog.skill_prerequisites
    every = np.arange(len(scope))
    ready = least_of_rows(needed.starts, needed.values, every, prerequisite)
    # What is built on something shaky is shaky too.
    ready = least_of_rows(needed.starts, needed.values, every, np.where(known, 1.0, np.minimum(prerequisite, ready)))
    gap = np.sqrt(np.maximum(scope, _LEAST_SCOPE)) * ready
    # Where a level is not known, the skill counts as one of the learner's.
    above = np.fmax(catalog.skill_levels - level, 0.0)
    new = np.where((ready >= 1.0) & (scope > 0.0), _VALUE_OF_NEW * _A_LEVEL_ABOVE**above, 0.0)
    due = np.where(estimates.reviews >= candidates.thresholds.review_opens, _VALUE_DUE, 0.0)
    return np.where(known, due, np.where(met, gap, new))


def _known(catalog: CatalogColumns, estimates: SkillEstimates, level: float) -> BoolColumn:
    met = estimates.responses > 0
    likely = (estimates.responses >= _KNOWN_RESPONSES) & (estimates.probabilities > _KNOWN_FROM)
    # Comparing with NaN is false.
    known: BoolColumn = estimates.mastered | likely | (~met & (catalog.skill_levels < level))
    return known


def _suits(candidates: Candidates) -> FloatColumn:
    """C; how well each suits the learner as a step on its skill."""
    estimates, served = candidates.estimates, candidates.served
    chances = np.append(estimates.probabilities, 1.0)[served]
    never_met = np.append(estimates.responses == 0, np.False_)[served]
    kinds = candidates.catalog.kinds[candidates.rows]
    lesson = np.where(never_met, _LESSON_OF_NEW, np.where(chances < _LESSON_BELOW, _LESSON, _LESSON_AGAIN))
    practice = np.exp(-((candidates.success - _TARGET) ** 2) / (2.0 * _WIDTH**2))
    practice[kinds == ResourceKind.ASSESSMENT] *= _ASSESSMENT
    return np.where(explains(kinds), lesson, practice)
