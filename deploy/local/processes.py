"""Child processes: started in a group of their own, ready by a condition, stopped for certain."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

LOOPBACK = "127.0.0.1"

_POLL_S = 0.02
_PR_SET_PDEATHSIG = 1
_LAST_LINES = 12
_TAIL_BYTES = 16 * 1024

# Below what Linux (from 32768) and macOS (from 49152) give to outgoing connections.
_PORTS = range(20_000, 32_000)
# About the golden section of their number: neighbouring process ids begin far apart.
_PORTS_APART = 7_417
_port_numbers = itertools.count(os.getpid() * _PORTS_APART)


class StackError(RuntimeError):
    """The stack cannot go on; the message is a sentence for a person, with what to do."""

    exit_code = 1


class ComponentFailedError(StackError):
    """A component ended, or was not ready in time. The message ends with the last lines of its log."""


class BadInputError(StackError):
    """What the stack was asked for cannot be used."""

    exit_code = 2


class PortBusyError(BadInputError):
    """A port that was asked for is taken."""


@dataclass(frozen=True, slots=True)
class Command:
    """How to start a component.

    Attributes:
        name: what people call it.
        arguments: the program and its arguments.
        log: file its output is appended to.
        environment: variables on top of this process's own.
        directory: where it runs; None: where this process runs.
        grace_s: how long it may take to stop after SIGTERM before it is killed.
    """

    name: str
    arguments: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None
    grace_s: float = 2.0


class Child:
    """A running component.

    It leads its own process group, so that a terminal's Ctrl-C reaches only its parent, which then stops every child in
    order. On Linux the kernel kills it when the thread that started it ends, even by SIGKILL; start children from
    the main thread.
    """

    def __init__(self, command: Command) -> None:
        """Start it.

        Raises:
            StackError: when the program cannot be executed.
        """
        self.command = command
        command.log.parent.mkdir(parents=True, exist_ok=True)
        with command.log.open("ab") as log:
            self._process = _start(command, log)

    @property
    def name(self) -> str:
        """What people call it."""
        return self.command.name

    @property
    def pid(self) -> int:
        """Its process id, and that of its group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def wait_ready(self, ready: Callable[[], bool], deadline_s: float) -> None:
        """Return once `ready()` is true.

        Raises:
            ComponentFailedError: when it ends first, or is not ready within `deadline_s`.
        """
        give_up_at = time.monotonic() + deadline_s
        while not ready():
            if self._ends_within(_POLL_S):
                raise self.failure()
            if time.monotonic() > give_up_at:
                raise ComponentFailedError(
                    f"{self.name} was not ready within {deadline_s:g} s. {last_lines(self.command.log)}"
                )

    def failure(self) -> ComponentFailedError:
        """What to tell a person about its end."""
        return ComponentFailedError(
            f"{self.name} {self._how_it_ended()}, so everything is stopped. Its log ends with why; mend that, or start "
            f"again if it says nothing. {last_lines(self.command.log)}"
        )

    def check_running(self) -> None:
        """Raise ComponentFailedError when it has ended."""
        if not self.running:
            raise self.failure()

    def signal_stop(self) -> None:
        """Ask it to stop, without waiting."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and whatever it started at once, as a power cut would."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """Stop it and whatever it started: SIGTERM, and after the grace SIGKILL. Safe to call again."""
        self.signal_stop()
        self._ends_within(self.command.grace_s)
        # Also when the leader has ended: a member of its group may not have.
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            # Nothing of the group is left. (macOS says PermissionError for a group of zombies.)
            return

    def _ends_within(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _how_it_ended(self) -> str:
        code = self._process.poll()
        if code is None:
            return "is still running"
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"


def last_lines(log: Path) -> str:
    """The end of a log, introduced, for the message about a component that failed."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()[-_LAST_LINES:]
    except OSError:
        lines = []
    if not lines:
        return f"Its log {log} is empty."
    return f"Last lines of {log}:\n" + "\n".join(f"    {line}" for line in lines)


def free_port() -> int:
    """A loopback port that nobody listens on, for a process that is yet to start or to start again.

    Outgoing connections never get it, so it stays free meanwhile; and processes that look for ports at the same
    time look in different places.

    Raises:
        StackError: when none is free.
    """
    for number in itertools.islice(_port_numbers, len(_PORTS)):
        port = _PORTS[number % len(_PORTS)]
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((LOOPBACK, port))
                return port
    raise StackError(f"no loopback port from {_PORTS[0]} to {_PORTS[-1]} is free: end what listens on them")


def claim_port(port: int, *, component: str, option: str) -> int:
    """The port to use: `port` itself, or a free one when it is 0.

    Raises:
        PortBusyError: when somebody listens on `port`, naming the process where the system tells.
    """
    if port == 0:
        return free_port()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise PortBusyError(
                f"port {port}, asked for with {option} for {component}, cannot be used ({_listener_on(port)}): "
                f"stop what uses it, name another with {option}, or leave {option} out for a free one"
            ) from error
    return port


def accepts_connections(port: int) -> bool:
    """Whether something on this machine accepts TCP connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0


def _start(command: Command, log: IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(command.arguments),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | dict(command.environment),
            cwd=command.directory,
            process_group=0,
            preexec_fn=_die_with_parent(os.getpid()),  # noqa: PLW1509 - runs before exec, calls one C function loaded beforehand.
        )
    except OSError as error:
        raise StackError(f"{command.name} cannot be started: {error}") from error


def _die_with_parent(parent: int) -> Callable[[], None] | None:
    if sys.platform != "linux":
        # Elsewhere the children of a parent killed with SIGKILL stay until `make down`.
        return None
    libc = ctypes.CDLL(None)

    def ask_kernel() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return ask_kernel


def _listener_on(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid:
                return f"process {connection.pid}, {psutil.Process(connection.pid).name()}, listens on it"
    except psutil.Error:
        # Other users' processes are not ours to see.
        return "another process listens on it"
    return "another process listens on it"
