"""Fitted models, and the bundles that hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.learner.parameters import TenantParameters, TracingParameters
from services.recommender.domain.learner.recall import RecallModel
from services.recommender.domain.learner.success_model import SuccessModel
from services.recommender.domain.ranking.learned import LearnedRanker


class CollaborativeModel(Protocol):
    """A fitted collaborative-filtering model of one tenant."""

    @property
    def resources(self) -> tuple[str, ...]:
        """The resources it can score, in the order of the scores."""
        ...

    def scores(self, history: Sequence[str]) -> NDArray[np.float32]:
        """Score every resource for a learner with these positives (newest last; unknown ids are ignored).

        The learner is folded in: the model need not have been fitted on them.
        """
        ...

    def scores_of(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """The same for positions in `resources`, which callers look up once for several models."""
        ...


class CollaborativeEnsemble(Protocol):
    """Several collaborative-filtering models of one tenant, scored together."""

    @property
    def resources(self) -> tuple[str, ...]:
        """The resources they can score, in the order of the scores."""
        ...

    def scores(self, history: Sequence[str]) -> NDArray[np.float32]:
        """(models, resources): the scores of each for a learner with these positives, newest last."""
        ...


@dataclass(frozen=True, slots=True)
class TenantRanker:
    """A tenant's learned ranker and its collaborative base models."""

    ranker: LearnedRanker
    ensemble: CollaborativeEnsemble


@dataclass(frozen=True, slots=True)
class Bundle:
    """One version of fitted models.

    Attributes:
        bundle_id: its id, unique in its store.
        created_at: when it was written.
        parameters: difficulties for the filter, used only where the epoch was folded with the same `parameters_id`.
        collaborative: collaborative-filtering models by tenant; a tenant without enough data has none.
        success: success models by tenant, used only where the epoch was folded with the same `parameters_id`; a tenant
            for which the filter alone predicts as well has none.
        rankers: learned rankers by tenant; a tenant without enough data, or for which none was asked for, has none.
        recall: recall models by tenant, used only where the epoch was folded with the same `parameters_id`; a tenant
            without one has reviews by the fixed formula.
    """

    bundle_id: str
    created_at: datetime
    parameters: TracingParameters
    collaborative: Mapping[str, CollaborativeModel]
    success: Mapping[str, SuccessModel] = field(default_factory=dict)
    rankers: Mapping[str, TenantRanker] = field(default_factory=dict)
    recall: Mapping[str, RecallModel] = field(default_factory=dict)


class BundleUnreadableError(ValueError):
    """A bundle is missing, incomplete or does not match its checksums."""


class BundleReader(Protocol):
    """Reads bundles."""

    def latest_id(self) -> str | None:
        """The newest complete bundle's id, or None when there is none."""
        ...

    def load(self, bundle_id: str) -> Bundle:
        """Read a bundle. Raises BundleUnreadableError."""
        ...


@dataclass(frozen=True, slots=True)
class ModelArrays:
    """A fitted collaborative-filtering model as plain data, to store in a bundle and to restore it from.

    Attributes:
        kind: the kind of model, for example `als`.
        hyperparameters: numbers that it was fitted with and needs for scoring.
        resources: the resources it can score, in the order of its arrays' rows.
        arrays: float32 arrays by name.
        skills: the skills it knows, in the order of its arrays' rows; most models know none.
    """

    kind: str
    hyperparameters: Mapping[str, float]
    resources: tuple[str, ...]
    arrays: Mapping[str, NDArray[np.float32]]
    skills: tuple[str, ...] = ()


class ModelArraysInvalidError(ValueError):
    """Arrays do not form the model that they are stored as."""


@dataclass(frozen=True, slots=True)
class TrainingWindow:
    """Which records a bundle was trained on.

    Attributes:
        log_identity: the log, as `services.common.kafka.connection.LogIdentity` text.
        begin_offsets: the first offset read, by partition.
        end_offsets: one past the last offset read, by partition.
        records: the number of records.
        duplicates: records left out because an earlier one has their source and id.
        skipped: records left out because they cannot be decoded or applied, by reason.
    """

    log_identity: str
    begin_offsets: Mapping[int, int]
    end_offsets: Mapping[int, int]
    records: int
    duplicates: int
    skipped: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class CollaborativeChoice:
    """The collaborative model that best ranks what a tenant's learners did next, on a split of the training data.

    Attributes:
        family: the family.
        settings: its hyperparameters.
        measures: NDCG@10 of each family with the best of its settings.
        absent: why a family could not be tried, by family.
        seed: the seed of the models that were tried.
    """

    family: str
    settings: Mapping[str, float]
    measures: Mapping[str, float]
    absent: Mapping[str, str]
    seed: int


@dataclass(frozen=True, slots=True)
class TenantModels:
    """The models fitted for one tenant, and a summary of their data.

    Attributes:
        parameters: difficulties for the filter; kept as float32.
        collaborative: the collaborative-filtering model, or None.
        collaborative_absent: why there is none; empty when there is one.
        counts: learners, responses, items, skills, positives and the like.
        metrics: measured on learners held out of the fit.
        hyperparameters: the models' hyperparameters and seeds.
        carried_from: the bundle they were copied from unchanged; empty when they were fitted for this one.
        success: the success model, kept as float32, or None.
        choice: how the family of the collaborative model was chosen; None: it is the default.
        ranker: the learned ranker with its base models, or None.
        recall: the recall model, kept as float32, or None.
    """

    parameters: TenantParameters
    collaborative: ModelArrays | None
    collaborative_absent: str
    counts: Mapping[str, int]
    metrics: Mapping[str, float]
    hyperparameters: Mapping[str, float]
    carried_from: str = ""
    success: SuccessModel | None = None
    choice: CollaborativeChoice | None = None
    ranker: ModelArrays | None = None
    recall: RecallModel | None = None


@dataclass(frozen=True, slots=True)
class BundleDraft:
    """Everything a bundle will hold, before it has an id.

    Attributes:
        created_at: the moment it is written; aware. Not part of the content.
        window: which records it was trained on.
        tenants: what was fitted, by tenant.
        libraries: versions of the libraries that affect the numbers, by name.
    """

    created_at: datetime
    window: TrainingWindow
    tenants: Mapping[str, TenantModels]
    libraries: Mapping[str, str]


class BundleUnwritableError(OSError):
    """The bundle store cannot be written to."""


class BundleWriter(Protocol):
    """Writes bundles, and reads the models to carry over."""

    def latest_id(self) -> str | None:
        """The newest complete bundle's id, or None when there is none. Raises BundleUnreadableError."""
        ...

    def tenant_models(self, bundle_id: str) -> Mapping[str, TenantModels]:
        """The models of a bundle by tenant, ready to be written to another bundle. Raises BundleUnreadableError."""
        ...

    def write(self, draft: BundleDraft) -> str:
        """Write a bundle, visible to readers only once it is whole, and return its id.

        The id sorts by `created_at` and ends in a hash of the content. Raises BundleUnwritableError.
        """
        ...
