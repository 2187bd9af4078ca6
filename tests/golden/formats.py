"""What is stored, as files that an earlier program wrote: `write_fixtures` makes them, `format_values` reads them.

The files are in `tests/golden/stored/`. A later program must read them and come to the same numbers.
"""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import asdict, replace
from datetime import UTC, datetime

import numpy as np
import orjson

from services.catalog.tagging.served import TaggerFolders, write_traffic
from services.catalog.tagging.store import load_tagger, save_tagger
from services.recommender.adapters.files.epoch_file import EpochFile, EpochFileWriter
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.ports.models import BundleDraft, CollaborativeChoice, TrainingWindow
from services.recommender.application.state.epochs import digest_epoch
from services.recommender.application.state.snapshots import restore_epoch, snapshot_epoch
from services.recommender.bootstrap.stores import bundle_store
from services.recommender.domain.learner.journal import decode_journal, encode_journal
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID, TracingParameters
from services.recommender.domain.learner.state import decode_state, encode_state, unpack_state
from services.recommender.domain.learner.success_features import SHARED_FEATURES
from services.recommender.domain.learner.success_model import SuccessModel
from tests.adapters.memory_states import MemoryDeadLetters, MemoryStates
from tests.golden.events import ITEM, Draws, Log, fold
from tests.golden.folding import every_kind, learner_numbers, pseudonym
from tests.golden.values import FOLDER
from tests.learners import success_chance

STORED = FOLDER / "stored"
BUNDLES, SNAPSHOT, TAGGERS = STORED / "bundles", STORED / "epoch.snapshot", STORED / "taggers"
# `SNAPSHOT` is of a release that did not keep what events said; this is what is written now.
SNAPSHOT_NOW = STORED / "epoch-with-contents.snapshot"
STATE, JOURNAL = STORED / "learner.state", STORED / "learner.journal"
LOG_IDENTITY = "00000000-0000-0000-0000-000000000001/4"
COURSES, PROBLEMS, PER_SKILL = 2, 30, 6
TRAINED_AT = datetime(2024, 3, 1, tzinfo=UTC)


async def write_fixtures():
    """Write every file again, with the formats of this program. Training takes two minutes."""
    shutil.rmtree(STORED, ignore_errors=True)
    STORED.mkdir()
    await _write_bundle()
    _write_tagger()
    states = await _half_folded()
    await _write_snapshot(states, SNAPSHOT_NOW)
    # The first learner's, who has more events than a journal holds.
    kept = states.learners[1][f"riverbend/{pseudonym('learner-0')}".encode()]
    STATE.write_bytes(encode_state(kept.state))
    JOURNAL.write_bytes(encode_journal(kept.journal))


async def format_values(scratch):
    """What the files say, read by this program; `scratch` is an empty folder."""
    return {
        "bundle": _bundle_values(),
        "snapshot": await _snapshot_values(),
        "tagger": _tagger_values(),
        "blobs": _blob_values(),
        "rewritten": await _rewritten(scratch),
    }


def bundle_id():
    """The id of the bundle that is stored."""
    return bundle_store(str(BUNDLES)).latest_id()


def problem(course, number):
    """The id of a practice resource of a course."""
    return f"c{course}-p{number:02}"


def skill_of(course, number):
    """The skill that it is about."""
    return f"c{course}-s{number // PER_SKILL}"


def training_log():
    """Learners who go through the problems of two courses, each from a place of their own."""
    log, draws = Log(4), Draws(7)
    for tenant, learners, worked_on in (("riverbend", 80, 22), ("lakeside", 30, 12), ("hilltop", 3, 5)):
        for number in range(learners):
            course, able = number % COURSES, (draws.below(100) - 50) / 100
            place = draws.below(PROBLEMS - worked_on)
            for step in range(worked_on):
                at = min(place + step + (draws.below(3) if draws.chance(0.3) else 0), PROBLEMS - 1)
                # Later problems are harder, and practice helps.
                right = draws.chance(min(0.95, max(0.05, 0.6 + able - 0.01 * at + 0.02 * step)))
                log.answer(
                    tenant,
                    pseudonym(f"{tenant}-{number}"),
                    float(right),
                    item=problem(course, at),
                    resource=problem(course, at),
                    skills=(skill_of(course, at),),
                    grain=ITEM,
                    minutes=1_440 * number + 5 * step,
                )
    return log


