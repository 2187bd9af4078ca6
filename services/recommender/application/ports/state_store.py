"""A store of derived state: learners, epochs, and notifications of changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from services.recommender.application.ports.epochs import EpochReader, EpochRestorer, EpochStore
from services.recommender.application.ports.learners import (
    ChangeNotifications,
    FoldStore,
    LearnerOffsets,
    LearnerReader,
)


class StateUrlInvalidError(ValueError):
    """The URL of the state store cannot be used."""


class EvictingStoreError(RuntimeError):
    """The store evicts learners when its memory is full."""


class ServedLearners(LearnerReader, LearnerOffsets, Protocol):
    """Learners' states, as a server reads them."""


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """What a store says about itself.

    Attributes:
        memory_bytes: memory that it uses.
        memory_max_bytes: memory that it may use; 0: it has no limit.
        evicted_keys: keys that it evicted since it started, because its memory was full.
        refused_commits: workers that ended because a commit of theirs was refused.
    """

    memory_bytes: int
    memory_max_bytes: int
    evicted_keys: int
    refused_commits: int


class StoredEpochs(EpochStore, EpochReader, EpochRestorer, Protocol):
    """All operations on epochs."""


class ClosableFoldStore(FoldStore, Protocol):
    """A fold store with a connection of its own."""

    async def close(self) -> None:
        """Close the connection."""
        ...


class StateStore(Protocol):
    """One store of derived state. It connects when it is first used.

    To add a kind of store, implement this in `adapters/` and name its URL scheme in `bootstrap/stores.py`.
    """

    @property
    def learners(self) -> ServedLearners:
        """Learners' states, as a server reads them."""
        ...

    @property
    def epochs(self) -> StoredEpochs:
        """The epochs."""
        ...

    @property
    def notifications(self) -> ChangeNotifications:
        """Notifications of learners that changed."""
        ...

    def fold_store(self, epoch: int, *, cache_bytes: int = 0, fold_id: str = "") -> ClosableFoldStore:
        """The write side of an epoch. The caller closes it.

        Args:
            epoch: its number.
            cache_bytes: about how much memory recently folded learners may take.
            fold_id: of the epoch; writes are refused once it is gone or another one has its number. Empty: not checked.
        """
        ...

    async def check_is_one_server(self) -> None:
        """Check that the store can change several learners at once.

        Raises:
            StateRefusedError: when it is spread over several servers, and cannot.
            StateUnavailableError: when it does not answer.
        """
        ...

    async def check_nothing_is_evicted(self) -> None:
        """Check that the store refuses writes when its memory is full.

        Raises:
            EvictingStoreError: when it would evict learners instead.
        """
        ...

    async def count_refused_commit(self) -> None:
        """Count a worker that ends because a commit was refused.

        The store counts, because the worker ends before anybody could read a count of its own.

        Raises:
            StateUnavailableError: when the store does not answer.
        """
        ...

    async def figures(self) -> StoreFigures:
        """What the store says about itself.

        Raises:
            StateUnavailableError: when the store does not answer.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections of `learners` and `epochs`."""
        ...
