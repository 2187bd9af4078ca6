"""The checker of reasons accepts what is true and finds lies: one is planted in each case."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm

from services.recommender import evaluation
from services.recommender.domain.learner.preferences import Preferences
from services.recommender.evaluation.reason_checker import problems_of
from services.recommender.evaluation.reason_facts import (
    CatalogFacts,
    Entry,
    Facts,
    GivenReason,
    KnownSkill,
    LearnerFacts,
    ResourceFacts,
    RuleFacts,
    ScoreFacts,
    SkillFacts,
    UsualWork,
    known_skill,
)

NOW_S = 1_700_000_000
DAY_S = 86_400

SKILLS = {
    each.skill_id: each
    for each in (
        SkillFacts("add", "Adding whole numbers"),
        SkillFacts("frac", "Adding fractions; also with unlike denominators", "3.NF.1", prerequisites=("add",)),
        SkillFacts("ratio", "Ratios", prerequisites=("frac",)),
        SkillFacts("area", "Areas"),
        SkillFacts("new", "Angles"),
    )
}
RESOURCES = {
    "frac-lesson": ResourceFacts("lesson", {"frac": 1.0}, frozenset({"frac"})),
    "frac-video": ResourceFacts("video", {"frac": 1.0}, frozenset({"frac"}), frozenset({"space", "sport"})),
    "frac-practice": ResourceFacts("practice", {"frac": 1.0}),
    "frac-game": ResourceFacts("game", {"frac": 1.0}),
    "frac-quiz": ResourceFacts("assessment", {"frac": 1.0}),
    "add-practice": ResourceFacts("practice", {"add": 1.0}),
    "area-practice": ResourceFacts("practice", {"area": 1.0}),
    "ratio-practice": ResourceFacts("practice", {"ratio": 1.0}),
    "new-quiz": ResourceFacts("assessment", {"new": 1.0}),
    "new-video": ResourceFacts("video", {"new": 1.0}, frozenset({"new"})),
}
MASTERED = KnownSkill(15, 15.0, 0.9, 0.8, 0.95, mastered=True, last_at_s=NOW_S - 60 * DAY_S, recent_failures=0.0)
WEAK = KnownSkill(5, 2.0, 0.31, 0.17, 0.49, mastered=False, last_at_s=NOW_S - DAY_S, recent_failures=2.0)
# Eleven wrong answers, then eight right ones.
TURNED = KnownSkill(19, 8.0, 0.76, 0.5, 0.9, mastered=False, last_at_s=0, recent_failures=1.3408)
UNKNOWN = KnownSkill(0, 0.0, 0.5, 0.1, 0.9, mastered=False, last_at_s=0, recent_failures=0.0)
KNOWN = {"add": MASTERED, "frac": WEAK, "ratio": WEAK, "area": TURNED, "new": UNKNOWN}
RULES = {"unit 3": RuleFacts(pins=True, note="test on Friday", covers=lambda resource: resource == "frac-game")}
PREFERENCES = Preferences(goals=("ratio",), interests=("space",), formats=(2,))
SCORES = np.array([0.1, 0.9, 0.5, 0.0, 0.7], np.float32)
INDEX = {"ratio-practice": 0, "frac-practice": 1, "frac-quiz": 2, "area-practice": 3, "add-practice": 4}
USUAL = UsualWork(
    follows=lambda skill: {"frac": 0.4, "area": 0.1} if skill == "ratio" else {},
    place=lambda resource: 0.3 if resource != "area-practice" else 0.9,
    learners=lambda _resource: 20.0,
)
FACTS = Facts(
    catalog=CatalogFacts(RESOURCES.get, SKILLS.get),
    learner=LearnerFacts(KNOWN.__getitem__, 39, ("gone", "ratio-practice"), PREFERENCES),
    as_of_s=NOW_S,
    scores=ScoreFacts(SCORES, lambda resource: INDEX.get(resource, -1), history=1),
    usual=USUAL,
    rules=RULES,
)


def entry(resource, kind, text, *, step="PRACTISE", success=0.74):
    (skill,) = RESOURCES[resource].skills
    return Entry(resource, skill, step, success, [GivenReason(kind, text)])


TRUE = [
    entry("frac-practice", "GAP", "Adding fractions: not mastered yet, 2 of 5 answers right"),
    entry("frac-quiz", "GAP", "3.NF.1: not mastered yet, 2 of 5 answers right", step="REASSESS"),
    entry(
        "frac-game",
        "GAP",
        "Adding fractions: not mastered yet, 2 of 5 answers right; needed for the latest work, Ratios",
    ),
    entry("area-practice", "GAP", "Areas: almost mastered, the last 8 answers were right"),
    entry("area-practice", "GAP", "Areas: almost mastered, likely to get 76 % of its questions right"),
    entry("new-quiz", "EXPLORE", "Angles: no answers yet, find out what is known", step="FIND_OUT"),
    entry("new-video", "EXPLORE", "Angles: no answers yet, take a first look", step="FIND_OUT"),
    entry("frac-practice", "FIT", "74 % likely to succeed: the right challenge"),
    entry(
        "frac-lesson",
        "FIT",
        "31 % likely to succeed without help: to be taught first",
        step="TEACH",
        success=0.31,
    ),
    entry("add-practice", "REVIEW", "Adding whole numbers: mastered, all 15 answers right; last practised 60 days ago"),
    entry(
        "frac-practice",
        "SIMILAR_LEARNERS",
        "Learners with a similar history worked on it: number 1 of 4 resources",
    ),
    entry("frac-practice", "GOAL", "Adding fractions: leads to the learner's goal, Ratios"),
    entry("ratio-practice", "GOAL", "Ratios: a goal of the learner"),
    entry("frac-video", "PREFERENCE", "Of a kind the learner prefers, video, and about what they like: space"),
    entry("frac-game", "PINNED", "Pinned by the rule 'unit 3' (test on Friday)"),
    entry("ratio-practice", "RECENT_WORK", "Ratios: carries on with the latest work"),
    entry("frac-practice", "RECENT_WORK", "Adding fractions: often comes next after the latest work"),
    entry("frac-practice", "RECENT_WORK", "Learners usually work on it at about this point"),
]


@pytest.mark.parametrize("told", TRUE, ids=lambda each: each.reasons[0].text)
def test_a_true_reason_is_accepted(told):
    assert problems_of(FACTS, [told]) == []


@pytest.mark.parametrize("for_all", [True, False])
def test_only_scores_that_every_learner_gets_are_told_as_what_many_learners_did(for_all):
    facts = dataclasses.replace(FACTS, scores=dataclasses.replace(FACTS.scores, for_all=for_all))
    told = [
        entry("frac-practice", "SIMILAR_LEARNERS", f"{who} worked on it: number 1 of 4 resources")
        for who in ("Many learners", "Learners with a similar history")
    ]
    assert [not problems_of(facts, [each]) for each in told] == [for_all, not for_all]


LIES = {
    "the count of right answers": entry(
        "frac-practice", "GAP", "Adding fractions: not mastered yet, 3 of 5 answers right"
    ),
    "the count of answers": entry("frac-practice", "GAP", "Adding fractions: not mastered yet, 2 of 6 answers right"),
    "a mastered skill called a gap": entry(
        "add-practice", "GAP", "Adding whole numbers: not mastered yet, likely to get 90 % of its questions right"
    ),
    "a weak skill called almost mastered": entry(
        "frac-practice", "GAP", "Adding fractions: almost mastered, 2 of 5 answers right"
    ),
    "counts that contradict the claim": entry("area-practice", "GAP", "Areas: almost mastered, 8 of 19 answers right"),
    "more answers right in a row than were": entry(
        "area-practice", "GAP", "Areas: almost mastered, the last 9 answers were right"
    ),
    "a chance on the skill": entry(
        "area-practice", "GAP", "Areas: almost mastered, likely to get 81 % of its questions right"
    ),
    "an unknown skill called a gap": entry(
        "new-quiz", "GAP", "Angles: not mastered yet, none of 0 answers right", step="FIND_OUT"
    ),
    "no answers where there are some": entry(
        "frac-practice", "EXPLORE", "Adding fractions: no answers yet, find out what is known"
    ),
    "little known after many answers": entry(
        "add-practice", "EXPLORE", "Adding whole numbers: little is known yet, all 15 answers right"
    ),
    "a new learner with answers": entry(
        "frac-practice", "EXPLORE", "No answers from this learner yet: a place to start"
    ),
    "the chance of success": entry("frac-practice", "FIT", "64 % likely to succeed: hard, but within reach"),
    "a challenge that is not so": entry("frac-practice", "FIT", "74 % likely to succeed: easy"),
    "taught first at 51 %": entry(
        "frac-lesson", "FIT", "51 % likely to succeed without help: to be taught first", step="TEACH", success=0.51
    ),
    "taught first where practice comes first": entry(
        "frac-practice", "FIT", "31 % likely to succeed without help: to be taught first", success=0.31
    ),
    "mastered although it is not": entry(
        "frac-practice", "REVIEW", "Adding fractions: mastered, 2 of 5 answers right; last practised 1 day ago"
    ),
    "the days since practice": entry(
        "add-practice", "REVIEW", "Adding whole numbers: mastered, all 15 answers right; last practised 61 days ago"
    ),
    "a skill that the resource does not serve": entry(
        "frac-practice", "RECENT_WORK", "Ratios: carries on with the latest work"
    ),
    "latest work that is not the latest": entry(
        "frac-practice", "RECENT_WORK", "Adding fractions: carries on with the latest work"
    ),
    "what usually comes next": entry(
        "add-practice", "RECENT_WORK", "Adding whole numbers: often comes next after the latest work"
    ),
    "the usual point": entry("area-practice", "RECENT_WORK", "Learners usually work on it at about this point"),
    "a prerequisite that is none": entry(
        "area-practice",
        "GAP",
        "Areas: not mastered yet, 8 of 19 answers right; needed for the latest work, Ratios",
    ),
    "a place among resources": entry(
        "frac-quiz", "SIMILAR_LEARNERS", "Learners with a similar history worked on it: number 1 of 4 resources"
    ),
    "similar learners who did not work on it": entry(
        "area-practice", "SIMILAR_LEARNERS", "Learners with a similar history worked on it: number 4 of 4 resources"
    ),
    "a goal that it does not lead to": entry("area-practice", "GOAL", "Areas: leads to the learner's goal, Ratios"),
    "a goal that is none": entry("frac-practice", "GOAL", "Adding fractions: a goal of the learner"),
    "a kind that is not preferred": entry("frac-game", "PREFERENCE", "Of a kind the learner prefers: game"),
    "a topic that the learner does not like": entry("frac-video", "PREFERENCE", "About what the learner likes: sport"),
    "a rule that does not cover it": entry("frac-quiz", "PINNED", "Pinned by the rule 'unit 3' (test on Friday)"),
    "a statement cut mid-phrase": entry("frac-practice", "GAP", "Adding: not mastered yet, 2 of 5 answers right"),
    "a statement cut with dots": entry("frac-practice", "GAP", "Adding...: not mastered yet, 2 of 5 answers right"),
    "a wrong plural": entry("frac-practice", "GAP", "Adding fractions: not mastered yet, 2 of 5 answer right"),
    "jargon": entry("frac-practice", "GAP", "Adding fractions: not mastered yet, 2 of 5 responses right"),
    "a number that is none": entry("frac-practice", "FIT", "nan % likely to succeed: the right challenge"),
    "a first resource called another": entry(
        "frac-practice", "GAP", "More practice on the same skill (resource 2 on it in this list)"
    ),
    "re-assessed with practice": dataclasses.replace(TRUE[0], step="REASSESS"),
    "taught with practice": dataclasses.replace(TRUE[0], step="TEACH", success=0.3),
    "found out although it is known": dataclasses.replace(TRUE[0], step="FIND_OUT"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_planted_lie_is_found(lie):
    told = LIES[lie]
    if told.step == "PRACTISE" and told.resource == "frac-quiz":
        told = dataclasses.replace(told, step="REASSESS")
    assert problems_of(FACTS, [told])


@pytest.mark.parametrize("last_at_s", [0, NOW_S - 3 * DAY_S])
def test_a_review_without_a_known_time_or_before_it_is_due_is_found(last_at_s):
    known = {**KNOWN, "add": dataclasses.replace(MASTERED, last_at_s=last_at_s)}
    facts = dataclasses.replace(FACTS, learner=dataclasses.replace(FACTS.learner, known=known.__getitem__))
    days = round((NOW_S - last_at_s) / DAY_S)
    text = f"Adding whole numbers: mastered, all 15 answers right; last practised {days} days ago"
    assert problems_of(facts, [entry("add-practice", "REVIEW", text)])


def by_recall(recall, *, served=True):
    known = {**KNOWN, "add": dataclasses.replace(MASTERED, recall=recall)}
    learner = dataclasses.replace(FACTS.learner, known=known.__getitem__, by_recall=served)
    return dataclasses.replace(FACTS, learner=learner)


def said_of_recall(recall):
    text = f"Adding whole numbers: mastered, all 15 answers right; last practised 60 days ago{recall}"
    return [entry("add-practice", "REVIEW", text)]


@pytest.mark.parametrize(
    ("recall", "said"),
    [(0.649, "about 6"), (0.65, "about 7"), (0.65, "about 6"), (0.7, "about 7"), (0.04, "less than 1")],
)
def test_the_expected_recall_rounded_to_tenths_passes(recall, said):
    assert problems_of(by_recall(recall), said_of_recall(f", {said} in 10 likely to be right today")) == []


@pytest.mark.parametrize(
    ("recall", "said"),
    [
        (0.56, ", about 7 in 10 likely to be right today"),
        (0.56, ", about 5 in 10 likely to be right today"),
        (0.56, ", less than 1 in 10 likely to be right today"),
        (0.04, ", about 1 in 10 likely to be right today"),
        (0.04, ", about 0 in 10 likely to be right today"),
        # Not due, or nothing is expected.
        (0.72, ", about 7 in 10 likely to be right today"),
        (None, ", about 7 in 10 likely to be right today"),
        # The formula does not decide where there is a recall model, so it is no reason.
        (0.56, ""),
    ],
)
def test_a_false_or_missing_recall_is_found(recall, said):
    assert problems_of(by_recall(recall), said_of_recall(said))


def test_a_recall_where_no_recall_model_is_served_is_found_and_one_that_is_not_known_passes():
    told = said_of_recall(", about 7 in 10 likely to be right today")
    assert problems_of(by_recall(None, served=False), told)
    assert problems_of(by_recall(None, served=None), told) == []
    assert problems_of(by_recall(None, served=False), said_of_recall("")) == []


def test_a_sentence_that_two_resources_of_a_skill_share_is_found():
    game = dataclasses.replace(TRUE[0], resource="frac-game")
    assert problems_of(FACTS, [TRUE[0], game])
    again = entry("frac-game", "GAP", "More practice on the same skill (resource 2 on it in this list)")
    assert problems_of(FACTS, [TRUE[0], again]) == []


def test_two_reasons_of_one_kind_and_three_reasons_are_found():
    fit, gap, recent = (TRUE[place].reasons[0] for place in (7, 0, 17))
    assert problems_of(FACTS, [dataclasses.replace(TRUE[0], reasons=[gap, fit])]) == []
    assert problems_of(FACTS, [dataclasses.replace(TRUE[0], reasons=[fit, fit])])
    assert problems_of(FACTS, [dataclasses.replace(TRUE[0], reasons=[gap, fit, recent])])


def test_mastery_and_chances_are_those_of_the_published_rule():
    record = {"attempts": 3, "successes": 3.0}
    known = known_skill(1.5, 0.09, record)
    assert norm.sf(logit(0.7), 1.5, 0.3) > 0.8
    assert known.mastered
    assert known.chance == pytest.approx(expit(1.5 / np.sqrt(1 + np.pi * 0.09 / 8)))
    assert (known.low, known.high) == pytest.approx(tuple(expit(norm.ppf([0.025, 0.975], 1.5, 0.3))))
    assert not known_skill(1.5, 0.09, {"attempts": 2, "successes": 2.0}).mastered
    assert norm.sf(logit(0.7), 1.0, 0.3) < 0.8
    assert not known_skill(1.0, 0.09, record).mastered


def test_the_checker_shares_no_code_with_ranking():
    folder = Path(evaluation.__file__).parent
    for name in ("reason_checker", "reason_sentences", "reason_answers", "reason_facts"):
        tree = ast.parse((folder / f"{name}.py").read_text())
        imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert not [module for module in imported if "ranking" in module or "planning" in module]
