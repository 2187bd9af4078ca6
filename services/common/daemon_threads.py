"""Calls that block, in threads that a process does not wait for at its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def in_daemon_thread(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """The result of a blocking call that may be abandoned.

    A process waits for the threads of `asyncio.to_thread` before it ends, however long a library waits there for a
    server that does not answer. Use this for calls whose effect does not matter once nobody awaits them.
    """
    future: Future[_T] = Future()

    def run() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(call(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - raised where the call is awaited.
            future.set_exception(error)

    threading.Thread(target=run, name=getattr(call, "__name__", "call"), daemon=True).start()
    return await asyncio.wrap_future(future)
