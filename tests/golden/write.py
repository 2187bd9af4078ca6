"""Writes the golden values and the stored fixtures: `python -m tests.golden.write [fold] [lists] [calls] [formats]`.

Only run it when behaviour is meant to change, and say in the commit what changed and why. A change that is meant to
keep behaviour must leave these files alone.
"""

from __future__ import annotations

import asyncio
import sys

import structlog

from tests.golden.calls import call_values
from tests.golden.folding import fold_values
from tests.golden.values import store

WRITERS = {
    "fold": lambda: store("fold", asyncio.run(fold_values())),
    "calls": lambda: store("calls", asyncio.run(call_values())),
}

if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    for name in sys.argv[1:] or WRITERS:
        WRITERS[name]()
