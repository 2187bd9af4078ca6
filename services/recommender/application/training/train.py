"""Fitting models on the log: read it to its end, put each tenant's responses into columns, fit, write a bundle."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from services.recommender.application.ports.models import (
    BundleDraft,
    BundleUnreadableError,
    BundleWriter,
    CollaborativeChoice,
    ModelArrays,
    TenantModels,
    TrainingWindow,
)
from services.recommender.domain.learner.events import (
    VOIDED,
    AssessmentEvent,
    CorrectionEvent,
    ErasureEvent,
    Grain,
    InteractionEvent,
    InteractionKind,
    LearnerEvent,
)
from services.recommender.domain.learner.journal import FOLDED_AT_ONCE, JOURNAL_EVENTS
from services.recommender.domain.learner.parameters import TenantParameters
from services.recommender.domain.learner.success_model import SuccessModel
from services.recommender.domain.training.positives import Positives, positives_of
from services.recommender.domain.training.responses import ResponseTable, ResponseTableBuilder

_log = structlog.get_logger(__name__)

READING = "reading the log"
ERASED = "erased"

# In the column of grains: what is no response.
_INTERACTION = 2
_NOTHING = 3
_NO_ACTIVITY = -1

Progress = Callable[[str, int, int], None]
"""Told what is being done, and how many of how many steps of it are."""

Advance = Callable[[int, int], None]


class NothingToTrainOnError(ValueError):
    """The log holds no events."""


class TenantWithoutEventsError(ValueError):
    """A tenant was named that the log holds no event of."""


class TooFewPositivesError(ValueError):
    """There is too little to fit collaborative filtering on; the message says what there is and what is needed."""


class LoggedEvent(NamedTuple):
    """An event as it stands in the log."""

    tenant: str
    learner: str
    event: LearnerEvent


@dataclass(frozen=True, slots=True)
class LogSpan:
    """A bounded stretch of the log.

    Attributes:
        log_identity: which log, as `services.common.kafka.envelope.LogIdentity` text.
        begin_offsets: the first offset to read, by partition.
        end_offsets: one past the last offset to read, by partition.
    """

    log_identity: str
    begin_offsets: Mapping[int, int]
    end_offsets: Mapping[int, int]

    @property
    def offsets(self) -> int:
        """How many offsets it spans; as many records, where none was removed."""
        return sum(end - self.begin_offsets[partition] for partition, end in self.end_offsets.items())


class LogBatch(NamedTuple):
    """Some records of the log.

    Attributes:
        events: what could be decoded; each learner's in their order.
        skipped: why others could not be, one reason each.
        offsets: how many offsets of the span are behind the reader now.
    """

    events: Sequence[LoggedEvent]
    skipped: Sequence[str]
    offsets: int


class TrainingLog(Protocol):
    """The log, read for training. Every call may raise ConnectionError or LookupError (no such topic)."""

    async def span(self) -> LogSpan:
        """Everything that stands in the log now."""
        ...

    def batches(self, span: LogSpan) -> AsyncIterator[LogBatch]:
        """The records of a span, each once."""
        ...


@dataclass(frozen=True, slots=True)
class FittedTracing:
    """A fitted learner model.

    Attributes:
        parameters: for the filter.
        metrics: on learners held out of a fit like it; empty when there are too few learners.
        hyperparameters: how it was fitted.
        success: the success model; None where the filter alone predicts at least as well.
    """

    parameters: TenantParameters
    metrics: Mapping[str, float]
    hyperparameters: Mapping[str, float]
    success: SuccessModel | None = None


@dataclass(frozen=True, slots=True)
class FittedCollaborative:
    """A fitted collaborative model.

    Attributes:
        model: as a bundle keeps it.
        hyperparameters: how it was fitted.
    """

    model: ModelArrays
    hyperparameters: Mapping[str, float]


class FitTracing(Protocol):
    """Fits the learner model to a tenant's responses."""

    def __call__(self, table: ResponseTable, *, advance: Advance) -> FittedTracing:
        """The same responses give the same parameters."""
        ...


class FitCollaborative(Protocol):
    """Fits collaborative filtering to a tenant's positives."""

    def __call__(
        self, positives: Positives, *, choice: CollaborativeChoice | None, advance: Advance
    ) -> FittedCollaborative:
        """Fit the chosen family, or the default. The same positives give the same model.

        Raises:
            TooFewPositivesError: when a model would be noise.
        """
        ...


