"""Child processes: each in its own process group, with a readiness check and a reliable stop."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
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

# Below the ephemeral ports of Linux (from 32768) and macOS (from 49152).
_PORTS = range(20_000, 32_000)
# About the golden ratio of their number, so that neighbouring process ids start far apart.
_PORTS_APART = 7_417
_port_numbers = itertools.count(os.getpid() * _PORTS_APART)


class StackError(RuntimeError):
    """The stack cannot continue; the message is a sentence with a remedy."""

    exit_code = 1


class ComponentFailedError(StackError):
    """A component exited, or was not ready in time. The message ends with the last lines of its log."""


class BadInputError(StackError):
    """The options of the stack cannot be used."""

    exit_code = 2


class PortBusyError(BadInputError):
    """A requested port is in use."""


@dataclass(frozen=True, slots=True)
class Command:
    """How to start a component.

    Attributes:
        name: its name for people.
        arguments: the program and its arguments.
        log: file to append its output to.
        environment: variables in addition to this process's own.
        directory: working directory; None: that of this process.
        grace_s: seconds between SIGTERM and SIGKILL.
    """

    name: str
    arguments: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None
    grace_s: float = 2.0


class Child:
    """A running component.

    It leads its own process group, so a Ctrl-C in a terminal reaches only its parent, which then stops every child in
    order. On Linux the kernel kills it when the thread that started it ends, even by SIGKILL; therefore start children
    from the main thread.
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
        """Its name for people."""
        return self.command.name

    @property
    def pid(self) -> int:
        """Its process id, which is also the id of its group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it is still running."""
        return self._process.poll() is None

    def wait_ready(self, ready: Callable[[], bool], deadline_s: float) -> None:
        """Return once `ready()` is true.

        Raises:
            ComponentFailedError: when it exits first, or is not ready within `deadline_s`.
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
        """The error that describes its exit."""
        return ComponentFailedError(
            f"{self.name} {self._how_it_ended()}, so everything is stopped. Its log ends with the reason; fix it, "
            f"or start again if there is none. {last_lines(self.command.log)}"
        )

    def check_running(self) -> None:
        """Raise ComponentFailedError when it has exited."""
        if not self.running:
            raise self.failure()

    def signal_stop(self) -> None:
        """Send SIGTERM without waiting."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it and its children at once, like a power cut."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """Stop it and its children: SIGTERM, then SIGKILL after the grace period. Safe to call again."""
        self.signal_stop()
        self._ends_within(self.command.grace_s)
        # Even if the leader has exited, since another member of its group may be running.
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            # The group is empty. (macOS raises PermissionError for a group of zombies.)
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


def output_of(
    command: Sequence[str | Path],
    *,
    what: str,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    given: str | None = None,
    timeout_s: float | None = None,
) -> str:
    """The standard output of a program that ends by itself.

    Args:
        command: the program and its arguments.
        what: its name for people, for the message.
        environment: variables in addition to this process's own.
        directory: working directory; None: that of this process.
        given: its standard input.
        timeout_s: how long it may take; None: for ever.

    Raises:
        StackError: when it fails; the message has the last lines of what it printed.
        subprocess.TimeoutExpired: when it takes longer. It is killed.
    """
    done = subprocess.run(
        command,
        env=os.environ | dict(environment or {}),
        cwd=directory,
        input=given,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()[-_LAST_LINES:]
        raise StackError("\n".join([f"{what} failed:", *lines]))
    return done.stdout


def last_lines(log: Path) -> str:
    """The last lines of a log with a heading, for the message about a failed component."""
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
    """A loopback port that nobody listens on, for a process that will be started later or restarted.

    It is outside the ephemeral ports, so outgoing connections do not take it meanwhile. Processes that look for
    ports at the same time search different ranges.

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
    raise StackError(
        f"no loopback port from {_PORTS[0]} to {_PORTS[-1]} is free: stop the processes that listen on them"
    )


def claim_port(port: int, *, component: str, option: str) -> int:
    """The port to use: `port` itself, or a free one when it is 0.

    Raises:
        PortBusyError: when `port` is in use; the message names the process if the system reveals it.
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


def accepts_connections(port: int, host: str = LOOPBACK) -> bool:
    """Whether something accepts TCP connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0


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
        # On other systems the children of a parent killed with SIGKILL keep running until `make down`.
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
        # Processes of other users are not visible.
        return "another process listens on it"
    return "another process listens on it"


def locked(directory: Path) -> IO[bytes]:
    """A lock on a directory of a stack, held until it is closed.

    Raises:
        StackError: when another process holds it.
    """
    lock = (directory / "lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise StackError(
            f"another stack runs in {directory}: wait until it ends, or stop it (make down, or Ctrl-C where it runs)"
        ) from error
    return lock
