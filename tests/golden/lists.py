"""Lists, plans and previews for fixed learners over a fixed catalog, asked for over gRPC."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import grpc

from cairn.v1 import recommender_pb2, recommender_pb2_grpc
from services.common.resource_kinds import ResourceKind
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.bootstrap.stores import bundle_store
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID, TracingParameters
from services.recommender.domain.ranking.catalog import CatalogResource, CatalogSkill
from services.recommender.domain.ranking.rules import Rule, RuleAction
from services.recommender.domain.ranking.weights import RankingPolicy
from tests.adapters.memory_states import MemoryDeadLetters
from tests.golden.events import COMPLETED, DISMISSED, OPENED, Draws, Log, fold
from tests.golden.formats import BUNDLES, COURSES, PER_SKILL, PROBLEMS, bundle_id, problem, skill_of
from tests.golden.tenants import api_key, metadata, write_tenants
from tests.golden.values import plain
from tests.subscribing import LOG, NEVER_S, FollowOptions, SubscribedServer

TENANT, FOREIGN = "riverbend", "lakeside"
LIMIT = 6
DEADLINE_S = 20
SKILLS_PER_COURSE = PROBLEMS // PER_SKILL
RECENT = 55 * 1_440  # In minutes after the start: less than two days before answers are made.
# Nothing changes by itself while a snapshot is read.
STILL = FollowOptions(compare_every_s=NEVER_S, list_every_s=NEVER_S, spread_s=NEVER_S, tick_s=0.01)

# How lists are made: with or without the stored bundle, by which policy, and for which requests.
WAYS = {
    "priors, no bundle": (False, RankingPolicy(), ("plain", "class with rules")),
    "default": (True, RankingPolicy(), None),
    "need does not count": (True, RankingPolicy(need_share=0.0), ("plain", "class with rules")),
}
REQUESTS = {
    "plain": {},
    "class with rules": {"class_id": "4b"},
    "grade with a rule": {"filter": {"grades": ["5"]}},
    "filtered": {
        "filter": {"kinds": [1, 2, 3], "languages": ["en"], "max_minutes": 20, "exclude_resource_ids": ["c0-s1-lesson"]}
    },
    "one skill": {"filter": {"skills": ["c0-s2"]}},
    "three months later": {"as_of": {"seconds": int(datetime(2024, 6, 1, tzinfo=UTC).timestamp())}},
}
RULES = (
    Rule("pin", RuleAction.PIN, ("c1-s4-game", "c0-s3-video"), classes=("4b",)),
    Rule("block", RuleAction.BLOCK, providers=("acme",), classes=("4b",)),
    Rule("boost", RuleAction.BOOST, providers=("kids",), skills=("c0-s1", "c1-s1"), factor=1.5),
    Rule("damp", RuleAction.BOOST, ("c0-s0-lesson",), factor=0.4, grades=("5",)),
    Rule("ended", RuleAction.PIN, ("c1-s0-lesson",), expires_at_s=1_700_000_000.0),
)
PREVIEWS = {
    "pin": {"rule": {"id": "new", "action": 1, "resource_ids": ["c1-p05", "c0-s2-game"], "author": "t"}},
    "block": {"rule": {"id": "new", "action": 2, "providers": ["kids"], "author": "t"}},
    "boost": {
        "rule": {"id": "new", "action": 3, "skills": ["c0-s4"], "providers": ["acme"], "factor": 4.0, "author": "t"}
    },
    "replaced": {"rule": {"id": "pin", "action": 1, "resource_ids": ["c0-s0-lesson"], "author": "t"}, "class_id": "4b"},
    "removed": {"rule": {"id": "block"}, "removed": True, "class_id": "4b"},
}


def catalog():
    """Two courses: skills that build on one another, problems, and for each skill one resource of each other kind."""
    skills, resources = [], []
    for course in range(COURSES):
        for number in range(SKILLS_PER_COURSE):
            name = f"c{course}-s{number}"
            before = (f"c{course}-s{number - 1}",) if number else ()
            importance = 1.0 if number % 2 else 0.7
            skills.append(CatalogSkill(name, f"Skill {number} of course {course}", before, importance))
            for kind in (
                ResourceKind.LESSON,
                ResourceKind.VIDEO,
                ResourceKind.GAME,
                ResourceKind.ASSESSMENT,
                ResourceKind.ACTIVITY,
            ):
                side = "assesses" if kind in {ResourceKind.ASSESSMENT, ResourceKind.GAME} else "teaches"
                # An activity is about two skills.
                about = (
                    ((name, 1.0),)
                    if kind is not ResourceKind.ACTIVITY or not before
                    else ((name, 0.6), (before[0], 0.4))
                )
                resources.append(
                    CatalogResource(
                        f"{name}-{kind.name.lower()}",
                        title=f"{kind.name.title()} {name}",
                        url=f"https://example.org/{name}",
                        kind=kind,
                        grades=("4", "5") if number < 3 else ("6",),
                        language="en" if kind is not ResourceKind.VIDEO else "de" if number == 2 else "",
                        minutes=None if kind is ResourceKind.ACTIVITY else 5 + 5 * number,
                        topics=("space",) if number % 2 else ("dogs",),
                        provider="kids" if kind is ResourceKind.GAME else "acme",
                        active=(kind, number) != (ResourceKind.GAME, 0),
                        **{side: about},
                    )
                )
        resources += [
            CatalogResource(
                problem(course, number),
                title=f"Problem {number}",
                kind=ResourceKind.PRACTICE,
                minutes=10,
                assesses=((skill_of(course, number), 1.0),),
                topics=("space",) if number % 7 == 0 else (),
            )
            for number in range(PROBLEMS)
        ]
    # About nothing.
    return [*resources, CatalogResource("bare", title="Bare")], skills


def learners(pseudonym):
    """The log of the learners that lists are asked for; `new` has no events."""
    log, draws = Log(LOG.partitions), Draws(23)

    def answers(learner, course, problems, share, minutes, tenant=TENANT):
        for step, number in enumerate(problems):
            log.answer(
                tenant,
                pseudonym(learner, tenant),
                float(draws.chance(share)),
                item=problem(course, number),
                resource=problem(course, number),
                skills=(skill_of(course, number),),
                minutes=minutes + 5 * step,
            )

    answers("begun", 0, range(3), 0.4, RECENT)
    answers("weak", 0, [*range(14), *range(8)], 0.2, RECENT - 2_880)
    # Has mastered the first course, long ago: its skills are due for review.
    answers("strong", 0, [*range(30), *range(30)], 1.0, 1_440)
    answers("walker", 1, range(2, 15), 0.7, RECENT)
    for number in range(15, 18):
        log.interact(
            TENANT, pseudonym("walker"), OPENED if number < 17 else COMPLETED, problem(1, number), minutes=RECENT + 80
        )
    for learner, pace in (("gentle", 1), ("brisk", 3)):
        answers(learner, 0, range(4, 16), 0.6, RECENT)
        log.prefer(TENANT, pseudonym(learner), goals=("c0-s4", "c1-s1"), interests=("space",), kinds=(2, 4), pace=pace)
    log.interact(TENANT, pseudonym("brisk"), DISMISSED, "c0-s2-lesson", minutes=RECENT)
    log.interact(TENANT, pseudonym("brisk"), DISMISSED, problem(0, 13), minutes=RECENT)
    # Answered with a part of the marks, and about what no catalog has.
    for response, skills in ((0.5, ("c1-s0", "c1-s1")), (0.25, ("c1-s2", "elsewhere")), (0.75, ("elsewhere",))):
        log.answer(TENANT, pseudonym("partly"), response, item="other", skills=skills)
    answers("forgotten", 0, range(10), 0.5, RECENT)
    log.erase(TENANT, pseudonym("forgotten"))
    answers("foreigner", 0, range(12), 0.5, RECENT, tenant=FOREIGN)
    return log


LEARNERS = ("new", "begun", "weak", "strong", "walker", "gentle", "brisk", "partly", "forgotten", "foreigner")


async def list_values(directory):
    """Everything asked for, by way: lists, rosters, plans, learners, subscriptions and previews."""
    values = {}
    for number, (way, (with_bundle, policy, requests)) in enumerate(WAYS.items()):
        folder = directory / str(number)
        folder.mkdir()
        async with _Serving(folder, with_bundle, policy) as (process, stub):
            values[way] = await _asked(process, stub, requests or REQUESTS)
    return values


class _Serving:
    """A server whose learners were folded with the parameters that it serves."""

    def __init__(self, folder, with_bundle, policy):
        write_tenants(folder / "tenants.yaml")
        self.world = SubscribedServer(folder, options=STILL)
        self.with_bundle = with_bundle
        self.world.policies = {TENANT: policy, FOREIGN: policy}

    async def __aenter__(self):
        world, parameters = self.world, TracingParameters()
        meta = EpochMeta(1, EpochStatus.BUILT, PRIOR_PARAMETERS_ID, "", str(LOG), {})
        if self.with_bundle:
            world.bundles = bundle_store(str(BUNDLES))
            parameters = world.bundles.load(bundle_id()).parameters
            meta = replace(meta, parameters_id=parameters.parameters_id, parameters_bundle=bundle_id())
        await world.states.create(meta)
        await fold(learners(world.pseudonym), world.states, 1, MemoryDeadLetters(), parameters)
        await world.states.make_current(1)
        resources, skills = catalog()
        for tenant in (TENANT, FOREIGN):
            world.catalog.put(tenant, resources, skills)
        world.catalog.replace_rules(TENANT, RULES)
        self._process = world.serving()
        process = await self._process.__aenter__()
        self._channel = grpc.aio.insecure_channel(process.address)
        return process, recommender_pb2_grpc.RecommendationServiceStub(self._channel)

    async def __aexit__(self, *error):
        await self._channel.close()
        await self._process.__aexit__(*error)


async def _asked(process, stub, requests):
    async def call(method, tenant=TENANT, **fields):
        request = getattr(recommender_pb2, f"{method}Request")(**fields)
        return await getattr(stub, method)(request, metadata=metadata(api_key(tenant)), timeout=DEADLINE_S)

    values = {"Recommend": {}, "GetLearner": {}, "RecommendBatch": {}, "PlanGroup": {}, "PreviewRule": {}}
    for learner in LEARNERS:
        for name in requests:
            reply = await call("Recommend", learner_id=learner, limit=LIMIT, **REQUESTS[name])
            values["Recommend"][f"{learner}: {name}"] = _list(reply)
        values["GetLearner"][learner] = plain(await call("GetLearner", learner_id=learner))
    values["Recommend"]["weak: long list"] = _list(await call("Recommend", learner_id="weak", limit=40))
    foreign = await call("Recommend", FOREIGN, learner_id="foreigner", limit=LIMIT)
    values["Recommend"]["foreigner: by their own tenant"] = _list(foreign)
    for name in ("plain", "class with rules"):
        reply = await call("RecommendBatch", learner_ids=LEARNERS, limit=3, **REQUESTS[name])
        values["RecommendBatch"][name] = {
            "provenance": plain(reply.provenance),
            "results": [_list(one) | {"gap": plain(one.gap) if one.HasField("gap") else None} for one in reply.results],
        }
    for name, fields in {
        "plain": {},
        "two short groups": {"groups_max": 2, "minutes_max": 25},
        "class with rules": {"class_id": "4b"},
        "lessons and games only": {"filter": {"kinds": [1, 4]}},
    }.items():
        values["PlanGroup"][name] = plain(await call("PlanGroup", learner_ids=LEARNERS, **fields))
    for name, fields in PREVIEWS.items():
        reply = await call("PreviewRule", learner_ids=["new", "weak", "walker"], limit=LIMIT, **fields)
        values["PreviewRule"][name] = plain(reply)
    async with process.reading(*LEARNERS, api_key=api_key(TENANT), limit=3, class_id="4b") as reader:
        updates, watched = await reader.snapshot()
        lists = {learner: _list(update) | {"cursor": update.cursor} for learner, update in updates.items()}
        values["Subscribe"] = {"learners": watched, "updates": lists}
    return values


def _list(reply):
    """A list without what only repeats the catalog: titles, addresses, kinds and minutes."""
    found = {
        "recommendations": [
            [
                one.resource_id,
                one.score,
                one.skill,
                recommender_pb2.Step.Name(one.step),
                [[recommender_pb2.ReasonKind.Name(why.kind), why.contribution] for why in one.reasons],
                one.success_probability,
                one.reassess_with,
                one.recommendation_id,
            ]
            for one in reply.recommendations
        ],
        "degraded": [recommender_pb2.Degradation.Name(one) for one in reply.degraded],
    }
    if "provenance" in reply.DESCRIPTOR.fields_by_name:
        found["provenance"] = plain(reply.provenance)
    elif reply.HasField("applied"):
        found["applied"] = plain(reply.applied)
    return found
