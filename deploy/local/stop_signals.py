"""Stop signals: they end a command cleanly, and never interrupt the stopping itself."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequestedError(BaseException):
    """A signal asked this process to stop. Not an Exception, so that no handler on the way catches it."""

    def __init__(self, number: int) -> None:
        """Args: `number`, the signal's."""
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


def stop_on_signals() -> None:
    """Make SIGINT, SIGTERM and SIGHUP raise StopRequestedError on the main thread, so that a stack exits cleanly."""

    def raise_it(number: int, _: FrameType | None) -> None:
        raise StopRequestedError(number)

    for number in _STOP:
        signal.signal(number, raise_it)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore stop signals until the block is done."""

    def ignore(_: int, __: FrameType | None) -> None:
        return

    before = {number: signal.signal(number, ignore) for number in _STOP}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