async def _write_bundle():
    # Only needed to write the files, and slow to import.
    from services.recommender.bootstrap.training import trainer
    from tests.component.test_train import MemoryLog

    made = trainer(bundles=str(BUNDLES), factors=6)
    knn = CollaborativeChoice("item_knn", {"half_life": 20.0, "shrinkage": 10.0}, {"item_knn": 0.2}, {"als": "x"}, 1)

    def fit_tracing(table, *, advance):
        fitted = made.fit_tracing(table, advance=advance)
        # There is too little to learn a head from, and its format is to be stored all the same.
        return fitted if fitted.success is not None or len(table) < 100 else replace(fitted, success=_head(table))

    trained = await replace(
        made,
        log=MemoryLog(_logged(training_log())),
        fit_tracing=fit_tracing,
        choose_collaborative=lambda table, *, advance: knn if len(table.learners) == 30 else None,
        clock=lambda: TRAINED_AT,
    ).train(tune=True)
    models = trained.draft.tenants
    assert models["riverbend"].ranker is not None
    assert models["riverbend"].success is not None
    assert [models[name].collaborative.kind for name in ("riverbend", "lakeside")] == ["als", "item_item"]
    assert models["hilltop"].collaborative is None


def _head(table):
    width, draws = len(SHARED_FEATURES), Draws(11)
    numbers = np.array([draws.below(2_001) / 1_000 - 1 for _ in range(width * width)]).reshape(width, width)
    products = np.triu(0.02 * numbers)
    products[0, SHARED_FEATURES.index("logit")] = 1.0
    skills = tuple(table.skills[:3])
    return SuccessModel(
        products, np.vstack([np.full(width, -2.0), np.full(width, 2.0)]), skills, 0.1 * numbers[: len(skills)]
    )


def _logged(log):
    from services.recommender.application.training.collect import LoggedEvent
    from services.recommender.wire.events import decode_event

    entries = []
    for partition, key, value, headers in log.records:
        tenant, event = decode_event(key, value, headers, partition, log.partitions)
        entries.append(LoggedEvent(tenant, key.decode().partition("/")[2], event))
    return entries


def _bundle_values():
    bundle = bundle_store(str(BUNDLES)).load(bundle_id())
    histories = [[], ["c0-p03"], ["c1-p10", "c1-p11", "unknown", "c0-p29"]]
    states = [decode_state(STATE.read_bytes()), None]
    values = {
        "id": bundle.bundle_id,
        "created_at": bundle.created_at.isoformat(),
        "parameters_id": bundle.parameters.parameters_id,
        "tenants": {},
    }
    for tenant, parameters in sorted(bundle.parameters.tenants.items()):
        found = values["tenants"][tenant] = {
            "settings": parameters.settings.stored(),
            "items": {item: _numbers(one) for item, one in sorted(parameters.items.items())},
            "skills": {skill: _numbers(one) for skill, one in sorted(parameters.skills.items())},
        }
        model = bundle.collaborative.get(tenant)
        if model is not None:
            found["resources"] = list(model.resources)
            found["scores"] = [_floats(model.scores(history)) for history in histories]
        head = bundle.success.get(tenant)
        if head is not None:
            found["head_skills"] = list(head.skills)
            found["chances"] = [
                success_chance(head, state, item, skills, parameters, at_s)
                for state in states
                for item, skills in (("c0-p00", ("c0-s0",)), ("c1-p29", ("c1-s4", "c0-s1")), ("new", ("new",)))
                for at_s in (0.0, 1.71e9)
            ]
        ranker = bundle.rankers.get(tenant)
        if ranker is not None:
            columns = _columns(len(ranker.ranker.features))
            found["ranker"] = {
                "models": list(ranker.ranker.models),
                "share": ranker.ranker.blend_weight,
                "base_weights": list(ranker.ranker.base_weights),
                "features": list(ranker.ranker.features),
                "trees": _floats(ranker.ranker.score(columns)),
                "half_of_them": _floats(replace(ranker.ranker, blend_weight=0.5).score(columns)),
                "ensemble": [_floats(ranker.ensemble.scores(history)) for history in histories],
            }
    return values


def _columns(width):
    draws = Draws(13)
    return np.array([draws.below(1_000) / 250 - 1 for _ in range(24 * width)], np.float32).reshape(24, width)


async def _snapshot_values():
    source, states = EpochFile(SNAPSHOT), MemoryStates()
    number, found = await restore_epoch(states, _SameLog(), bundle_store(str(BUNDLES)), source, None)
    values = {
        "epoch": number,
        "digest": found.digest,
        "learners": found.learners,
        "applied": found.applied,
        "says": [source.contents.digest, source.contents.learners, source.contents.applied],
        "parameters_id": source.header.meta.parameters_id,
        "log": source.header.meta.log_identity,
        "progress": {str(p): one.position for p, one in sorted(source.header.progress.items())},
        "numbers": {one.key.decode(): learner_numbers(one.state) for one in source.learners() if one.state},
    }
    # Folding goes on from what was restored, journals and waiting corrections too. `SNAPSHOT` has skills whose latest
    # time a response of unknown time erased, so folding on from it differs from folding everything.
    states = MemoryStates()
    await restore_epoch(states, _SameLog(), bundle_store(str(BUNDLES)), EpochFile(SNAPSHOT_NOW), None)
    await fold(every_kind(), states, 1, MemoryDeadLetters(), TracingParameters())
    values["digest_after_folding_on"] = (await digest_epoch(states, 1)).digest
    return values


