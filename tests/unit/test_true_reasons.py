"""Whatever adds to a score, no reason is given that is not true: random learners, catalogs and contributions."""

from __future__ import annotations

import dataclasses
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.resource_kinds import ResourceKind
from services.recommender.domain.learner.batch import LearnerEvents
from services.recommender.domain.learner.events import AssessmentEvent, Grain, InteractionEvent, InteractionKind
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.parameters import TenantParameters, TracingParameters
from services.recommender.domain.learner.preferences import Pace, Preferences
from services.recommender.domain.learner.recall import RECALL_FEATURES, RecallModel
from services.recommender.domain.learner.record import NEW_LEARNER
from services.recommender.domain.learner.state import decode_state, encode_state
from services.recommender.domain.ranking import learned, pipeline
from services.recommender.domain.ranking.catalog import CatalogResource, CatalogSkill, build_columns
from services.recommender.domain.ranking.explain import REASON_SOURCES
from services.recommender.domain.ranking.features import collaborative_rows
from services.recommender.domain.ranking.interaction_statistics import InteractionStatistics, SkillLinks
from services.recommender.domain.ranking.next_item import ModelScores
from services.recommender.domain.ranking.policy import EVERYTHING
from services.recommender.domain.ranking.prepared import prepare
from services.recommender.domain.ranking.request import RankingRequest
from services.recommender.domain.ranking.rules import Rule, RuleAction, rule_book
from services.recommender.domain.ranking.weights import DEFAULT_WEIGHTS
from services.recommender.evaluation.reason_count import ReasonCount

NOW_S = 1_700_000_000
DAY_S = 86_400
SKILLS = tuple(f"s{number}" for number in range(6))
RESOURCES = tuple(f"r{number:02}" for number in range(24))
TOPICS = ("space", "sport", "art")
STATEMENT = "Explain when fractions are equal in simple cases, and compare fractions with the same top or bottom number"
PARAMETERS = TenantParameters()
FOLD = LearnerFold(TracingParameters("", {"t": PARAMETERS}))

skills = st.sampled_from(SKILLS)
marks = st.sampled_from([0.0, 1.0]) | st.sampled_from([0.0, 0.25, 0.5, 0.8, 1.0])
# Any answers, and wrong ones followed by enough right ones for mastery.
bursts = st.lists(marks, min_size=1, max_size=12) | st.builds(
    lambda wrong, right: [0.0] * wrong + [1.0] * right, st.integers(0, 6), st.integers(1, 60)
)
# Missing, long ago, lately, now, and after the moment of the list.
times = st.sampled_from([0, 0, *(NOW_S - days * DAY_S for days in (400, 60, 30, 15, 2, 0)), NOW_S + 9 * DAY_S])
tags = st.dictionaries(skills, st.floats(0.05, 1.0), max_size=2).map(lambda found: tuple(found.items()))
preferences = st.builds(
    Preferences,
    goals=st.lists(skills, unique=True, max_size=2).map(tuple),
    interests=st.lists(st.sampled_from(TOPICS), unique=True, max_size=2).map(tuple),
    formats=st.lists(st.integers(1, 6), unique=True, max_size=2).map(lambda kinds: tuple(sorted(kinds))),
    pace=st.sampled_from(Pace),
)


@st.composite
def catalogs(draw):
    resources = [
        CatalogResource(
            name,
            kind=draw(st.sampled_from([kind for kind in ResourceKind if kind])),
            teaches=draw(tags),
            assesses=draw(tags),
            topics=tuple(draw(st.lists(st.sampled_from(TOPICS), unique=True, max_size=2))),
        )
        for name in draw(st.lists(st.sampled_from(RESOURCES), unique=True, min_size=1, max_size=20))
    ]
    described = [
        CatalogSkill(
            skill,
            draw(st.sampled_from(["", f"About {skill}", f"{skill}: {STATEMENT}"])),
            tuple(draw(st.lists(skills, unique=True, max_size=2))),
            draw(st.floats(0.0, 1.0)),
            draw(st.sampled_from(["", f"3.NF.{skill}"])),
        )
        for skill in draw(st.lists(skills, unique=True))
    ]
    return build_columns(resources, described)