class ChooseCollaborative(Protocol):
    """Chooses the collaborative model that best predicts what a tenant's learners did next."""

    def __call__(self, table: ResponseTable, *, advance: Progress) -> CollaborativeChoice | None:
        """None where there is too little to tell models apart. The same responses give the same choice."""
        ...


class FitRanker(Protocol):
    """Learns a ranking from what a tenant's learners did."""

    def __call__(self, table: ResponseTable, *, advance: Advance) -> ModelArrays | None:
        """None where there is too little to learn from. The same responses give the same ranker."""
        ...


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training.

    Attributes:
        bundle_id: the bundle that was written.
        draft: what is in it.
    """

    bundle_id: str
    draft: BundleDraft


@dataclass(frozen=True)
class Trainer:
    """Fits models on everything in the log and writes them as a bundle.

    Attributes:
        log: where events come from.
        fit_tracing: fits the learner model.
        fit_collaborative: fits collaborative filtering.
        choose_collaborative: finds which sort of it, and with which settings.
        bundles: where the bundle goes.
        clock: tells the moment of writing.
        libraries: versions of the libraries that shape the numbers, by name.
        fit_ranker: learns a ranking; None: it is not asked for.
    """

    log: TrainingLog
    fit_tracing: FitTracing
    fit_collaborative: FitCollaborative
    choose_collaborative: ChooseCollaborative
    bundles: BundleWriter
    clock: Callable[[], datetime]
    libraries: Mapping[str, str]
    fit_ranker: FitRanker | None = None

    async def train(
        self, *, tenants: Collection[str] = (), tune: bool = False, progress: Progress = lambda *_: None
    ) -> Trained:
        """Fit and write.

        Args:
            tenants: fit only these; the others' models are carried over from the newest bundle. Empty: every tenant
                in the log.
            tune: choose the sort of collaborative model anew; else it is the one chosen for the newest bundle.
            progress: told what is being done.

        Raises:
            NothingToTrainOnError: when the log holds no event.
            TenantWithoutEventsError: when it holds none of a tenant that was named.
            BundleUnreadableError: when the newest bundle is to be carried over and cannot be read.
            BundleUnwritableError: when the bundle cannot be written.
        """
        window, responses = await collect(self.log, progress)
        if not responses:
            raise NothingToTrainOnError(
                "the log holds no events yet; load some first, for example with: cairn ingest load"
            )
        for tenant in tenants:
            if tenant not in responses:
                raise TenantWithoutEventsError(
                    f"the log holds no event of the tenant {tenant}; it has events of {', '.join(sorted(responses))}"
                )
        newest = self._newest(needed=bool(tenants))
        models = dict(newest) if tenants else {}
        for tenant in sorted(tenants or responses):
            if tune:
                choice = self._choose(tenant, responses[tenant], progress)
            else:
                choice = newest[tenant].choice if tenant in newest else None
            models[tenant] = self._fit(tenant, responses[tenant], choice, progress)
        draft = BundleDraft(created_at=self.clock(), window=window, tenants=models, libraries=self.libraries)
        return Trained(self.bundles.write(draft), draft)

    def _newest(self, *, needed: bool) -> Mapping[str, TenantModels]:
        """The newest bundle's models by tenant; none where it cannot be read and is not needed."""
        try:
            latest = self.bundles.latest_id()
            return {} if latest is None else self.bundles.tenant_models(latest)
        except BundleUnreadableError as error:
            if needed:
                raise
            _log.warning("what was chosen for the newest bundle is not known", reason=str(error))
            return {}

    def _choose(self, tenant: str, responses: TenantResponses, progress: Progress) -> CollaborativeChoice | None:
        return self.choose_collaborative(
            responses.distinct, advance=lambda step, done, total: progress(f"{tenant}: {step}", done, total)
        )

    def _fit(
        self, tenant: str, responses: TenantResponses, choice: CollaborativeChoice | None, progress: Progress
    ) -> TenantModels:
        tracing = self.fit_tracing(
            responses.evidence, advance=lambda done, total: progress(f"{tenant}: learner model", done, total)
        )
        positives = positives_of(responses.distinct)
        absent, collaborative = "", None
        try:
            collaborative = self.fit_collaborative(
                positives,
                choice=choice,
                advance=lambda done, total: progress(f"{tenant}: collaborative filtering", done, total),
            )
        except TooFewPositivesError as error:
            absent = str(error)
        ranker = None
        if self.fit_ranker is not None:
            ranker = self.fit_ranker(
                responses.distinct, advance=lambda done, total: progress(f"{tenant}: learning to rank", done, total)
            )
        return TenantModels(
            parameters=tracing.parameters,
            success=tracing.success,
            ranker=ranker,
            choice=choice,
            collaborative=collaborative.model if collaborative else None,
            collaborative_absent=absent,
            counts={
                "learners": len(responses.distinct.learners),
                "events": len(responses.distinct),
                "responses": len(responses.evidence),
                "items": len(responses.evidence.items),
                "skills": len(responses.evidence.skills),
                "resources": len(positives.resources),
                "positives": len(positives),
            },
            metrics=tracing.metrics,
            hyperparameters={
                **tracing.hyperparameters,
                **(collaborative.hyperparameters if collaborative else {}),
            },
        )


