"""Writes golden values: `python -m tests.golden.write NAME...`; names are fold, calls, lists, formats and fixtures.

Only run it when behaviour is meant to change, and say in the commit what changed and why. A change that is meant to
keep behaviour must leave these files alone.

`fixtures` replaces the stored files themselves, and is for a change of format that breaks with what is stored. Training
takes two minutes, and the values of `formats` and `lists` have to be written after it.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import structlog

from tests.golden.calls import call_values
from tests.golden.folding import fold_values
from tests.golden.formats import format_values, write_fixtures
from tests.golden.lists import list_values
from tests.golden.values import store


def write_formats():
    """What the stored files say."""
    with tempfile.TemporaryDirectory() as scratch:
        store("formats", asyncio.run(format_values(Path(scratch))))


def write_lists():
    """Lists, made with the stored bundle as it is."""
    with tempfile.TemporaryDirectory() as scratch:
        store("lists", asyncio.run(list_values(Path(scratch))))


WRITERS = {
    "fixtures": lambda: asyncio.run(write_fixtures()),
    "fold": lambda: store("fold", asyncio.run(fold_values())),
    "calls": lambda: store("calls", asyncio.run(call_values())),
    "formats": write_formats,
    "lists": write_lists,
}

if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    for name in sys.argv[1:]:
        WRITERS[name]()
