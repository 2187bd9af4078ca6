"""Exports for data teams: learner state, current lists and the log, as rows of tables.

Every export is a stream of batches, so memory does not grow with the tenant.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from services.recommender.application.answers.dependencies import AnswerDependencies
from services.recommender.application.answers.rank_learner import Recommendations, RecommendQuery
from services.recommender.application.operations.columns import LEARNER, TENANT, Column, ColumnType
from services.recommender.application.ports.epochs import EpochStore, StoredLearnerBytes
from services.recommender.application.ports.learners import LearnerKey, StateUnavailableError
from services.recommender.application.ports.quarantine import LearnerDamagedError
from services.recommender.domain.learner.mastery import mastered, skill_logits, success_interval, success_probability
from services.recommender.domain.learner.parameters import TenantParameters
from services.recommender.domain.learner.state import LearnerState, decode_state
from services.recommender.domain.ranking.render import render

LEARNERS_PER_BATCH = 500

Row = Mapping[str, Any]
"""One row of a table, by column."""


STATE_COLUMNS = (
    TENANT,
    LEARNER,
    Column("skill", ColumnType.TEXT, "a skill that the learner responded to"),
    Column("mastery", ColumnType.NUMBER, "chance of success on the skill's average item, 0 to 1"),
    Column("mastery_low", ColumnType.NUMBER, "lower end of the central 95 % interval of that chance"),
    Column("mastery_high", ColumnType.NUMBER, "upper end of that interval"),
    Column("mastered", ColumnType.BOOLEAN, "whether the skill counts as mastered"),
    Column("responses", ColumnType.INTEGER, "responses that were evidence of the skill"),
    Column("successes", ColumnType.NUMBER, "the sum of their outcomes, each from 0 to 1"),
    Column("last_response_at", ColumnType.TIME, "when the last response was given; empty: not known"),
    Column("learner_responses", ColumnType.INTEGER, "the learner's responses that were evidence, over all skills"),
    Column("epoch", ColumnType.INTEGER, "the epoch of derived state"),
)

RECOMMENDATION_COLUMNS = (
    TENANT,
    LEARNER,
    Column("rank", ColumnType.INTEGER, "position in the list, from 1"),
    Column("resource", ColumnType.TEXT, "the resource, by its id in the catalog"),
    Column("title", ColumnType.TEXT, "its title"),
    Column("score", ColumnType.NUMBER, "the list is sorted by it; only comparable within one list"),
    Column("success", ColumnType.NUMBER, "chance that the learner succeeds on the resource, 0 to 1"),
    Column("skill", ColumnType.TEXT, "the skill it serves"),
    Column("step", ColumnType.TEXT, "teach, practise or reassess"),
    Column("reasons", ColumnType.TEXTS, "the strongest reasons, as sentences"),
    Column("recommendation_id", ColumnType.TEXT, "id of the recommendation; interactions may refer to it"),
    Column("as_of", ColumnType.TIME, "the moment that the list is for"),
    Column("epoch", ColumnType.INTEGER, "the epoch of derived state"),
    Column("bundle", ColumnType.TEXT, "the bundle of models; empty: none"),
)


class NoCurrentEpochError(LookupError):
    """There is no state to export, because there is no current epoch."""


@dataclass(frozen=True, slots=True)
class ExportBatch:
    """Some rows, and the progress of the export.

    Attributes:
        rows: of the tenant.
        done: finished steps: learners, or offsets of the log.
        damaged: learners left out because what is stored about them is damaged.
    """

    rows: Sequence[Row]
    done: int
    damaged: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class LogRows:
    """Rows of a stretch of the log.

    Attributes:
        rows: the records of the tenant that could be read.
        offsets: offsets read so far.
        erased: records of the tenant read so far whose learner's key was destroyed.
        unreadable: records read so far that are not learner events.
    """

    rows: Sequence[Row]
    offsets: int
    erased: int
    unreadable: int


class EventRows(Protocol):
    """The log of learner events as rows. Every call may raise ConnectionError or LookupError (no such topic)."""

    async def total(self) -> int:
        """The number of offsets in the log now."""
        ...

    def batches(self, tenant: str) -> AsyncIterator[LogRows]:
        """A tenant's records, each once, up to the end of the log at the last call of `total`."""
        ...


