"""Applies mutations to copies of the tree, one at a time to each, and runs the test that must fail for each."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from tests.mutations.declarations import Edit, Mutation

ROOT = Path(__file__).parents[2]
_COPIED = ("services", "protos", "deploy", "tests", "pyproject.toml", "README.md")
# Compiled kernels are copied, or every run would compile them again. Compiled Python is not copied: Python detects
# stale files with a resolution of one second, and a patch may be applied and reverted within that time.
_LEFT_OUT = shutil.ignore_patterns("*.pyc", "node_modules", ".local")
_TEST_FAILED = 1


class Verdict(StrEnum):
    """The verdict on a mutation."""

    CAUGHT = "caught"
    SURVIVED = "SURVIVED"
    NOT_APPLICABLE = "DOES NOT APPLY"
    TEST_BROKEN = "TEST FAILS UNMUTATED"
    NOT_RUN = "TEST DOES NOT RUN"


@dataclass(frozen=True)
class Result:
    """A mutation, its verdict, the duration of its test, and a remark."""

    mutation: Mutation
    verdict: Verdict
    seconds: float = 0.0
    detail: str = ""


class Ran(NamedTuple):
    """pytest's exit code, its duration, and its last lines."""

    code: int
    seconds: float
    said: str


# Runs a test with a timeout in seconds.
RunTest = Callable[[str, int], Ran]


class PatchDoesNotApplyError(ValueError):
    """The text that a patch replaces does not occur exactly once in its file."""


def patched(text: str, edit: Edit) -> str:
    """A file's text with an edit applied.

    Raises:
        PatchDoesNotApplyError: when the text to replace does not occur exactly once.
    """
    found = text.count(edit.find)
    if found != 1:
        raise PatchDoesNotApplyError(
            f"{edit.file} contains {edit.find.strip()!r} {found} times, not once: fix the declaration"
        )
    return text.replace(edit.find, edit.replace)


@contextmanager
def applied(tree: Path, mutation: Mutation) -> Iterator[None]:
    """Apply a mutation to the tree within the block.

    Raises:
        PatchDoesNotApplyError: when it cannot be applied; nothing was changed.
    """
    before = {edit.file: (tree / edit.file).read_text() for edit in mutation.edits}
    after = dict(before)
    for edit in mutation.edits:
        after[edit.file] = patched(after[edit.file], edit)
    try:
        for file, text in after.items():
            (tree / file).write_text(text)
        yield
    finally:
        for file, text in before.items():
            (tree / file).write_text(text)


def copy_tree(target: Path, revision: str | None) -> None:
    """Copy the files that tests need, from the work tree or from a Git revision."""
    if revision is not None:
        archive = subprocess.run(["git", "archive", revision, *_COPIED], cwd=ROOT, capture_output=True, check=True)
        subprocess.run(["tar", "-x", "-C", target], input=archive.stdout, check=True)
        return
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=_LEFT_OUT)
        else:
            shutil.copy2(source, target / name)


class WarmPytest:
    """Runs tests of a tree, each in a fork of one process that has loaded the libraries but nothing of the tree."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self._output = tree / "output.txt"
        environment = os.environ | {
            "PYTHONPATH": f"{tree}{os.pathsep}{tree / 'protos'}",
            "PYTHONDONTWRITEBYTECODE": "1",
            # Makes Hypothesis try the same examples each time.
            "CI": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-P", Path(__file__).with_name("warm.py")],
            cwd=tree,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, test: str, timeout_s: int) -> Ran:
        """Run one test."""
        asked, answered = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answered is not None
        started_s = time.monotonic()
        print(json.dumps({"test": test, "timeout_s": timeout_s, "output": str(self._output)}), file=asked, flush=True)
        code = int(answered.readline())
        said = "\n".join(self._output.read_text(errors="replace").strip().splitlines()[-15:])
        return Ran(code, time.monotonic() - started_s, said)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def check(
    mutations: Sequence[Mutation], trees: Sequence[tuple[Path, RunTest]], tell: Callable[[Result], None]
) -> list[Result]:
    """Run every test once without mutations, then once with each mutation.

    Args:
        mutations: the mutations.
        trees: copies of the tree, which are worked on at the same time, each with what runs its tests.
        tell: receives each result as soon as it is there.
    """
    by_test: dict[str, list[Mutation]] = {}
    for mutation in mutations:
        by_test.setdefault(mutation.test, []).append(mutation)
    free: queue.SimpleQueue[tuple[Path, RunTest]] = queue.SimpleQueue()
    for one in trees:
        free.put(one)

    def check_all(same_test: Sequence[Mutation]) -> list[Result]:
        tree, run = free.get()
        try:
            return list(_check_with_one_test(tree, same_test, run, tell))
        finally:
            free.put((tree, run))

    # The slow ones first, so that no tree waits for another at the end.
    ordered = sorted(by_test.values(), key=lambda same_test: (same_test[0].short, -same_test[0].timeout_s))
    with ThreadPoolExecutor(len(trees)) as threads:
        found = {result.mutation.name: result for results in threads.map(check_all, ordered) for result in results}
    return [found[mutation.name] for mutation in mutations]


def _check_with_one_test(
    tree: Path, mutations: Sequence[Mutation], run: RunTest, tell: Callable[[Result], None]
) -> Iterator[Result]:
    """Check mutations that name the same test."""
    unmutated: Ran | None = None
    for mutation in mutations:
        try:
            with applied(tree, mutation):
                pass
        except PatchDoesNotApplyError as error:
            result = Result(mutation, Verdict.NOT_APPLICABLE, detail=str(error))
        else:
            unmutated = unmutated or run(mutation.test, mutation.timeout_s)
            result = _verdict(tree, mutation, unmutated, run)
        tell(result)
        yield result


def _verdict(tree: Path, mutation: Mutation, unmutated: Ran, run: RunTest) -> Result:
    if unmutated.code:
        return Result(mutation, Verdict.TEST_BROKEN, detail=unmutated.said)
    with applied(tree, mutation):
        ran = run(mutation.test, mutation.timeout_s)
    if ran.code == _TEST_FAILED:
        return Result(mutation, Verdict.CAUGHT, ran.seconds)
    return Result(mutation, Verdict.NOT_RUN if ran.code else Verdict.SURVIVED, ran.seconds, ran.said)
