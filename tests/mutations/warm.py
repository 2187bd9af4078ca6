"""A process with every library loaded, of which a fork runs each test: starting Python and loading takes the longest.

It runs in a copy of the tree and has loaded nothing of it. A line of its input is a test as JSON; a line of its output
is pytest's exit code.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys

import numba
import pytest

LIBRARIES = (
    "aiohttp",
    "aiokafka.admin",
    "cryptography.hazmat.primitives.ciphers.aead",
    "faust",
    "fsspec",
    "google.protobuf.json_format",
    "grpc.aio",
    "grpc_health.v1.health",
    "grpc_reflection.v1alpha.reflection",
    "grpc_status.rpc_status",
    "hypothesis.stateful",
    "kafka.admin",
    "mode.utils.aiter",
    "numba.core.caching",
    "prometheus_client",
    "opentelemetry.sdk.trace.export",
    "psutil",
    "pydantic_settings",
    "redis.asyncio",
    "rich.progress",
    "rich.table",
    "scipy.optimize",
    "scipy.sparse",
    "scipy.special",
    "structlog",
    "tenacity",
    "typer.testing",
    "yaml",
)


def main() -> int:
    """Run the tests that are asked for, one after the other."""
    for name in LIBRARIES:
        importlib.import_module(name)
    # numba loads most of itself when it first compiles something.
    numba.vectorize(["float64(float64)"])(lambda value: value + 1.0)
    # A collection in a fork would copy all of it, and so would ending the fork as usual.
    gc.freeze()
    for line in sys.stdin:
        asked = json.loads(line)
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            code = _run(asked["test"], asked["timeout_s"], asked["output"])
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return 0


def _run(test: str, timeout_s: int, output: str) -> int:
    """Run a test in this process, with what it prints in a file."""
    said = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(said, 1)
    os.dup2(said, 2)
    # Rewriting the assertions of a file takes longer than most tests do.
    return pytest.main(["-q", "-x", "--assert=plain", "-p", "no:cacheprovider", f"--timeout={timeout_s}", test])


if __name__ == "__main__":
    raise SystemExit(main())