@dataclass(frozen=True, slots=True)
class TenantResponses:
    """One tenant's part of the log in columns.

    What was said of a learner before they were last forgotten is not there; corrected responses are as corrected, and
    voided ones are not there.

    Attributes:
        distinct: responses, and opened and completed resources; those sent twice once.
        evidence: those responses that are evidence for the learner model.
    """

    distinct: ResponseTable
    evidence: ResponseTable


async def collect(
    log: TrainingLog, progress: Progress = lambda *_: None
) -> tuple[TrainingWindow, dict[str, TenantResponses]]:
    """Everything that stands in the log now, in columns by tenant.

    An event that was sent twice counts once, however far apart, and a correction counts however far back its target
    lies: unlike folding, which remembers a window of ids and a journal per learner, training sees the whole log.
    """
    span = await log.span()
    collected: dict[str, _TenantCollector] = {}
    skipped: Counter[str] = Counter()
    records = 0
    progress(READING, 0, span.offsets)
    async for batch in log.batches(span):
        records += len(batch.events) + len(batch.skipped)
        skipped.update(batch.skipped)
        for tenant, learner, event in batch.events:
            collector = collected.get(tenant)
            if collector is None:
                collector = collected[tenant] = _TenantCollector()
            collector.add(learner, event)
        progress(READING, batch.offsets, span.offsets)
    responses = {tenant: collector.responses() for tenant, collector in sorted(collected.items())}
    forgotten = sum(collector.forgotten for collector in collected.values())
    if forgotten:
        skipped[ERASED] += forgotten
    duplicates = sum(collector.copies for collector in collected.values())
    responses = {tenant: found for tenant, found in responses.items() if len(found.evidence)}
    window = TrainingWindow(
        log_identity=span.log_identity,
        begin_offsets=span.begin_offsets,
        end_offsets=span.end_offsets,
        records=records,
        duplicates=duplicates,
        skipped=dict(sorted(skipped.items())),
    )
    return window, responses


