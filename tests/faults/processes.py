"""Processes of Cairn as an orchestrator runs them: one that exits by itself is restarted."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from deploy.local.serving import is_serving
from deploy.processes import Child, Command

_RESTART_AFTER_S = 0.5
_GRACE_S = 10.0
_LONGEST_LINE = 400


class Supervised:
    """One process. `tend` restarts it some time after it exited, unless it was stopped for good.

    Attributes:
        restarts: number of restarts.
        exits: exit codes of exits by itself; negative: the signal.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        directory: Path,
        environment: Mapping[str, str],
        address: Path,
        authority: Path | None = None,
    ) -> None:
        """Args: what to run; `address`, the file for its address; `authority`, who signed its certificate, if any."""
        self.name = name
        self._authority = authority
        self.restarts = 0
        self.exits: list[int] = []
        self.log = directory / f"{name}.log"
        self._address_file = address
        self._arguments = [sys.executable, "-m", *arguments]
        self.environment = dict(environment) | {"CAIRN_ADDRESS_FILE": str(address)}
        self._child: Child | None = None
        self._ended_s: float | None = None
        self._wanted = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.child.pid

    @property
    def child(self) -> Child:
        """Its process."""
        assert self._child is not None
        return self._child

    @property
    def address(self) -> str:
        """Where it listens."""
        return self._address_file.read_text()

    @property
    def serving(self) -> bool:
        """Whether it reports SERVING."""
        if not self.child.running or not self._address_file.is_file():
            return False
        return is_serving(self._address_file.read_text(), authority=self._authority)

    @property
    def resident_bytes(self) -> int:
        """Memory it holds."""
        return int(psutil.Process(self.pid).memory_info().rss)

    @property
    def stopped(self) -> bool:
        """Whether it is stopped by SIGSTOP."""
        return self.child.running and psutil.Process(self.pid).status() == psutil.STATUS_STOPPED

    def start(self) -> None:
        """Start it without waiting."""
        self._address_file.unlink(missing_ok=True)
        self._child = Child(Command(self.name, self._arguments, self.log, self.environment, grace_s=_GRACE_S))
        self._wanted, self._ended_s = True, None

    def tend(self) -> None:
        """Restart it if it exited a while ago."""
        if not self._wanted or self.child.running:
            return
        if self._ended_s is None:
            self._ended_s = time.monotonic()
            code = self.child._process.returncode
            self.exits.append(code)
        elif time.monotonic() - self._ended_s >= _RESTART_AFTER_S:
            self.restarts += 1
            self.start()

    def kill(self, *, restart: bool = True) -> None:
        """Kill it like a power cut."""
        self._wanted = restart
        self.child.kill()

    def pause(self) -> None:
        """Stop it without it noticing: SIGSTOP."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it continue: SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def signal_stop(self) -> None:
        """Ask it to exit for good."""
        self._wanted = False
        if self._child is not None:
            self._child.signal_stop()

    def stop(self) -> None:
        """Stop it for good. Safe to call again."""
        self._wanted = False
        if self._child is not None:
            self._child.stop()

    def last_lines(self, count: int = 6) -> list[str]:
        """The last lines of its log."""
        return [line[:_LONGEST_LINE] for line in self.log.read_text(errors="replace").splitlines()[-count:]]
