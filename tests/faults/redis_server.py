"""A Redis with persistent data that can be killed, truncated, filled or made unable to write."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Sequence
from pathlib import Path

import redis

from deploy.kafka.certificates import Signed
from deploy.local.redis import answers, binary
from deploy.processes import LOOPBACK, Child, Command, free_port
from tests.faults.proxy import TcpProxy

_READY_DEADLINE_S = 20.0
# An ignored signal stays ignored in the program that replaces this one.
_IGNORE_FILE_SIZE_SIGNAL = (
    sys.executable,
    "-c",
    "import os, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); os.execvp(sys.argv[1], sys.argv[1:])",
)


def has_tls(executable: str) -> bool:
    """Whether a Redis or Valkey was built with TLS."""
    return b"tls-cert-file\0" in Path(executable).read_bytes()


def tls_options(port: int, signed: Signed, authority: Path, *, client_certificates: bool = False) -> list[str]:
    """What makes a Redis or Valkey that has TLS listen on one more port, with it."""
    return [
        *("--tls-port", str(port)),
        *("--tls-cert-file", str(signed.certificate)),
        *("--tls-key-file", str(signed.key)),
        *("--tls-ca-cert-file", str(authority)),
        *("--tls-auth-clients", "yes" if client_certificates else "no"),
        # Sentinels reach Redis with it too.
        *("--tls-replication", "yes"),
    ]


def tls_proxy(port: int, target_port: int, signed: Signed, client_authority: Path | None = None) -> TcpProxy:
    """What listens with TLS in front of a Redis that has none.

    Args:
        port: to listen on.
        target_port: of the Redis.
        signed: the certificate.
        client_authority: who signs clients' certificates; None: clients need none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(signed.certificate, signed.key)
    if client_authority is not None:
        context.load_verify_locations(client_authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return TcpProxy(port, target_port, context)


class DurableRedis:
    """One Redis. With `appendonly`, its data survives `kill`, except for what `truncate_tail` removes."""

    def __init__(
        self,
        directory: Path,
        *,
        appendonly: bool = False,
        survives_full_disk: bool = False,
        options: Sequence[str] = (),
        host: str = LOOPBACK,
    ) -> None:
        """Prepare.

        Args:
            directory: for data and log.
            appendonly: whether data survives `kill`.
            survives_full_disk: whether a file that may not grow gives it an error instead of a deadly signal.
            options: more arguments of redis-server.
            host: the address it listens on.
        """
        self.host = host
        self.port = free_port()
        self.directory = directory
        self._appendonly = appendonly
        self._survives_full_disk = survives_full_disk
        self._options = options
        self._child: Child | None = None
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        """How to reach it."""
        return f"redis://{self.host}:{self.port}/0"

    @property
    def child(self) -> Child:
        """Its process."""
        assert self._child is not None
        return self._child

    def start(self) -> None:
        """Start it and return once it has loaded its data."""
        arguments = [
            *(_IGNORE_FILE_SIZE_SIGNAL if self._survives_full_disk else ()),
            binary(),
            *("--bind", self.host, "--port", str(self.port), "--dir", str(self.directory.resolve())),
            *("--save", "", "--appendonly", "yes" if self._appendonly else "no", "--appendfsync", "everysec"),
            *("--maxmemory-policy", "noeviction"),
            *self._options,
        ]
        log = self.directory.with_name(f"{self.directory.name}.log")
        self._child = Child(Command("redis", arguments, log))
        self._child.wait_ready(lambda: answers(self.url), _READY_DEADLINE_S)

    def client(self) -> redis.Redis:
        """A client that reconnects."""
        return redis.Redis.from_url(self.url, socket_timeout=5, socket_connect_timeout=2)

    def kill(self) -> None:
        """Kill it like a power cut."""
        self.child.kill()

    def stop(self) -> None:
        """Stop it. Safe to call again."""
        if self._child is not None:
            self._child.stop()

    @property
    def rewritten(self) -> bool:
        """Whether it has rewritten its append-only file since its start, as workers ask it to."""
        with self.client() as client:
            return client.get("cairn:rewritten-in") == client.info("server")["run_id"].encode()

    @property
    def base_bytes(self) -> int:
        """The size of its append-only file when it was last rewritten or loaded: that much is on disk."""
        with self.client() as client:
            return int(client.info("persistence")["aof_base_size"])

    def truncate_tail(self, share: float, base_bytes: int = 0) -> int:
        """Remove the last share of the append-only file beyond `base_bytes`, like a disk that was not synced.

        Returns:
            The number of bytes removed.
        """
        # Redis 6 has one file, Redis 7 a folder that contains the growing file.
        file = next(
            path for pattern in ("appendonly.aof", "appendonlydir/*.incr.aof") for path in self.directory.glob(pattern)
        )
        size = file.stat().st_size
        with file.open("r+b") as opened:
            # Redis 7 keeps the rewritten part in its own file.
            base = base_bytes if file.name == "appendonly.aof" else 0
            opened.truncate(int(size - (size - base) * share))
        return size - file.stat().st_size
