"""A Redis that keeps its data on disk, and can be killed, shortened, filled or kept from writing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import redis

from deploy.local.processes import LOOPBACK, Child, Command, free_port
from deploy.local.redis import binary

_READY_DEADLINE_S = 20.0


class DurableRedis:
    """One Redis on loopback. With `appendonly`, what it held survives `kill` but for what `truncate_tail` takes."""

    def __init__(self, directory: Path, *, appendonly: bool = False, options: Sequence[str] = ()) -> None:
        """Args: `directory` for data and log; `options`, more arguments of redis-server."""
        self.port = free_port()
        self.directory = directory
        self._appendonly = appendonly
        self._options = options
        self._child: Child | None = None
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        """How to reach it."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def child(self) -> Child:
        """Its process."""
        assert self._child is not None
        return self._child

    def start(self) -> None:
        """Start it and return once it has loaded its data."""
        arguments = [
            binary(),
            *("--bind", LOOPBACK, "--port", str(self.port), "--dir", str(self.directory.resolve())),
            *("--save", "", "--appendonly", "yes" if self._appendonly else "no", "--appendfsync", "everysec"),
            *("--maxmemory-policy", "noeviction"),
            *self._options,
        ]
        # Its log stands outside the data, which a scenario may take away.
        log = self.directory.with_name(f"{self.directory.name}.log")
        self._child = Child(Command("redis", arguments, log))
        self._child.wait_ready(self._answers, _READY_DEADLINE_S)

    def client(self) -> redis.Redis:
        """A client that reconnects."""
        return redis.Redis.from_url(self.url, socket_timeout=5, socket_connect_timeout=2)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.child.kill()

    def stop(self) -> None:
        """Stop it. Safe to call again."""
        if self._child is not None:
            self._child.stop()

    @property
    def written_anew(self) -> bool:
        """Whether it has written its append-only file anew since its start, as workers ask it to."""
        with self.client() as client:
            return client.get("cairn:rewritten-in") == client.info("server")["run_id"].encode()

    @property
    def base_bytes(self) -> int:
        """How large its append-only file was when it was last written anew, or loaded: that much is on the disk."""
        with self.client() as client:
            return int(client.info("persistence")["aof_base_size"])

    def truncate_tail(self, share: float, base_bytes: int = 0) -> int:
        """Take the last share of what the append-only file holds beyond `base_bytes` away, as an unsynced disk would.

        Returns:
            How many bytes were taken.
        """
        # Redis 6 has one file, Redis 7 a folder with the file that grows.
        file = next(
            path for pattern in ("appendonly.aof", "appendonlydir/*.incr.aof") for path in self.directory.glob(pattern)
        )
        size = file.stat().st_size
        with file.open("r+b") as opened:
            # Redis 7 keeps what was written anew in a file of its own.
            base = base_bytes if file.name == "appendonly.aof" else 0
            opened.truncate(int(size - (size - base) * share))
        return size - file.stat().st_size

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1.0, socket_connect_timeout=1.0) as client:
                return bool(client.ping())
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, redis.exceptions.BusyLoadingError):
            return False
