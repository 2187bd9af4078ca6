"""Writing: every change is based on everything written before it, by any service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from services.catalog.application.ports import (
    CatalogLog,
    CatalogUnavailableError,
    CatalogVersion,
    CatalogView,
    TurnLostError,
)
from services.catalog.domain.contents import Changes, Contents

# Two services that write all the time take the turn from each other; after this many attempts the call fails.
_TURNS_MAX = 8

Decide = Callable[[Contents], Awaitable[Changes]]


class ChangeRefusedError(Exception):
    """A change does not fit the current catalog; nothing was written."""


class CatalogLogRecreatedError(RuntimeError):
    """The log ends before the offset this service has read to: it is not the same log."""


class CatalogWriter:
    """Lets one change at a time be decided and appended.

    Within this process a lock serialises changes. Between processes the log decides whose turn it is, and refuses an
    append from a process that lost its turn. The change is then decided again, based on what the other process wrote.
    """

    def __init__(self, log: CatalogLog, view: CatalogView) -> None:
        self._log = log
        self._view = view
        self._turn = asyncio.Lock()
        # The end of the last append: a caller who hung up did not wait until the view had it.
        self._written = CatalogVersion()

    def contents(self, tenant: str) -> Contents:
        """A tenant's catalog as this service knows it; others may have written since."""
        return self._view.contents(tenant)

    async def write(self, tenant: str, decide: Decide) -> CatalogVersion:
        """Append the changes that `decide` returns, and return the version of the view that has them.

        Args:
            tenant: whose catalog it is.
            decide: takes the current catalog and returns the changes, or raises a ChangeRefusedError. It may be called
                several times; only the last call counts. It must not change the contents.

        Raises:
            ChangeRefusedError: as raised by `decide`.
            CatalogUnavailableError: when the log cannot be reached, or other services keep taking the turn.
            CatalogLogRecreatedError: when the log is not the same one this service has read.
        """
        async with self._turn:
            for _ in range(_TURNS_MAX):
                await self._catch_up()
                changes = await self._decided(tenant, decide)
                if not changes:
                    return self._view.version
                read_to = self._view.version
                try:
                    self._written = await self._append(tenant, changes)
                except TurnLostError:
                    continue
                self._check_same_log(self._written, read_to)
                await self._view.wait_for(self._written)
                return self._view.version
            raise CatalogUnavailableError("another catalog service keeps writing; nothing was written")

    async def _decided(self, tenant: str, decide: Decide) -> Changes:
        read_to, refused, changes = self._view.version, None, Changes()
        try:
            changes = await decide(self._view.contents(tenant))
        except ChangeRefusedError as error:
            refused = error
        if changes:
            return changes
        # An append would detect that another service has written meanwhile. There will be none, so check the end.
        end = await self._log.end()
        if not read_to.includes(end):
            await self._view.wait_for(end)
            return await decide(self._view.contents(tenant))
        if refused is not None:
            raise refused
        return changes

    async def _catch_up(self) -> None:
        end = await self._log.take_turn()
        if end is None:
            end = self._written
        elif not end.includes(self._view.version):
            raise _recreated(end, self._view.version)
        await self._view.wait_for(end)

    @staticmethod
    def _check_same_log(written: CatalogVersion, read_to: CatalogVersion) -> None:
        for end, read in (
            (written.resources_offset, read_to.resources_offset),
            (written.skills_offset, read_to.skills_offset),
            (written.rules_offset, read_to.rules_offset),
        ):
            if 0 < end <= read:
                raise _recreated(written, read_to)

    async def _append(self, tenant: str, changes: Changes) -> CatalogVersion:
        appending = asyncio.ensure_future(self._log.append(tenant, changes))
        try:
            return await asyncio.shield(appending)
        except asyncio.CancelledError:
            # The caller is gone but the records may still be written: keep the lock until the outcome is known. There
            # is no caller left to report a failure to.
            await asyncio.wait({appending})
            if appending.exception() is None:
                self._written = appending.result()
            raise


def _recreated(end: CatalogVersion, read_to: CatalogVersion) -> CatalogLogRecreatedError:
    return CatalogLogRecreatedError(
        f"the catalog topics end at {end}, before {read_to}, which was read from them: they were recreated; restart "
        "the catalog service, then send this again"
    )
