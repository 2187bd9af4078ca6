"""What folding a fixed log of every kind of event leaves behind."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

from cairn.v1 import events_pb2
from services.common.kafka.envelope import record_key
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.state.epochs import digest_epoch
from services.recommender.domain.learner.parameters import (
    FilterSettings,
    ItemDifficulty,
    SkillDifficulty,
    TenantParameters,
    TracingParameters,
)
from services.recommender.domain.learner.state import decode_state
from tests.adapters.memory_states import MemoryDeadLetters, MemoryStates
from tests.golden.events import ACTIVITY, COMPLETED, DISMISSED, ITEM, OPENED, Draws, Log, fold

PARTITIONS = 4
LEARNERS = [("riverbend", f"learner-{number}") for number in range(8)] + [
    ("lakeside", f"learner-{number}") for number in range(4)
]
SKILLS = ("add", "subtract", "multiply", "divide", "fractions", "größe/ß")
RESOURCES = tuple(f"resource-{number}" for number in range(9))
# As a training would leave them: `riverbend` has difficulties of its own, `lakeside` has none.
FITTED = TracingParameters(
    "fitted-golden",
    {
        "riverbend": TenantParameters(
            items={f"item-{number}": ItemDifficulty(-1.5 + 0.25 * number, 0.3) for number in range(12)},
            skills={skill: SkillDifficulty(-0.4 + 0.3 * number, 0.2, 0.1) for number, skill in enumerate(SKILLS)},
        )
    },
)


REMEMBERED = replace(
    FITTED,
    parameters_id="recent-golden",
    tenants={"riverbend": replace(FITTED.tenants["riverbend"], recent_items=True)},
)
# The same, of a tenant whose learners learn.
LEARNING = TracingParameters(
    "learning-golden",
    {
        "riverbend": replace(
            FITTED.tenants["riverbend"],
            settings=FilterSettings(base=0.2, learning=0.11, retention=0.93, moderation=1.0),
        )
    },
)


def pseudonym(learner):
    """26 base32 characters, always the same for a name."""
    return base64.b32encode(hashlib.sha256(learner.encode()).digest()).decode()[:26]


def every_kind():
    """Several hundred events of every kind, of a dozen learners of two tenants."""
    log, draws = Log(PARTITIONS), Draws(20_240_108)
    answers = {learner: [] for learner in LEARNERS}
    for number in range(600):
        # The first learner has more events than a journal holds.
        tenant, name = one = LEARNERS[0] if draws.chance(0.25) else draws.of(LEARNERS)
        learner, minutes = pseudonym(name), None if draws.chance(0.1) else 30 * number
        kind = draws.below(20)
        if kind < 10:
            skills = tuple(dict.fromkeys(draws.of(SKILLS) for _ in range(draws.below(4))))
            response = draws.of((0.0, 1.0, 1.0, 0.25, 0.625))
            answers[one].append(
                log.answer(
                    tenant,
                    learner,
                    response,
                    skills=skills,
                    item=f"item-{draws.below(14)}",
                    activity=draws.of(("", "quiz-1", "quiz-2")),
                    resource=draws.of(("", *RESOURCES)),
                    minutes=minutes,
                    attempt=1 + draws.below(3),
                )
            )
        elif kind < 12:
            # A score on an activity, without an item.
            answers[one].append(
                log.answer(
                    tenant,
                    learner,
                    draws.of((0.5, 0.875, 1.0)),
                    skills=(draws.of(SKILLS),),
                    activity=draws.of(("quiz-1", "quiz-3", "quiz-4")),
                    grain=ACTIVITY,
                    minutes=minutes,
                )
            )
        elif kind < 15:
            interaction = draws.of((OPENED, COMPLETED, DISMISSED))
            log.interact(tenant, learner, interaction, draws.of(RESOURCES), minutes=minutes)
        elif kind == 15:
            log.prefer(
                tenant,
                learner,
                goals=draws.of((None, (), (draws.of(SKILLS),), SKILLS[:3])),
                interests=draws.of((None, (), ("space", "dogs"))),
                kinds=draws.of((None, (3, 1), (2,))),
                pace=draws.below(4),
            )
        else:
            _change(log, draws, one, answers[one], kind, number)
        if number % 40 == 0:
            _undecodable(log, number // 40)
    # A correction of the very first answer, which the journal has folded away by now.
    log.void(LEARNERS[0][0], pseudonym(LEARNERS[0][1]), answers[LEARNERS[0]][0])
    # The last learner ends up forgotten.
    log.erase(LEARNERS[-1][0], pseudonym(LEARNERS[-1][1]))
    return log


def _change(log, draws, one, answers, kind, number):
    """A correction, a record that comes twice, or an erasure."""
    tenant, learner = one[0], pseudonym(one[1])
    if kind == 16 and answers:
        log.void(tenant, learner, draws.of(answers))
    elif kind == 17 and answers:
        log.regrade(tenant, learner, draws.of(answers), draws.of((0.0, 1.0, 0.375)))
    elif kind == 18:
        log.repeat(draws.below(len(log.records)))
    elif draws.chance(0.3) and one != LEARNERS[0]:
        log.erase(tenant, learner)
        # One answer from before is corrected later: that must do nothing.
        answers[:] = answers[-1:]
    else:
        # A correction of an answer that comes later.
        log.regrade(tenant, learner, f"late-{number}", 1.0)
        body = events_pb2.AssessmentEvent(item="item-late", skills=["add"], response=0.0, grain=ITEM)
        log.write(tenant, learner, 30 * number, event_id=f"late-{number}", assessment=body)


async def fold_values():
    """Digests, positions, dead letters, and each learner's numbers, by kind of parameters."""
    values = {}
    kinds = {"priors": TracingParameters(), "fitted": FITTED, "recent": REMEMBERED, "learning": LEARNING}
    for name, parameters in kinds.items():
        states, letters, log = MemoryStates(), MemoryDeadLetters(), every_kind()
        await states.create(EpochMeta(1, EpochStatus.LIVE, parameters.parameters_id, "", "golden/4", {}))
        reports = await fold(log, states, 1, letters, parameters)
        digest = await digest_epoch(states, 1)
        values[name] = {
            "records": len(log.records),
            "digest": digest.digest,
            "learners_held": digest.learners,
            "applied": digest.applied,
            "duplicates": sum(report.duplicates for report in reports),
            "progress": {
                str(partition): [each.position, each.applied, each.duplicates, each.dead_lettered, each.erased]
                for partition, each in sorted((await states.progress(1)).items())
            },
            "dead_letters": [[each.partition, each.offset, each.code] for each in letters.letters],
            "learners": {each.key.decode(): _learner(each) async for each in states.contents(1)},
        }
    return values


