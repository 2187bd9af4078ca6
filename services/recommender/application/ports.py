"""What the recommender needs from outside: learner states, epochs, bundles, the catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.recommender.domain.learner import LearnerState
from services.recommender.domain.tracing import TracingParameters


@dataclass(frozen=True, slots=True, order=True)
class LearnerKey:
    """A learner of a tenant, by pseudonym."""

    tenant: str
    learner: str


@dataclass(frozen=True, slots=True)
class StoredLearner:
    """A learner's state as stored, and the offset of the last record that changed it."""

    state: LearnerState
    offset: int


class EpochStatus(StrEnum):
    """Where an epoch is in its life."""

    BUILDING = "building"  # a replay is folding into it
    BUILT = "built"  # the replay reached its end positions
    CATCHING_UP = "catching-up"  # workers fold into it; it becomes current once it has no lag
    LIVE = "live"  # workers fold into it


@dataclass(frozen=True, slots=True)
class EpochMeta:
    """One generation of derived state.

    Attributes:
        epoch: its number, from 1.
        status: where it is in its life.
        parameters_id: id of the tracing parameters every fold into it uses.
        parameters_bundle: the bundle those parameters come from; empty for the priors.
        log_identity: the log it was folded from, as `services.common.kafka.LogIdentity` text.
        end_positions: one past the last record, by partition, that it must reach before it may be served.
    """

    epoch: int
    status: EpochStatus
    parameters_id: str
    parameters_bundle: str
    log_identity: str
    end_positions: Mapping[int, int]


class StateUnavailableError(ConnectionError):
    """Learner state cannot be read now; nothing may be assumed about it."""


class LearnerReader(Protocol):
    """Read side of learner states, as the server uses it. Every call may raise StateUnavailableError."""

    async def read(self, epoch: int, key: LearnerKey) -> StoredLearner | None:
        """A learner's state, or None when the epoch has none for it."""
        ...

    async def read_many(self, epoch: int, keys: Sequence[LearnerKey]) -> list[StoredLearner | None]:
        """States in the order of `keys`, in one round trip."""
        ...

    async def applied_offset(self, epoch: int, key: LearnerKey) -> int | None:
        """Offset of the last record that changed the learner, or None."""
        ...

    async def position(self, epoch: int, partition: int) -> int | None:
        """One past the last record dealt with; None when the epoch never saw the partition."""
        ...


class EpochReader(Protocol):
    """Which epoch is served. Every call may raise StateUnavailableError."""

    async def current(self) -> EpochMeta | None:
        """The epoch to answer from, or None when there is none (yet, or because Redis lost it)."""
        ...


class CollaborativeModel(Protocol):
    """A fitted collaborative-filtering model of one tenant."""

    @property
    def resources(self) -> tuple[str, ...]:
        """The resources it can score, in the order of the scores."""
        ...

    def scores(self, history: Sequence[str]) -> NDArray[np.float32]:
        """Score every resource for a learner with these positives (newest last; unknown ids are ignored).

        The learner is folded in: they need not have been there when the model was fitted.
        """
        ...


@dataclass(frozen=True, slots=True)
class Bundle:
    """One version of fitted models.

    Attributes:
        bundle_id: its name, unique in its store.
        created_at: when it was written.
        parameters: difficulties for the filter, used only where the epoch was folded with the same `parameters_id`.
        collaborative: collaborative-filtering models by tenant; a tenant without enough data has none.
    """

    bundle_id: str
    created_at: datetime
    parameters: TracingParameters
    collaborative: Mapping[str, CollaborativeModel]


class BundleUnreadableError(ValueError):
    """A bundle is missing, incomplete or does not match its checksums."""


class BundleReader(Protocol):
    """Where bundles are found."""

    def latest_id(self) -> str | None:
        """The newest complete bundle's id, or None when there is none."""
        ...

    def load(self, bundle_id: str) -> Bundle:
        """Read a bundle. Raises BundleUnreadableError."""
        ...
