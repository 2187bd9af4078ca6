"""The training use case, over a log and a store in memory."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.recommender.application.ports.models import (
    BundleDraft,
    BundleUnreadableError,
    CollaborativeChoice,
    ModelArrays,
    TenantModels,
)
from services.recommender.application.training.collect import READING, LogBatch, LoggedEvent, LogSpan, collect
from services.recommender.application.training.train import (
    FittedCollaborative,
    FittedTracing,
    NothingToTrainOnError,
    TenantWithoutEventsError,
    TooFewPositivesError,
    Trainer,
)
from services.recommender.domain.learner.batch import LearnerEvents
from services.recommender.domain.learner.events import AssessmentEvent, Grain
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.parameters import TenantParameters, TracingParameters
from services.recommender.domain.learner.record import NEW_LEARNER
from services.recommender.domain.learner.state import decode_state, encode_state
from services.recommender.domain.training.event_columns import first_copies

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def event(
    number: int, *, item: str = "i1", activity: str = "", grain: Grain = Grain.ITEM, resource: str = ""
) -> AssessmentEvent:
    return AssessmentEvent(
        fingerprint=number.to_bytes(8, "little"),
        response=1.0,
        at_s=0,
        item=item if grain is Grain.ITEM else "",
        activity=activity,
        skills=("s",),
        grain=grain,
        resource=resource,
    )


class MemoryLog:
    """Implements `TrainingLog` over a list."""

    def __init__(self, entries: Sequence[LoggedEvent | str], *, batch: int = 3) -> None:
        self._entries, self._batch = entries, batch

    async def span(self) -> LogSpan:
        return LogSpan("log/1", {0: 0}, {0: len(self._entries)})

    async def batches(self, span: LogSpan) -> AsyncIterator[LogBatch]:
        for start in range(0, len(self._entries), self._batch):
            part = self._entries[start : start + self._batch]
            yield LogBatch(
                [entry for entry in part if not isinstance(entry, str)],
                [entry for entry in part if isinstance(entry, str)],
                start + len(part),
            )


class MemoryBundles:
    """Implements `BundleWriter` over a dictionary."""

    def __init__(self) -> None:
        self.drafts: dict[str, BundleDraft] = {}

    def latest_id(self) -> str | None:
        return max(self.drafts, default=None)

    def tenant_models(self, bundle_id: str) -> dict[str, TenantModels]:
        return dict(self.drafts[bundle_id].tenants)

    def write(self, draft: BundleDraft) -> str:
        self.drafts[f"bundle-{len(self.drafts)}"] = draft
        return f"bundle-{len(self.drafts) - 1}"


def fit_tracing(table, *, advance):
    advance(1, 1)
    return FittedTracing(TenantParameters(), {"tracing_auc": 0.7}, {"rows": len(table)})


def fit_collaborative(positives, *, choice, advance):
    if len(positives) < 2:
        raise TooFewPositivesError(f"{len(positives)} positives")
    factors = np.zeros((len(positives.resources), 1), np.float32)
    kind = "als" if choice is None else choice.family
    return FittedCollaborative(ModelArrays(kind, {}, positives.resources, {"factors": factors}), {"als_factors": 1})


def choose_collaborative(table, *, advance):
    """Chooses no model for small tenants."""
    advance("choosing a model", 1, 1)
    if len(table) < 3:
        return None
    return CollaborativeChoice("item_knn", {"shrinkage": 10.0}, {"item_knn": 0.1}, {}, 1)


def fit_no_ranker(_table, *, advance):
    advance(1, 1)


def trainer(entries, bundles=None) -> Trainer:
    return Trainer(
        MemoryLog(entries),
        fit_tracing,
        fit_collaborative,
        choose_collaborative,
        bundles or MemoryBundles(),
        lambda: NOW,
        {},
        fit_no_ranker,
    )


async def test_every_tenant_of_the_log_is_fitted_on_its_own_events_only():
    entries = [
        LoggedEvent("t1", "l1", event(1, resource="r1")),
        LoggedEvent("t2", "l1", event(2, resource="r9")),
        LoggedEvent("t1", "l1", event(3, resource="r2")),
    ]
    draft = (await trainer(entries).train()).draft
    assert draft.created_at == NOW
    assert {tenant: models.counts["events"] for tenant, models in draft.tenants.items()} == {"t1": 2, "t2": 1}
    assert draft.tenants["t1"].collaborative.resources == ("r1", "r2")
    assert draft.tenants["t1"].hyperparameters == {"rows": 2, "als_factors": 1}


async def test_a_tenant_with_too_few_positives_has_no_collaborative_model_and_the_reason_is_reported():
    draft = (await trainer([LoggedEvent("t1", "l1", event(1, resource="r1"))]).train()).draft
    assert draft.tenants["t1"].collaborative is None
    assert draft.tenants["t1"].collaborative_absent == "1 positives"


async def test_the_chosen_model_is_kept_until_it_is_chosen_again():
    entries = [
        *(LoggedEvent("t1", f"l{number}", event(number, resource=f"r{number % 2}")) for number in range(4)),
        *(LoggedEvent("t2", f"l{number}", event(number, resource=f"r{number % 2}")) for number in range(2)),
    ]
    bundles = MemoryBundles()
    first = (await trainer(entries, bundles).train()).draft.tenants
    assert {tenant: models.choice for tenant, models in first.items()} == {"t1": None, "t2": None}
    stages = []
    tuned = (
        await trainer(entries, bundles).train(tune=True, progress=lambda stage, *_: stages.append(stage))
    ).draft.tenants
    assert tuned["t1"].choice.family == tuned["t1"].collaborative.kind == "item_knn"
    assert (tuned["t2"].choice, tuned["t2"].collaborative.kind) == (None, "als")
    assert "t1: choosing a model" in stages
    again = (await trainer(entries, bundles).train()).draft.tenants
    assert again["t1"].choice == tuned["t1"].choice
    assert again["t1"].collaborative.kind == "item_knn"


async def test_an_unreadable_newest_bundle_does_not_stop_a_training_of_all_tenants():
    class Damaged(MemoryBundles):
        def latest_id(self):
            return "damaged"

        def tenant_models(self, bundle_id):
            raise BundleUnreadableError(f"{bundle_id}: cannot be used")

    entries = [LoggedEvent("t1", f"l{number}", event(number, resource="r1")) for number in range(3)]
    assert (await trainer(entries, Damaged()).train()).draft.tenants["t1"].choice is None
    with pytest.raises(BundleUnreadableError):
        await trainer(entries, Damaged()).train(tenants=["t1"])


async def test_an_event_sent_twice_counts_once_however_far_apart_and_only_for_its_learner():
    entries = [LoggedEvent("t", "l1", event(1)), *(LoggedEvent("t", "l1", event(n)) for n in range(2, 5_000))]
    entries += [LoggedEvent("t", "l1", event(1)), LoggedEvent("t", "l2", event(1))]
    window, responses = await collect(MemoryLog(entries, batch=1_000))
    assert (window.records, window.duplicates) == (5_001, 1)
    assert len(responses["t"].evidence) == 5_000


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=40))
def test_the_first_copies_are_those_a_set_per_learner_would_let_through(events):
    seen: set[tuple[int, int]] = set()
    expected = [pair not in seen and not seen.add(pair) for pair in events]
    learner, fingerprint = np.array(events, np.int64).reshape(-1, 2).T
    assert first_copies(learner.astype(np.int32), fingerprint.astype(np.uint64)).tolist() == expected


async def test_of_copies_the_first_counts():
    first = event(1)._replace(response=0.0)
    _, responses = await collect(MemoryLog([LoggedEvent("t", "l", first), LoggedEvent("t", "l", event(1))]))
    assert responses["t"].evidence.response.tolist() == [0.0]


async def test_records_that_cannot_be_decoded_are_counted_by_reason():
    entries = ["not a message", LoggedEvent("t", "l", event(1)), "wrong partition", "not a message"]
    window, _ = await collect(MemoryLog(entries))
    assert window.records == 4
    assert window.skipped == {"not a message": 2, "wrong partition": 1}
    assert (window.begin_offsets, window.end_offsets, window.log_identity) == ({0: 0}, {0: 4}, "log/1")


async def test_a_score_on_an_activity_is_a_positive_but_not_evidence_alongside_its_items():
    entries = [
        LoggedEvent("t", "l", event(1, activity="quiz", resource="r1")),
        LoggedEvent("t", "l", event(2, activity="quiz", grain=Grain.ACTIVITY, resource="r2")),
        LoggedEvent("t", "l", event(3, activity="other", grain=Grain.ACTIVITY)),
    ]
    models = (await trainer(entries).train()).draft.tenants["t"]
    assert models.counts["events"] == 3
    assert models.counts["responses"] == 2
    assert models.counts["positives"] == 2


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 250))
def test_training_uses_the_same_evidence_as_folding(seed, count):
    rng = random.Random(seed)
    entries = [
        LoggedEvent(
            "t",
            rng.choice(["l1", "l2"]),
            event(
                rng.randrange(count * 4),
                activity=rng.choice(["", "a", "b", "c"] + [f"x{n}" for n in range(20)]),
                grain=rng.choice([Grain.ITEM, Grain.ACTIVITY, Grain.ACTIVITY]),
            ),
        )
        for _ in range(count)
    ]
    table = asyncio.run(collect(MemoryLog(entries)))[1]["t"].evidence
    for number, learner in enumerate(table.learners):
        own = [(offset, entry.event) for offset, entry in enumerate(entries) if entry.learner == learner]
        folded = LearnerFold(TracingParameters()).fold([LearnerEvents("t", NEW_LEARNER, own)])[0]
        assert (table.learner == number).sum() == _responses_in(folded)


async def test_naming_a_tenant_fits_it_and_carries_the_others_over():
    bundles = MemoryBundles()
    entries = [LoggedEvent("t1", "l", event(1)), LoggedEvent("t2", "l", event(2))]
    await trainer(entries, bundles).train()
    grown = [*entries, LoggedEvent("t1", "l", event(3)), LoggedEvent("t2", "l", event(4))]
    draft = (await trainer(grown, bundles).train(tenants=["t1"])).draft
    assert {tenant: models.counts["events"] for tenant, models in draft.tenants.items()} == {"t1": 2, "t2": 1}


async def test_a_tenant_without_events_is_reported_with_those_that_have_some():
    with pytest.raises(TenantWithoutEventsError, match="no event of the tenant t9; it has events of t1"):
        await trainer([LoggedEvent("t1", "l", event(1))]).train(tenants=["t9"])


async def test_an_empty_log_writes_no_bundle():
    bundles = MemoryBundles()
    with pytest.raises(NothingToTrainOnError, match="cairn ingest load"):
        await trainer([], bundles).train()
    assert bundles.drafts == {}


async def test_progress_reports_each_stage():
    stages = []
    await trainer([LoggedEvent("t", "l", event(1))]).train(progress=lambda *step: stages.append(step))
    assert stages == [(READING, 0, 1), (READING, 1, 1), ("t: learner model", 1, 1), ("t: learning to rank", 1, 1)]


def _responses_in(folded):
    return decode_state(encode_state(folded.stored.state)).responses
