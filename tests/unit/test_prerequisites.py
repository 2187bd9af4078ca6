"""Verdicts on prerequisites, and proposals."""

from collections import Counter

import numpy as np
import pytest

from services.recommender.domain.training.prerequisites import Reason, Verdict, judge
from services.recommender.domain.training.responses import ResponseTableBuilder
from services.recommender.models.tracing.skill_pairs import fit_skill_pairs
from tests.courses import COURSE, pairs_of, taken

# Of a pair: learners, slope, its standard error, learners who know both, the first only, the second only, neither.
SURE = (400, 0.5, 0.05, 100, 60, 5, 100)
NONE = (400, 0.0, 0.03, 100, 60, 5, 100)
VAGUE = (400, 0.3, 0.30, 100, 60, 5, 100)
BACKWARD = (400, 0.5, 0.05, 100, 5, 60, 100)
SYMMETRIC = (400, 0.5, 0.05, 100, 40, 40, 100)
FEW = (29, 0.5, 0.05, 100, 60, 5, 100)
SLIGHT = (400, 0.05, 0.01, 100, 60, 5, 100)
NO_SLOPE = (400, np.nan, np.nan, 100, 60, 5, 100)


def verdict_on(evidence, requires=None, **others):
    found = judge(pairs_of({"ab": evidence, **others}), requires or {"a": (), "b": ("a",)})
    return next((edge.verdict, edge.reason) for edge in found.edges if (edge.prerequisite, edge.skill) == ("a", "b"))


@pytest.mark.parametrize(
    ("evidence", "verdict", "reason"),
    [
        (SURE, Verdict.SUPPORTED, Reason.SHOWS),
        (SYMMETRIC, Verdict.SUPPORTED, Reason.SHOWS),
        (NONE, Verdict.CONTRADICTED, Reason.HARDLY_SHOWS),
        (SLIGHT, Verdict.CONTRADICTED, Reason.HARDLY_SHOWS),
        (BACKWARD, Verdict.CONTRADICTED, Reason.REVERSED),
        (VAGUE, Verdict.CANNOT_TELL, Reason.UNSURE),
        (FEW, Verdict.CANNOT_TELL, Reason.TOO_FEW),
        (NO_SLOPE, Verdict.CANNOT_TELL, Reason.TOO_FEW),
    ],
)
def test_an_edge_is_supported_contradicted_or_neither(evidence, verdict, reason):
    assert verdict_on(evidence) == (verdict, reason)


@pytest.mark.parametrize(("alone", "told"), [(7, False), (8, True)])
def test_eight_learners_who_know_one_skill_alone_and_none_the_other_tell_the_direction(alone, told):
    """If one is twice as frequent as the other, all of eight are of it with (2/3)^8 = .039, all of seven with .059."""
    first_alone, second_alone = (400, 0.5, 0.05, 9, alone, 0, 9), (400, 0.5, 0.05, 9, 0, alone, 9)
    assert bool(proposed({"ab": first_alone}, UNRELATED)) is told
    assert (verdict_on(second_alone)[1] is Reason.REVERSED) is told


def test_what_hardly_shows_is_no_contradiction_where_other_edges_lead_to_the_skill():
    requires = {"a": (), "c": ("a",), "b": ("a", "c")}
    assert verdict_on(NONE, requires) == (Verdict.CANNOT_TELL, Reason.INDIRECT)


def test_an_edge_tells_its_effect_its_interval_and_its_counts():
    (edge,) = judge(pairs_of({"ab": SURE}), {"a": (), "b": ("a",)}).edges
    # Student's t with 397 degrees of freedom: 1.9660.
    assert (edge.slope, edge.low, edge.high) == pytest.approx((0.5, 0.5 - 1.966 * 0.05, 0.5 + 1.966 * 0.05), abs=1e-4)
    assert (edge.learners, edge.both, edge.prerequisite_only, edge.skill_only, edge.neither) == (400, 100, 60, 5, 100)


def test_an_edge_without_responses_is_told_from_one_with_too_few():
    found = judge(pairs_of({"ab": SURE}, "x"), {"a": (), "b": (), "x": ("a", "y"), "y": ()})
    assert [(edge.prerequisite, edge.verdict, edge.reason) for edge in found.edges] == [
        ("a", Verdict.CANNOT_TELL, Reason.TOO_FEW),
        ("y", Verdict.CANNOT_TELL, Reason.NO_RESPONSES),
    ]
    assert (found.in_log, found.count(Verdict.CANNOT_TELL)) == (1, 1)


def test_a_skill_is_judged_by_its_names_in_the_responses_and_the_pair_that_most_learners_met():
    more = (500, 0.5, 0.05, 1, 60, 5, 1)
    names = {"A": ("A", "a", "c"), "B": ("B", "b")}
    (edge,) = judge(pairs_of({"ab": NONE, "cb": more}), {"A": (), "B": ("A",)}, names).edges
    assert (edge.in_log, edge.verdict) == (("c", "b"), Verdict.SUPPORTED)


def test_two_skills_with_one_name_cannot_be_told_apart():
    (edge,) = judge(pairs_of({"ab": SURE}), {"A": (), "B": ("A",)}, {"A": ("a",), "B": ("a",)}).edges
    assert edge.reason is Reason.ONE_SKILL


