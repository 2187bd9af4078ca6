"""`cairn train` against a running stack."""

from __future__ import annotations

import subprocess

from deploy.local.stack import Stack
from tests.benchmarks.throughput import CAIRN

_TIMEOUT_S = 120.0


def train(stack: Stack, *options: str) -> str:
    """Fit models on the stack's log; the id of the bundle.

    Raises:
        RuntimeError: when that fails, with its output.
    """
    environment = {"PATH": "/usr/bin:/bin"} | stack.environment
    command = [*CAIRN, "train", *options]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=_TIMEOUT_S)
    if done.returncode:
        raise RuntimeError(f"cairn train ended with {done.returncode}: {done.stderr[-2_000:]}")
    return done.stdout.splitlines()[-1]
