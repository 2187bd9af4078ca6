"""Responses that contradict tags are found where they were planted, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from services.catalog.formats.jsonl import FileUnreadableError
from services.catalog.formats.responses import Columns, read_responses
from services.catalog.tagging.contradictions import Responses, contradictions

SKILLS, PER_SKILL, LEARNERS = 4, 10, 500


def simulated(*, skill_spread=1.2, seed=0, learners=LEARNERS):
    """Every learner answers every resource once; resource r is about skill r // PER_SKILL."""
    rng = np.random.default_rng(seed)
    general = rng.normal(0, 0.8, learners)
    of_skill = rng.normal(0, skill_spread, (learners, SKILLS))
    difficulty = rng.normal(0, 0.7, SKILLS * PER_SKILL)
    learner, resource = (codes.ravel() for codes in np.indices((learners, SKILLS * PER_SKILL)))
    logit = general[learner] + of_skill[learner, resource // PER_SKILL] - difficulty[resource]
    correct = (rng.random(len(logit)) < 1 / (1 + np.exp(-logit))).astype(np.float64)
    names = [f"u{number}" for number in range(learners)], [f"r{number:02}" for number in range(SKILLS * PER_SKILL)]
    return Responses(*names, learner, resource, correct)


RIGHT = {f"r{number:02}": [f"s{number // PER_SKILL}"] for number in range(SKILLS * PER_SKILL)}
PLANTED = {"r03": ["s2"], "r17": ["s0"], "r35": ["s1"]}


def test_planted_wrong_tags_are_found_with_the_skill_they_fit_better():
    verdict = contradictions(simulated(), RIGHT | PLANTED)
    assert {one.resource_id for one in verdict.contradictions} == set(PLANTED)
    assert {one.resource_id: one.fits_better for one in verdict.contradictions} == {
        name: RIGHT[name][0] for name in PLANTED
    }
    assert all(one.slope < one.usual and one.z < -2 for one in verdict.contradictions)
    assert verdict.judged == verdict.tags == SKILLS * PER_SKILL


def test_right_tags_are_hardly_ever_contradicted():
    found = [len(contradictions(simulated(seed=seed), RIGHT).contradictions) for seed in range(1, 6)]
    assert sum(found) <= 2


def test_a_wrong_second_tag_is_found_next_to_a_right_one():
    verdict = contradictions(simulated(), RIGHT | {"r05": ["s0", "s3"]})
    assert [(one.resource_id, one.skill) for one in verdict.contradictions] == [("r05", "s3")]


def test_skills_with_little_information_get_no_verdict():
    verdict = contradictions(simulated(skill_spread=0.0), RIGHT | PLANTED)
    assert not verdict.contradictions
    assert verdict.judged < verdict.tags / 4


def test_too_few_responses_get_no_verdict():
    verdict = contradictions(simulated(learners=25), RIGHT | PLANTED)
    assert (verdict.judged, verdict.contradictions) == (0, ())


def test_the_order_of_responses_does_not_matter():
    plain = simulated()
    order = np.random.default_rng(1).permutation(len(plain.correct))
    mixed = Responses(
        plain.learners, plain.resources, plain.learner[order], plain.resource[order], plain.correct[order]
    )
    one, other = (contradictions(each, RIGHT | PLANTED).contradictions for each in (plain, mixed))
    assert [(each.resource_id, each.skill) for each in one] == [(each.resource_id, each.skill) for each in other]
    assert [each.z for each in one] == pytest.approx([each.z for each in other])


def test_a_table_is_read_with_any_column_names(tmp_path):
    file = tmp_path / "responses.csv"
    file.write_text("user,question,score\nu1,007,1\nu2,007,0.5\nu1,8,\n")
    table = read_responses(file, Columns("user", "question", "score"))
    assert (table.learners, table.items) == (["u1", "u2"], ["007"])
    assert table.correct.tolist() == [1.0, 0.5]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("learner,question,correct\nu,i,1\n", "has no column 'item' but learner, question, correct"),
        ("learner,item,correct\nu,i,2\n", "correct is 2 in row 1; it must be from 0 to 1"),
        ("learner,item,correct\nu,i,yes\n", "has no numbers"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_the_remedy(tmp_path, content, reason):
    file = tmp_path / "responses.csv"
    file.write_text(content)
    with pytest.raises(FileUnreadableError, match=reason):
        read_responses(file, Columns())