def proposed(pairs, requires, **options):
    return [(edge.prerequisite, edge.skill) for edge in judge(pairs_of(pairs), requires, **options).proposals]


UNRELATED = {"a": (), "b": (), "c": ()}


@pytest.mark.parametrize("evidence", [NONE, SLIGHT, VAGUE, BACKWARD, SYMMETRIC, FEW, NO_SLOPE])
def test_nothing_is_proposed_without_effect_and_direction(evidence):
    assert proposed({"ab": evidence}, UNRELATED) == []


def test_the_surest_proposals_come_first():
    surer = (400, 0.6, 0.05, *SURE[3:])
    assert proposed({"ab": SURE, "ac": surer}, UNRELATED) == [("a", "c"), ("a", "b")]


def test_an_edge_that_others_lead_to_is_not_proposed():
    surest = (400, 0.9, 0.05, *SURE[3:])
    assert proposed({"ab": SURE, "bc": SURE, "ac": surest}, UNRELATED) == [("a", "b"), ("b", "c")]
    # a -> b is the catalog's.
    assert proposed({"ab": SURE, "bc": SURE, "ac": surest}, UNRELATED | {"b": ("a",)}) == [("b", "c")]


def test_proposals_close_no_cycle():
    surest = (400, 0.9, 0.05, *SURE[3:])
    assert proposed({"ab": surest, "bc": surest, "ca": SURE}, UNRELATED) == [("a", "b"), ("b", "c")]
    assert proposed({"ba": surest}, UNRELATED | {"b": ("a",)}) == []


def test_a_rejected_edge_is_not_proposed_but_counted():
    found = judge(pairs_of({"ab": SURE, "ac": SURE}), UNRELATED, rejected={("a", "b")})
    assert ([edge.skill for edge in found.proposals], found.rejected) == (["c"], 1)


def test_skills_that_the_catalog_lacks_are_named_and_get_no_proposals():
    found = judge(pairs_of({"ab": SURE}), {"a": ()})
    assert (found.proposals, found.not_in_catalog) == ((), ("b",))


def test_a_proposal_names_the_skill_whose_id_the_responses_have():
    names = {"A": ("A", "a", "b"), "b": ("b",)}
    assert proposed({"ab": SURE}, {"A": (), "b": ()}, names=names) == [("A", "b")]


def test_pairs_that_no_edges_connect_are_counted_by_verdict():
    found = judge(pairs_of({"ab": SURE, "ac": NONE, "bc": SURE, "ca": FEW}), UNRELATED | {"c": ("b",)})
    assert found.others == {Verdict.SUPPORTED: 1, Verdict.CONTRADICTED: 1}


def edges_of(course):
    return {(needed, skill) for skill, needs in course.items() for needed in needs}


@pytest.mark.slow
def test_the_prerequisites_of_a_simulated_course_are_found():
    """Over three courses: of the edges, of the same the wrong way round, and of what is proposed without them."""
    true = edges_of(COURSE)
    turned = {skill: sorted(other for needed, other in true if needed == skill) for skill in COURSE}
    verdicts, of_turned, named, right = Counter(), Counter(), 0, 0
    for seed in range(3):
        pairs = fit_skill_pairs(taken(1_000, seed=seed), seed=1)
        verdicts.update(edge.verdict for edge in judge(pairs, COURSE).edges)
        of_turned.update(edge.verdict for edge in judge(pairs, turned).edges)
        proposals = {(edge.prerequisite, edge.skill) for edge in judge(pairs, dict.fromkeys(COURSE, ())).proposals}
        named += len(proposals)
        right += len(proposals & true)
    total = 3 * len(true)
    assert verdicts[Verdict.SUPPORTED] >= 0.8 * total
    assert verdicts[Verdict.CONTRADICTED] <= 0.05 * total
    assert of_turned[Verdict.CONTRADICTED] >= 0.5 * total
    assert of_turned[Verdict.SUPPORTED] <= 0.2 * total
    assert right >= 0.75 * named
    assert right >= 0.6 * total


@pytest.mark.slow
def test_nothing_is_found_where_nothing_builds_on_anything():
    """By chance, at most one in twenty findings of a run: of five runs, at most one finds anything at all."""
    alone = dict.fromkeys(COURSE, ())
    finds = 0
    for seed in range(5):
        found = judge(fit_skill_pairs(taken(400, seed=seed, course=alone), seed=1), alone)
        finds += bool(found.proposals)
    assert finds <= 1


@pytest.mark.slow
def test_labels_drawn_at_random_support_no_edge():
    table = taken(600, seed=11)
    rng = np.random.default_rng(2)
    label = dict(zip(table.items, rng.choice(sorted(COURSE), len(table.items)), strict=True))
    builder = ResponseTableBuilder()
    for row in range(len(table)):
        item = table.items[table.item[row]]
        builder.append(
            learner=table.learners[table.learner[row]],
            item=item,
            skills=[label[item]],
            response=float(table.response[row]),
        )
    found = judge(fit_skill_pairs(builder.build(), seed=1), COURSE)
    assert found.count(Verdict.SUPPORTED) == 0
    assert found.proposals == ()
