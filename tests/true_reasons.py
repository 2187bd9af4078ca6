"""Checks the reasons of every list that is made in the process of the tests, whoever makes it.

`pipeline.rank` makes all lists, so it is replaced, in every module that has it, by one that also checks what it made.
"""

from __future__ import annotations

import functools
import sys

PIPELINE = "services.recommender.domain.ranking.pipeline"

found: list[str] = []
"""What was not true since it was last emptied."""
_seen_modules = 0
_checked = None


def watch():
    """Check the lists that are made from here on, by modules that are loaded."""
    global _seen_modules, _checked  # noqa: PLW0603 - one process, one pipeline.
    if PIPELINE not in sys.modules or len(sys.modules) == _seen_modules:
        return
    if _checked is None:
        _checked = _checking(sys.modules[PIPELINE].rank)
    _seen_modules = len(sys.modules)
    for module in list(sys.modules.values()):
        if getattr(module, "rank", None) is _checked.__wrapped__:
            module.rank = _checked


def _checking(rank):
    from services.recommender.evaluation.reason_count import ReasonCount

    counts = {}

    @functools.wraps(rank)
    def checked(prepared, request, weights, timer):
        ranked = rank(prepared, request, weights, timer)
        if id(prepared) not in counts:
            # One prepared catalog is enough to keep: tests make one after the other.
            counts.clear()
            counts[id(prepared)] = prepared, ReasonCount(prepared)
        found.extend(counts[id(prepared)][1].add(request, ranked))
        return ranked

    return checked


def problems_of_reply(reply, learner, catalog):
    """What is not true in the list of a server in another process.

    Args:
        reply: the RecommendResponse.
        learner: the GetLearnerResponse of the same state.
        catalog: the CatalogFacts; see `catalog_of`.
    """
    from cairn.v1 import recommender_pb2
    from services.recommender.domain.learner.preferences import Pace, Preferences
    from services.recommender.evaluation.reason_checker import problems_of
    from services.recommender.evaluation.reason_facts import Entry, Facts, GivenReason, KnownSkill, LearnerFacts

    assert learner.applied == reply.provenance.applied, "the learner changed in between"
    known = {
        each.skill: KnownSkill(
            each.responses,
            each.successes,
            each.probability,
            each.low,
            each.high,
            each.mastered,
            each.last_response_at.seconds,
            None,
        )
        for each in learner.skills
    }
    stated = learner.preferences
    preferences = Preferences(
        tuple(stated.goals.skills), tuple(stated.interests.topics), tuple(stated.formats.kinds), Pace(stated.pace)
    )
    unknown = KnownSkill(0, 0.0, 0.5, 0.0, 1.0, mastered=False, last_at_s=0, recent_failures=None)
    facts = Facts(
        catalog,
        LearnerFacts(lambda skill: known.get(skill, unknown), learner.responses, None, preferences),
        reply.provenance.as_of.seconds,
    )
    return problems_of(
        facts,
        [
            Entry(
                each.resource_id,
                each.skill,
                recommender_pb2.Step.Name(each.step).removeprefix("STEP_"),
                each.success_probability,
                [
                    GivenReason(recommender_pb2.ReasonKind.Name(why.kind).removeprefix("REASON_KIND_"), why.text)
                    for why in each.reasons
                ],
            )
            for each in reply.recommendations
        ],
    )


def catalog_of(skills, resources):
    """The facts of a catalog, from records as files have them: dictionaries."""
    from services.recommender.evaluation.reason_facts import CatalogFacts, ResourceFacts, SkillFacts

    def weights(record):
        tagged = [*record.get("teaches", ()), *record.get("assesses", ())]
        return {tag["skill"]: tag["weight"] for tag in tagged}

    of_resources = {
        record["id"]: ResourceFacts(
            record["kind"],
            weights(record),
            frozenset(tag["skill"] for tag in record.get("teaches", ())),
            frozenset(record.get("topics", ())),
        )
        for record in resources
    }
    of_skills = {
        record["id"]: SkillFacts(
            record["id"], record.get("statement", ""), record.get("code", ""), tuple(record.get("prerequisites", ()))
        )
        for record in skills
    }
    return CatalogFacts(of_resources.get, of_skills.get)