@dataclass
class _TenantCollector:
    """One tenant's events as they come, in columns.

    Attributes:
        forgotten: events of learners who were forgotten after them; known once `responses` was called.
        copies: events left out because an earlier one has their source and id; likewise.
    """

    builder: ResponseTableBuilder = field(default_factory=ResponseTableBuilder)
    fingerprint: array[int] = field(default_factory=lambda: array("Q"))
    grain: array[int] = field(default_factory=lambda: array("B"))
    activity: array[int] = field(default_factory=lambda: array("i"))
    activities: dict[str, int] = field(default_factory=dict)
    corrections: dict[str, dict[int, float]] = field(default_factory=dict)
    met: dict[str, set[bytes]] = field(default_factory=dict)
    begins: dict[str, int] = field(default_factory=dict)
    forgotten: int = 0
    copies: int = 0

    def add(self, learner: str, event: LearnerEvent) -> None:
        """Add a learner's next event."""
        match event:
            case AssessmentEvent():
                activity = (
                    self.activities.setdefault(event.activity, len(self.activities)) if event.activity else _NO_ACTIVITY
                )
                self.builder.append(
                    learner=learner,
                    item=event.item,
                    skills=event.skills,
                    response=event.response,
                    resource=event.resource,
                    at_s=event.at_s,
                )
                self._add_columns(event.fingerprint, event.grain, activity)
            case InteractionEvent():
                worked_on = event.kind is not InteractionKind.DISMISSED
                self.builder.append(
                    learner=learner,
                    item="",
                    skills=(),
                    response=0.0,
                    resource=event.resource if worked_on else "",
                    at_s=event.at_s,
                )
                self._add_columns(event.fingerprint, _INTERACTION if worked_on else _NOTHING, _NO_ACTIVITY)
            case CorrectionEvent() | ErasureEvent():
                self._add_change(learner, event)

    def responses(self) -> TenantResponses:
        """The columns, once everything was added."""
        learner = self.builder.learner_numbers
        fingerprint, grain = np.array(self.fingerprint, np.uint64), np.array(self.grain, np.uint8)
        kept = np.arange(len(learner)) >= self.builder.per_learner(self.begins, 0)[learner]
        self.forgotten += int(len(kept) - kept.sum())
        distinct = kept.copy()
        distinct[kept] = first_copies(learner[kept], fingerprint[kept])
        self.copies += int(kept.sum() - distinct.sum())
        self._correct(distinct, fingerprint, grain)
        evidence = distinct.copy()
        evidence[distinct] = evidence_rows(
            learner[distinct], grain[distinct], np.array(self.activity, np.int32)[distinct]
        )
        # What was voided or dismissed had its place in the journal, and no other part.
        distinct &= grain != _NOTHING
        table = self.builder.build(distinct)
        return TenantResponses(table, table if evidence.sum() == distinct.sum() else self.builder.build(evidence))

    def _add_columns(self, fingerprint: bytes, grain: int, activity: int) -> None:
        self.fingerprint.append(int.from_bytes(fingerprint, "little"))
        self.grain.append(grain)
        self.activity.append(activity)

    def _add_change(self, learner: str, event: CorrectionEvent | ErasureEvent) -> None:
        met = self.met.setdefault(learner, set())
        if event.fingerprint in met:
            self.copies += 1
        elif isinstance(event, ErasureEvent):
            self.begins[learner] = len(self.builder)
            self.corrections.pop(learner, None)
            self.met[learner] = {event.fingerprint}
        else:
            met.add(event.fingerprint)
            self.corrections.setdefault(learner, {})[int.from_bytes(event.target, "little")] = event.response

    def _correct(self, distinct: NDArray[np.bool_], fingerprint: NDArray[np.uint64], grain: NDArray[np.uint8]) -> None:
        """Regrade corrected responses, and mark the voided ones as nothing."""
        targets = np.array(sorted({target for of_one in self.corrections.values() for target in of_one}), np.uint64)
        for row in np.flatnonzero(distinct & (grain <= Grain.ACTIVITY) & np.isin(fingerprint, targets)).tolist():
            response = self.corrections.get(self.builder.learner_of(row), {}).get(int(fingerprint[row]))
            if response == VOIDED:
                grain[row] = _NOTHING
            elif response is not None:
                self.builder.regrade(row, response)


def first_copies(learner: NDArray[np.int32], fingerprint: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which events are the first of their learner with their fingerprint."""
    order = np.lexsort((np.arange(len(learner)), fingerprint, learner))
    repeated = (np.diff(learner[order]) == 0) & (np.diff(fingerprint[order]) == 0)
    first = np.ones(len(learner), np.bool_)
    first[order[1:][repeated]] = False
    return first


def evidence_rows(
    learner: NDArray[np.int32], grain: NDArray[np.uint8], activity: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Which events are evidence: of one act only the finest grain is.

    As in folding, a score on an activity is none when the learner's journal still holds a response to one of its items.

    Args:
        learner: of each event, a learner's in their order.
        grain: `Grain` of each event; more for what is no response, and has its place in the journal only.
        activity: of each event; negative when not known.
    """
    evidence = grain <= Grain.ACTIVITY
    if not (grain == Grain.ACTIVITY).any():
        return evidence
    order = np.argsort(learner, kind="stable")
    grain, activity = grain[order], activity[order]
    begins = np.concatenate([[0], np.flatnonzero(np.diff(learner[order])) + 1])
    place = np.arange(len(order)) - np.repeat(begins, np.diff([*begins, len(order)]))
    for row in np.flatnonzero((grain == Grain.ACTIVITY) & (activity >= 0)):
        recent = slice(row - _journal_length(int(place[row])), row)
        evidence[order[row]] = not ((grain[recent] == Grain.ITEM) & (activity[recent] == activity[row])).any()
    return evidence


def _journal_length(events: int) -> int:
    """How many events the journal of a learner with so many events holds."""
    if events <= JOURNAL_EVENTS:
        return events
    return JOURNAL_EVENTS + 1 - FOLDED_AT_ONCE + (events - JOURNAL_EVENTS - 1) % FOLDED_AT_ONCE
