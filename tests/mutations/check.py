"""Applies mutations to a copy of the tree, one at a time, and runs the test that must fail for each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
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


# Runs a test of a tree with a timeout in seconds.
RunTest = Callable[[Path, str, int], Ran]


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


def run_pytest(tree: Path, test: str, timeout_s: int) -> Ran:
    """Run one test of a tree."""
    environment = os.environ | {
        "PYTHONPATH": f"{tree}{os.pathsep}{tree / 'protos'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        # Makes Hypothesis try the same examples each time.
        "CI": "1",
    }
    started_s = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"--timeout={timeout_s}", test],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    said = "\n".join(ran.stdout.strip().splitlines()[-15:])
    return Ran(ran.returncode, time.monotonic() - started_s, said)


def check(
    tree: Path,
    mutations: Sequence[Mutation],
    tell: Callable[[Result], None],
    run: RunTest = run_pytest,
) -> list[Result]:
    """Run every test once without mutations, then once with each mutation."""
    results: list[Result] = []
    unmutated: dict[str, Ran] = {}
    for mutation in mutations:
        result = _check_one(tree, mutation, unmutated, run)
        tell(result)
        results.append(result)
    return results


def _check_one(
    tree: Path, mutation: Mutation, unmutated: dict[str, Ran], run: Callable[[Path, str, int], Ran]
) -> Result:
    try:
        with applied(tree, mutation):
            pass
    except PatchDoesNotApplyError as error:
        return Result(mutation, Verdict.NOT_APPLICABLE, detail=str(error))
    if mutation.test not in unmutated:
        unmutated[mutation.test] = run(tree, mutation.test, mutation.timeout_s)
    if unmutated[mutation.test].code:
        return Result(mutation, Verdict.TEST_BROKEN, detail=unmutated[mutation.test].said)
    with applied(tree, mutation):
        ran = run(tree, mutation.test, mutation.timeout_s)
    if ran.code == _TEST_FAILED:
        return Result(mutation, Verdict.CAUGHT, ran.seconds)
    return Result(mutation, Verdict.NOT_RUN if ran.code else Verdict.SURVIVED, ran.seconds, ran.said)
