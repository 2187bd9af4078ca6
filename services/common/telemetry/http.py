"""Plain HTTP for operators, next to gRPC: metrics for Prometheus, and probes for an orchestrator.

GET /metrics    the metrics
GET /livez      200 while the event loop runs callbacks. It looks at nothing else: a process that waits for Kafka or
                Redis is alive, and starting it again would not help
GET /readyz     200 while the process does its work, as its gRPC health service says; else 503
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import REGISTRY, CollectorRegistry, Gauge, make_wsgi_app

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# Under the timeout that a chart gives its probes. A fold or a list takes milliseconds at a time.
_LOOP_ANSWERS_WITHIN_S = 4.0

SERVING = Gauge("cairn_serving", "1 while the process does its work, as its health service says, else 0.", ["process"])


def serve_http(
    process: str, port: int, host: str, is_ready: Callable[[], bool], registry: CollectorRegistry = REGISTRY
) -> WSGIServer:
    """Serve metrics and probes of the running event loop from a thread of its own, until the process ends.

    Args:
        process: its kind, for its metrics: ingest, catalog, worker, server or lag.
        port: where to listen; 0 picks a free one.
        host: the address.
        is_ready: whether the process does its work.
        registry: the metrics.

    Raises:
        OSError: when the port is taken.
    """
    loop = asyncio.get_running_loop()
    SERVING.labels(process).set_function(is_ready)
    metrics: WSGIApplication = make_wsgi_app(registry)

    def answer(environment: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        match environment["PATH_INFO"]:
            case "/livez":
                return _say(start, holds=_runs(loop), otherwise="the event loop does not run")
            case "/readyz":
                return _say(start, holds=is_ready(), otherwise="not serving; the log says what it waits for")
            case "/metrics" | "/":
                return metrics(environment, start)
            case _:
                start(f"{HTTPStatus.NOT_FOUND.value} {HTTPStatus.NOT_FOUND.phrase}", [("Content-Type", "text/plain")])
                return [b"there are /metrics, /livez and /readyz\n"]

    server = make_server(host, port, answer, _Server, _Quiet)
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server


def _say(start: StartResponse, *, holds: bool, otherwise: str) -> list[bytes]:
    status = HTTPStatus.OK if holds else HTTPStatus.SERVICE_UNAVAILABLE
    start(f"{status.value} {status.phrase}", [("Content-Type", "text/plain; charset=utf-8")])
    return [b"ok\n" if holds else f"{otherwise}\n".encode()]


def _runs(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the loop runs a callback soon."""
    ran = threading.Event()
    try:
        loop.call_soon_threadsafe(ran.set)
    except RuntimeError:
        # It is closed.
        return False
    return ran.wait(_LOOP_ANSWERS_WITHIN_S)


class _Server(ThreadingMixIn, WSGIServer):
    """A probe is answered while another one waits for the loop."""

    daemon_threads = True
    allow_reuse_address = True


class _Quiet(WSGIRequestHandler):
    # A connection on which no request comes is given up.
    timeout = 10.0

    def log_message(self, *_: Any) -> None:
        """Say nothing: a probe every second would hide what matters."""