@st.composite
def states(draw):
    """A learner's state, folded from responses and interactions with and without times; None for a new learner."""
    events = []
    for number in range(draw(st.integers(0, 5))):
        skill, at_s = draw(st.lists(skills, unique=True, max_size=2)), draw(times)
        for mark in draw(bursts):
            resource = draw(st.sampled_from(["", *RESOURCES]))
            name = struct.pack("<Q", len(events))
            events.append(AssessmentEvent(name, mark, at_s, f"i{number}", "", tuple(skill), Grain.ITEM, resource))
    for _ in range(draw(st.integers(0, 3))):
        kind, resource = draw(st.sampled_from(InteractionKind)), draw(st.sampled_from(RESOURCES))
        events.append(InteractionEvent(struct.pack("<Q", len(events)), draw(times), resource, kind))
    stored = FOLD.fold([LearnerEvents("t", NEW_LEARNER, list(enumerate(events)))])[0].stored
    if stored.state is None:
        return None
    return dataclasses.replace(decode_state(encode_state(stored.state)), preferences=draw(preferences))


def links(rng):
    """Random links between the skills."""
    strengths = rng.random((len(SKILLS), len(SKILLS))).astype(np.float32) * (rng.random((6, 6)) < 0.6)
    starts = np.arange(len(SKILLS) + 1, dtype=np.int32) * len(SKILLS)
    return SkillLinks(starts, np.tile(np.arange(len(SKILLS), dtype=np.int32), len(SKILLS)), strengths.ravel())


def ranker_of(rng):
    """A ranker of equal scores, with random statistics."""
    known = tuple(name for name in RESOURCES if rng.random() < 0.8)
    statistics = InteractionStatistics(
        known,
        SKILLS,
        rng.integers(0, 12, len(known)).astype(np.float32),
        rng.random(len(known)).astype(np.float32),
        links(rng),
        links(rng),
        np.ones(len(SKILLS), np.float32),
    )
    return dataclasses.replace(learned.smallest_ranker(), statistics=statistics)


def recall_model_of(rng):
    """A recall model with which some skills are forgotten soon, or none."""
    if rng.random() < 0.5:
        return None
    return RecallModel(rng.normal(), rng.random(len(RECALL_FEATURES)), SKILLS[:3], rng.normal(size=3))


def rules_over(catalog, rng):
    """A pin and two boosts of random resources."""
    covered = [tuple(rng.choice(RESOURCES, 6).tolist()) for _ in range(3)]
    book = [
        Rule("first, 'unit' 3", RuleAction.PIN, covered[0], note="test on Friday; bring a pen"),
        Rule("up", RuleAction.BOOST, covered[1], factor=3.0),
        Rule("down", RuleAction.BOOST, covered[2], factor=0.5),
    ]
    return rule_book(catalog, [rule for rule in book if rng.random() < 0.3]).active("", (), NOW_S)


def contributions(rng):
    """Replaces what sources added to the scores by anything, so that every claim is made in some list."""

    def anything(*arguments):
        return rng.normal(0.3, 1.0, (len(arguments[-1]), len(REASON_SOURCES)))

    return anything


@pytest.mark.parametrize("by_trees", [False, True], ids=["nothing learned", "learned"])
@settings(max_examples=200)
@given(catalogs(), states(), st.integers(1, 20), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 2**32), st.booleans())
def test_every_reason_is_true_whatever_added_to_the_score(by_trees, catalog, state, limit, share, seed, as_it_is):
    rng = np.random.default_rng(seed)
    rows, index_of_row = collaborative_rows(catalog, RESOURCES)
    scores = rng.integers(0, 5, (1, len(RESOURCES))).astype(np.float32)
    request = RankingRequest(
        tenant="t",
        learner="l",
        state=state,
        models_id="",
        as_of_s=NOW_S,
        day="2023-11-14",
        wanted=EVERYTHING,
        limit=limit,
        rules=rules_over(catalog, rng),
        models=ModelScores(scores, rows, index_of_row) if by_trees else None,
        need_share=share,
    )
    ranker = ranker_of(rng) if by_trees else learned.NO_RANKER
    prepared = prepare(catalog, PARAMETERS, None, ranker, recall_model_of(rng))
    with pytest.MonkeyPatch.context() as patched:
        if not as_it_is:
            patched.setattr(pipeline, "added_by_sources", contributions(rng))
        ranked = pipeline.rank(prepared, request, DEFAULT_WEIGHTS, lambda: 0.0)
    assert ReasonCount(prepared).add(request, ranked) == []
