"""Resources among those of another skill are found where tags were swapped, and hardly anywhere else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from services.catalog.formats.jsonl import FileUnreadableError
from services.catalog.formats.responses import Columns, read_responses
from services.catalog.tagging.contradictions import Responses
from services.catalog.tagging.neighbour_context import suspected_mistags

DATA = Path(os.environ.get("CAIRN_DATA", "../shared/data")) / "assistments2009"
SKILLS, PER_SKILL, LEARNERS = 10, 12, 60
RIGHT = {f"r{number:03}": [f"s{number // PER_SKILL}"] for number in range(SKILLS * PER_SKILL)}
SWAPPED = {"r003": ["s7"], "r030": ["s1"], "r055": ["s0"], "r089": ["s2"], "r112": ["s3"]}


def worked_through(*, seed=0, learners=LEARNERS, in_sets=True, reviews=0.1):
    """Each learner practises some skills in turn, on half of the resources of each, with reviews in between."""
    rng = np.random.default_rng(seed)
    learner, resource = [], []
    for number in range(learners):
        taken = [
            int(code)
            for skill in rng.permutation(SKILLS)[:6]
            for code in rng.permutation(PER_SKILL)[: PER_SKILL // 2] + skill * PER_SKILL
        ]
        taken = [int(rng.integers(SKILLS * PER_SKILL)) if rng.random() < reviews else code for code in taken]
        if not in_sets:
            taken = rng.permutation(taken).tolist()
        learner += [number] * len(taken)
        resource += taken
    return Responses(
        [f"u{number}" for number in range(learners)],
        sorted(RIGHT),
        np.array(learner, np.int64),
        np.array(resource, np.int64),
        (rng.random(len(resource)) < 0.6).astype(np.float64),
    )


def test_swapped_tags_are_found_with_the_skill_they_should_have():
    verdict = suspected_mistags(worked_through(), RIGHT | SWAPPED)
    assert {one.resource_id: one.fits_better for one in verdict.suspected_mistags} == {
        name: RIGHT[name][0] for name in SWAPPED
    }
    assert all(one.share < one.usual / 2 < one.better_share for one in verdict.suspected_mistags)
    assert verdict.judged == verdict.tags == SKILLS * PER_SKILL


def test_right_tags_are_hardly_ever_reported():
    found = [len(suspected_mistags(worked_through(seed=seed), RIGHT).suspected_mistags) for seed in range(1, 9)]
    assert sum(found) <= 1


def test_nothing_is_reported_if_skills_are_practised_mixed():
    assert not suspected_mistags(worked_through(in_sets=False), RIGHT | SWAPPED).suspected_mistags


def test_two_skills_that_always_occur_together_are_not_suspected_mistags():
    tags = {name: ["s0"] if skill == ["s1"] and int(name[1:]) % 2 else skill for name, skill in RIGHT.items()}
    assert not suspected_mistags(worked_through(), tags).suspected_mistags


def in_order(sequences):
    """Responses of learners who each met the given resources in the given order."""
    learner = np.repeat(np.arange(len(sequences)), [len(each) for each in sequences])
    names = [f"u{number}" for number in range(len(sequences))]
    return Responses(names, sorted(RIGHT), learner, np.concatenate(sequences), np.ones(len(learner)))


def of(*skills):
    """The resources of some skills, without the first four of skill 0, which tests put elsewhere."""
    codes = np.concatenate([np.arange(PER_SKILL) + skill * PER_SKILL for skill in skills])
    return codes[codes >= 4]


def test_a_resource_with_a_mixed_neighbour_context_belongs_to_no_skill():
    # Skills 0 and 1 are worked on in sets; all others, and four resources of skill 0, are mixed.
    rng = np.random.default_rng(0)
    sequences = [
        np.concatenate(
            [rng.permutation(of(0)), rng.permutation(of(1)), rng.permutation([*range(4), *of(*range(2, 10))])]
        )
        for _ in range(15)
    ]
    assert not suspected_mistags(in_order(sequences), RIGHT).suspected_mistags


def test_a_resource_with_less_of_a_skill_around_it_than_is_usual_there_is_not_of_that_skill():
    # A resource of skill 0 is in a review of other skills; a third of the review is of skill 5.
    rng = np.random.default_rng(0)
    sequences = []
    for _ in range(LEARNERS):
        review = [0, *rng.permutation(of(5))[:5], *rng.permutation(of(1, 2, 3, 4))[:9]]
        sets = [rng.permutation(np.setdiff1d(of(skill), review)) for skill in rng.permutation(SKILLS)]
        sequences.append(np.concatenate([*sets, rng.permutation(review)]))
    assert not suspected_mistags(in_order(sequences), RIGHT).suspected_mistags


def test_only_resources_of_five_learners_and_skills_of_eight_such_resources_get_a_verdict():
    responses = worked_through(learners=20)
    met = np.bincount(np.unique(responses.resource * 20 + responses.learner) // 20, minlength=len(RIGHT))
    known = (met >= 5).reshape(SKILLS, PER_SKILL).sum(axis=1)
    assert (known < 8).any()
    assert suspected_mistags(responses, RIGHT).judged == known[known >= 8].sum() > 0


def test_without_tags_or_neighbour_context_there_is_no_verdict():
    alone = Responses(["a", "b"], ["r000"], np.array([0, 1]), np.array([0, 0]), np.ones(2))
    for tags in ({}, RIGHT):
        assert suspected_mistags(alone, tags).judged == 0


def test_how_the_rows_of_learners_are_interleaved_does_not_matter():
    plain = worked_through()
    place = np.concatenate([np.arange(count) for count in np.bincount(plain.learner)])
    order = np.lexsort((plain.learner, place))
    mixed = Responses(
        plain.learners, plain.resources, plain.learner[order], plain.resource[order], plain.correct[order]
    )
    assert suspected_mistags(mixed, RIGHT | SWAPPED) == suspected_mistags(plain, RIGHT | SWAPPED)


def test_a_repeated_response_counts_at_its_first_position():
    plain = worked_through(reviews=0.0)
    # At the end all learners repeat some of their responses, from last to first.
    again = np.flatnonzero(plain.resource % PER_SKILL < PER_SKILL // 2)[::-1]
    longer = Responses(
        plain.learners,
        plain.resources,
        np.concatenate([plain.learner, plain.learner[again]]),
        np.concatenate([plain.resource, plain.resource[again]]),
        np.concatenate([plain.correct, plain.correct[again]]),
    )
    assert suspected_mistags(longer, RIGHT | SWAPPED) == suspected_mistags(plain, RIGHT | SWAPPED)


def test_the_times_of_a_table_put_it_in_order(tmp_path):
    file = tmp_path / "responses.csv"
    file.write_text("learner,item,correct,at\nu1,b,1,30\nu2,c,0,20\nu1,a,0.5,10\nu2,d,1,20\n")
    table = read_responses(file, Columns(time="at"))
    assert [table.items[code] for code in table.item] == ["a", "c", "d", "b"]
    assert table.correct.tolist() == [0.5, 0.0, 1.0, 1.0]
    with pytest.raises(FileUnreadableError, match="no column 'when'"):
        read_responses(file, Columns(time="when"))


def test_most_tags_swapped_on_a_real_log_are_found():
    file = DATA / "interactions.csv.gz"
    if not file.is_file():
        pytest.skip(f"{file} is not there; CAIRN_DATA names the folder with the data sets")
    columns = Columns("user_id", "problem_id", "correct")
    table = read_responses(file, columns)
    responses = Responses(table.learners, table.items, table.learner, table.item, table.correct)
    skills = read_responses(file, Columns("user_id", "skill_name", "correct"))
    tags: dict[str, list[str]] = {}
    for item, skill in sorted(set(zip(table.item.tolist(), skills.item.tolist(), strict=True))):
        tags.setdefault(table.items[item], []).append(skills.items[skill])
    assert len(suspected_mistags(responses, tags).suspected_mistags) <= 5

    rng = np.random.default_rng(1)
    meetings = np.unique(table.item * len(table.learners) + table.learner)
    learners = np.bincount(meetings // len(table.learners))
    known = [name for number, name in enumerate(table.items) if len(tags[name]) == 1 and learners[number] >= 10]
    swapped = {str(name): [str(rng.choice(skills.items))] for name in rng.choice(known, 60, replace=False)}
    found = {one.resource_id: one.fits_better for one in suspected_mistags(responses, tags | swapped).suspected_mistags}
    assert len(found.keys() & swapped.keys()) >= 30
    assert len(found.keys() - swapped.keys()) <= 5
    assert np.mean([[found[name]] == tags[name] for name in found.keys() & swapped.keys()]) > 0.8