class _SameLog:
    async def identity(self):
        return LOG_IDENTITY

    async def end_offsets(self):
        return dict.fromkeys(range(4), 1_000)

    async def beginnings(self):
        return dict.fromkeys(range(4), 0)

    async def fingerprints(self, _offsets):
        return {}


async def _half_folded():
    """The first half of the log of every kind of event."""
    states, log = MemoryStates(), every_kind()
    log.records = log.records[: len(log.records) // 2]
    await states.create(EpochMeta(1, EpochStatus.LIVE, PRIOR_PARAMETERS_ID, "", LOG_IDENTITY, {}))
    await fold(log, states, 1, MemoryDeadLetters(), TracingParameters())
    # The stored file is of a release without marks; a snapshot without any is still written as it was then.
    states.positions[1] = {partition: replace(one, marks=()) for partition, one in states.positions[1].items()}
    return states


async def _write_snapshot(states, path):
    with EpochFileWriter(path) as sink:
        await snapshot_epoch(states, 1, sink)


def _write_tagger():
    # Only needed to write the files, and slow to import.
    from services.catalog.tagging.tagger import fit_tagger
    from tests.unit.test_tagging import corpus

    tagger, _ = fit_tagger(corpus(12))
    save_tagger(tagger, TAGGERS / "riverbend")
    write_traffic(TAGGERS / "riverbend" / "traffic.csv", {"r1": 12, "größe": 3})


def _tagger_values():
    folders = TaggerFolders(TAGGERS)
    folders.refresh()
    tagger = folders.of("riverbend")
    texts = ["the denominator of a fraction", "throw a coin or a dice", "an angle and a decimal point", "", "größe"]
    return {
        "name": tagger.name,
        "traffic": dict(folders.traffic("riverbend")),
        "suggested": [
            [[one.skill, one.confidence, one.examples] for one in found] for found in tagger.suggest(texts, 3)
        ],
    }


def _blob_values():
    state, journal = STATE.read_bytes(), JOURNAL.read_bytes()
    return {
        "state": learner_numbers(state),
        "state_again": encode_state(unpack_state(state)) == state,
        "journal_again": encode_journal(decode_journal(journal)) == journal,
    }


async def _rewritten(scratch):
    """Whether what this program writes is, byte for byte, what is stored."""
    await _write_snapshot(await _half_folded(), scratch / "epoch.snapshot")
    save_tagger(load_tagger(TAGGERS / "riverbend"), scratch / "tagger")
    store, copies = bundle_store(str(BUNDLES)), bundle_store(str(scratch / "bundles"))
    window = TrainingWindow(LOG_IDENTITY, {0: 0}, {0: 1}, 1, 0, {})
    copy_id = copies.write(BundleDraft(TRAINED_AT, window, store.tenant_models(bundle_id()), {}))
    return {
        "snapshot": (scratch / "epoch.snapshot").read_bytes() == SNAPSHOT_NOW.read_bytes(),
        "tagger": _same_files(TAGGERS / "riverbend", scratch / "tagger", leave_out={"traffic.csv"}),
        "bundle": _same_files(BUNDLES / bundle_id(), scratch / "bundles" / copy_id, leave_out={"manifest.json"}),
    }


def _same_files(one, other, leave_out):
    names = sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file())
    return {
        name: (other / name).is_file() and _content(one / name) == _content(other / name)
        for name in names
        if name not in leave_out
    }


def _content(file):
    """The bytes of a file; of an archive those of its members: headers differ between 3.11.2 and 3.11.7."""
    if file.suffix == ".npz":
        with zipfile.ZipFile(file) as archive:
            return [(name, archive.read(name)) for name in archive.namelist()]
    if file.name == "manifest.json":
        manifest = orjson.loads(file.read_bytes())
        # Loading checks these; for an archive they are the digests of its headers too.
        manifest["sha256"] = {name: digest for name, digest in manifest["sha256"].items() if not name.endswith(".npz")}
        return manifest
    return file.read_bytes()


def _numbers(one):
    return {name: value for name, value in asdict(one).items() if isinstance(value, int | float)}


def _floats(array):
    return np.asarray(array, np.float64).tolist()
