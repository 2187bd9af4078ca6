"""One connection to Redis shared by many readers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from services.recommender.adapters.redis.connection import Command, RedisConnection
from services.recommender.application.ports.learners import StateUnavailableError

_Asked = tuple[Sequence[Command], asyncio.Future[list[Any]]]


class RedisReads:
    """Sends the commands of concurrent callers together: the higher the load, the less a read costs.

    Only for commands that read: they are sent again when the connection turns out to be broken.
    """

    def __init__(self, connection: RedisConnection) -> None:
        """Args: `connection`, used by nobody else."""
        self._connection = connection
        self._waiting: list[_Asked] = []
        self._on_the_way: list[_Asked] = []
        self._sending: asyncio.Task[None] | None = None

    async def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands and return their replies, or the error about a value of the wrong type.

        Raises:
            StateUnavailableError: when Redis cannot be reached, returns another error, or does not answer in time.
        """
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((commands, answer))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
        return await answer

    async def close(self) -> None:
        """Close the connection; callers that still wait get an error."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        for _, answer in (*self._on_the_way, *self._waiting):
            if not answer.done():
                answer.set_exception(StateUnavailableError("the connection to Redis was closed; ask again"))
        await self._connection.close()

    async def _send(self) -> None:
        while self._waiting:
            self._on_the_way, self._waiting = self._waiting, []
            await self._exchange(self._on_the_way)
        self._sending = None

    async def _exchange(self, asked: Sequence[_Asked]) -> None:
        commands = [command for of_one, _ in asked for command in of_one]
        try:
            replies = await self._twice(commands)
        except StateUnavailableError as error:
            for _, answer in asked:
                if not answer.done():
                    answer.set_exception(StateUnavailableError(str(error)))
            return
        start = 0
        for of_one, answer in asked:
            # A caller that gave up has cancelled its future.
            if not answer.done():
                answer.set_result(replies[start : start + len(of_one)])
            start += len(of_one)

    async def _twice(self, commands: Sequence[Command]) -> list[Any]:
        try:
            return await self._connection.execute(commands, wrong_types=True)
        except StateUnavailableError:
            return await self._connection.execute(commands, wrong_types=True)