async def digest_of(batch):
    """The digest of the same log when it is folded `batch` records at a time."""
    states = MemoryStates()
    await states.create(EpochMeta(1, EpochStatus.LIVE, FITTED.parameters_id, "", "golden/4", {}))
    await fold(every_kind(), states, 1, MemoryDeadLetters(), FITTED, batch=batch)
    return (await digest_epoch(states, 1)).digest


def learner_numbers(blob):
    """Everything that a stored state says."""
    state = decode_state(blob)
    skills = {
        name: {field: record[field].item() for field in record.dtype.names}
        for name, record in zip(state.skill_names, state.skill_records, strict=True)
    }
    wants = state.preferences
    recent = {"recent_items": state.recent_items.tolist()} if len(state.recent_items) else {}
    return recent | {
        "mean": state.mean,
        "variance": state.variance,
        "responses": state.responses,
        "applied": state.applied,
        "last_at_s": state.last_at_s,
        "skills": skills,
        "skills_in_order": list(state.skill_names),
        "resources": [[each.resource, each.kind.name, each.at_s] for each in state.resources],
        "dismissals": list(state.dismissals),
        "preferences": [list(wants.goals), list(wants.interests), list(wants.formats), wants.pace.name],
    }


def _learner(kept):
    parts = {"state": kept.state, "journal": kept.journal, "checkpoint": kept.checkpoint, "seen": kept.seen}
    values = {f"{name}_sha256": hashlib.sha256(blob).hexdigest() for name, blob in parts.items()}
    return values | {"offset": kept.offset, "numbers": learner_numbers(kept.state) if kept.state else None}


def _undecodable(log, number):
    """A record that cannot be applied, each time for another reason."""
    tenant, learner = "riverbend", pseudonym("learner-1")
    key = record_key(tenant, learner)
    ways = (
        lambda: log.write_raw(key, b"\xff\xff"),
        lambda: log.write_raw(key, b""),
        lambda: log.write_raw(None, b"x", partition=0),
        lambda: log.write_raw(b"no-slash", b"x"),
        lambda: log.write_raw(key, b"x", content_type="text/plain"),
        lambda: log.write_raw(key, b"{}", content_type="application/json"),
        lambda: log.write_raw(record_key(tenant, pseudonym("other")), log.records[0][2]),
        lambda: log.write_raw(key, b"x", partition=(log.records[0][0] + 1) % 4),
        lambda: log.answer(tenant, learner, 1.5, item="i", skills=("add",)),
        lambda: log.answer(tenant, learner, 1.0, skills=("add",)),
        lambda: log.answer(tenant, learner, 1.0, item="x" * 300),
        lambda: log.interact(tenant, learner, 9, "resource-1"),
        lambda: log.prefer(tenant, learner, goals=("",)),
        lambda: log.write(tenant, learner, None, correction=events_pb2.CorrectionEvent(target_source="golden")),
        lambda: log.write(tenant, learner, None),
    )
    ways[number % len(ways)]()
