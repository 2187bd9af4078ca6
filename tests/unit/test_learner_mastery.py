"""The logit on a skill, how uncertain it is, and the ids of parameters with and without a learning term."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.recommender.adapters.files.bundle_models import describe
from services.recommender.application.ports.models import TenantModels
from services.recommender.domain.learner.mastery import skill_logits
from services.recommender.domain.learner.parameter_identity import parameters_id
from services.recommender.domain.learner.parameters import FilterSettings, SkillDifficulty, TenantParameters
from tests.learners import Ability, learner_state

STATE = learner_state({"met": Ability(mean=0.2, variance=0.1, attempts=5), "seen": Ability(variance=0.3, attempts=0)})
SKILLS = {skill: SkillDifficulty(0.1, 0.05, 0.2) for skill in ("met", "seen", "new")}


def variances(settings, skills=SKILLS, state=STATE):
    return skill_logits(state, ("met", "seen", "new"), TenantParameters(settings, skills=skills)).variance.tolist()


def test_a_skill_without_responses_is_as_uncertain_as_abilities_and_its_difficulty():
    assert variances(FilterSettings(skill_variance=0.3)) == pytest.approx([0.1 + 0.1, 0.4 + 0.05, 0.4 + 0.05])
    unfitted = FilterSettings(skill_variance=0.3, skill_difficulty_variance=2.0)
    assert variances(unfitted, skills={}) == pytest.approx([0.2, 2.4, 2.4])
    assert variances(unfitted, skills={}, state=None) == pytest.approx([2.8, 2.8, 2.8])


def test_the_uncertainty_about_abilities_is_as_much_wider_as_the_settings_say():
    settings = FilterSettings(skill_variance=0.3, inflation_met=1.5, inflation_new=2.0)
    assert variances(settings) == pytest.approx([1.5 * 0.2, 2.0 * 0.4 + 0.05, 2.0 * 0.4 + 0.05])


@pytest.mark.parametrize(
    "change",
    [{"learning": 0.1}, {"retention": 0.9}, {"moderation": 1.0}, {"inflation_met": 1.1}, {"inflation_new": 2.0}],
)
def test_parameters_without_newer_constants_keep_their_id_and_manifest_and_others_have_their_own(change):
    earlier = TenantParameters(FilterSettings(base=0.1), skills=SKILLS)
    later = replace(earlier, settings=replace(earlier.settings, **change))
    # The id that the release before the newer constants gives.
    assert parameters_id({"t": earlier}) == "sha256-c81add888c0c4ff3b6e86058867b63ab"
    assert parameters_id({"t": later}) != parameters_id({"t": earlier})
    of_earlier, of_later = (describe(TenantModels(each, None, "", {}, {}, {})).settings for each in (earlier, later))
    assert len(of_earlier) == 8
    assert FilterSettings(**of_earlier) == earlier.settings
    assert FilterSettings(**of_later) == later.settings
