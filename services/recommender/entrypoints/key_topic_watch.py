"""Watches whether the topic of learners' keys is still the one that the epochs were folded with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import structlog

from services.recommender.application.ports.epochs import EpochStore
from services.recommender.application.ports.learners import StateUnavailableError
from services.recommender.application.ports.log import KeyTopic
from services.recommender.application.state.epochs import EpochUnusableError
from services.recommender.application.state.key_topic import check_keys

_log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 5.0


class KeyTopicWatch:
    """Looks at the topic every few seconds, and notes in each epoch how it looked.

    Attributes:
        problem: what is wrong with the topic; empty when nothing is, or it was not looked at.
    """

    def __init__(
        self,
        epochs: EpochStore,
        keys: KeyTopic,
        folded: Callable[[], Collection[int]],
        *,
        look_every_s: float = _LOOK_EVERY_S,
    ) -> None:
        """Args: the epochs, the topic, what returns the epochs that are folded into, and how often to look."""
        self.problem = ""
        self._epochs = epochs
        self._keys = keys
        self._folded = folded
        self._look_every_s = look_every_s

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await asyncio.sleep(self._look_every_s)
            try:
                await self.look()
            except StateUnavailableError:
                # The event services say so.
                continue

    async def look(self) -> None:
        """Look once. The topic is read only if values were encrypted so far."""
        metas = [meta for number in self._folded() if (meta := await self._epochs.get(number)) is not None]
        if self._keys.seen is None and all(meta.keys is None for meta in metas):
            return
        problem = ""
        try:
            now = await self._keys.look()
            for meta in metas:
                check_keys(meta, now)
                if meta.keys != now:
                    await self._epochs.see_keys(meta.epoch, now)
        # LookupError: the topic does not exist.
        except (EpochUnusableError, LookupError) as error:
            problem = str(error)
        if problem and problem != self.problem:
            _log.error("keys of learners are missing", reason=problem)
        if self.problem and not problem:
            _log.info("keys of learners are complete again")
        self.problem = problem