async def export_state(
    epochs: EpochStore, epoch: int, tenant: str, parameters: TenantParameters
) -> AsyncIterator[ExportBatch]:
    """A row per learner and skill, for a tenant's learners in an epoch.

    Args:
        epochs: where states are.
        epoch: which epoch.
        tenant: whose learners.
        parameters: the tenant's parameters that the epoch was folded with.

    Raises:
        StateUnavailableError: when states cannot be read.
    """
    done = 0
    async for learners in _learners(epochs, epoch, tenant):
        done += len(learners)
        rows = [
            row
            for learner in learners
            if not learner.damage
            for row in _state_rows(tenant, _name_of(learner), decode_state(learner.state), parameters, epoch)
        ]
        yield ExportBatch(rows, done, [_name_of(learner) for learner in learners if learner.damage])


async def export_recommendations(
    epochs: EpochStore, answers: AnswerDependencies, epoch: int, tenant: str, *, limit: int
) -> AsyncIterator[ExportBatch]:
    """The current list of every learner of a tenant who has state.

    Args:
        epochs: where states are.
        answers: the dependencies of ranking.
        epoch: the epoch that is served.
        tenant: whose learners.
        limit: most resources per list.

    Raises:
        StateUnavailableError: when states cannot be read.
    """
    done = 0
    as_of = answers.clock.now()
    async for learners in _learners(epochs, epoch, tenant):
        names = [_name_of(learner) for learner in learners]
        rows: list[Row] = []
        damaged: list[str] = []
        found = await answers.states.read_many([LearnerKey(tenant, name) for name in names])
        for name, fresh in zip(names, found, strict=True):
            if isinstance(fresh, StateUnavailableError):
                raise fresh
            if isinstance(fresh, LearnerDamagedError):
                damaged.append(name)
                continue
            snapshot = await answers.catalogs.snapshot(tenant, fresh.epoch)
            found_list = answers.ranking.rank(snapshot, RecommendQuery(name, limit, as_of=as_of), fresh)
            rows += _recommendation_rows(tenant, name, found_list)
        done += len(learners)
        yield ExportBatch(rows, done, damaged)


async def _learners(epochs: EpochStore, epoch: int, tenant: str) -> AsyncIterator[list[StoredLearnerBytes]]:
    """A tenant's learners with state, and damaged ones, in batches."""
    prefix = f"{tenant}/".encode()
    batch: list[StoredLearnerBytes] = []
    async for learner in epochs.contents(epoch):
        # An erased learner has no state.
        if learner.key.startswith(prefix) and (learner.state or learner.damage):
            batch.append(learner)
        if len(batch) == LEARNERS_PER_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _name_of(learner: StoredLearnerBytes) -> str:
    return learner.key.partition(b"/")[2].decode()


def _state_rows(
    tenant: str, learner: str, state: LearnerState, parameters: TenantParameters, epoch: int
) -> list[dict[str, Any]]:
    names = sorted(state.skill_names)
    logits = skill_logits(state, names, parameters)
    low, high = success_interval(logits.mean, logits.variance)
    columns = zip(
        names,
        success_probability(logits.mean, logits.variance).tolist(),
        low.tolist(),
        high.tolist(),
        mastered(logits.mean, logits.variance, logits.attempts).tolist(),
        logits.attempts.tolist(),
        logits.successes.tolist(),
        (datetime.fromtimestamp(at_s, UTC) if at_s else None for at_s in logits.last_at_s.tolist()),
        strict=True,
    )
    own = [column.name for column in STATE_COLUMNS[2:10]]
    common = {"tenant": tenant, "learner": learner, "learner_responses": state.responses, "epoch": epoch}
    return [common | dict(zip(own, values, strict=True)) for values in columns]


def _recommendation_rows(tenant: str, learner: str, found: Recommendations) -> list[dict[str, Any]]:
    return [
        {
            "tenant": tenant,
            "learner": learner,
            "rank": rank,
            "resource": found.catalog.resource_ids[resource.row],
            "title": found.catalog.titles[resource.row],
            "score": float(resource.score),
            "success": float(resource.success),
            "skill": resource.explanation.skill or None,
            "step": resource.explanation.step.name.lower(),
            "reasons": [render(reason.message) for reason in resource.explanation.reasons],
            "recommendation_id": recommendation_id,
            "as_of": found.provenance.as_of,
            "epoch": found.provenance.epoch,
            "bundle": found.provenance.bundle or None,
        }
        for rank, (resource, recommendation_id) in enumerate(
            zip(found.resources, found.recommendation_ids, strict=True), start=1
        )
    ]
