"""How commands work on epochs: shared options, and error messages."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from services.common.command_line import BAD_INPUT, FAILED, fail
from services.recommender.adapters.files.bundle_store import BundlesUrlInvalidError
from services.recommender.application.ports.epochs import EpochBusyError, EpochExistsError, EpochMissingError
from services.recommender.application.ports.learners import CommitRefusedError
from services.recommender.application.ports.log import LogTruncatedError
from services.recommender.application.ports.models import BundleUnreadableError
from services.recommender.application.ports.quarantine import LearnerDamagedError
from services.recommender.application.ports.state_store import EvictingStoreError, StateUrlInvalidError
from services.recommender.application.state.epochs import EpochUnusableError
from services.recommender.application.state.snapshots import SnapshotInvalidError
from services.recommender.bootstrap.environment import SettingsError

_INTERRUPTED = 130

_T = TypeVar("_T")

EnvironmentFile = Annotated[
    Path, typer.Option("--env-file", help="File with settings that the environment does not set; `make up` writes it.")
]


def number_or(word: str, text: str) -> int | None:
    """An epoch's number, or None for the word."""
    if text == word:
        return None
    if not (text.isdecimal() and int(text)):
        fail(f"error: {text!r} is not an epoch: give a number from 1, or {word}", BAD_INPUT)
    return int(text)


def run(work: Callable[[], Awaitable[_T]], *, when_interrupted: Callable[[], str] | None = None) -> _T:
    """Await work, and end the command with an error message when it fails.

    Args:
        work: returns the coroutine to await.
        when_interrupted: the message after SIGINT or SIGTERM interrupted it; None: they end the process at once.
    """

    async def awaited() -> _T:
        task = asyncio.current_task()
        if when_interrupted is not None and task is not None:
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await work()

    try:
        return asyncio.run(awaited())
    except asyncio.CancelledError:
        fail(f"error: {'interrupted' if when_interrupted is None else when_interrupted()}", _INTERRUPTED)
    except (
        SettingsError,
        StateUrlInvalidError,
        SnapshotInvalidError,
        EpochUnusableError,
        EpochMissingError,
        EpochExistsError,
        LogTruncatedError,
        BundleUnreadableError,
        BundlesUrlInvalidError,
    ) as error:
        fail(f"error: {error}", BAD_INPUT)
    except (
        EpochBusyError,
        EvictingStoreError,
        CommitRefusedError,
        LearnerDamagedError,
        ConnectionError,
        LookupError,
    ) as error:
        fail(f"error: {error}", FAILED)
