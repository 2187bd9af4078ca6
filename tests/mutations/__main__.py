"""`make mutation-check`: exits with 0 only when every mutation is caught."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.mutations.check import Result, Verdict, WarmPytest, check, copy_tree
from tests.mutations.declarations import MUTATIONS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="run only mutations whose tests take seconds")
    parser.add_argument("--only", default="", metavar="TEXT", help="run only mutations with this text in their name")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="copies of the tree to work on at a time")
    parser.add_argument("--revision", help="check this Git revision instead of the work tree")
    arguments = parser.parse_args()
    chosen = [one for one in MUTATIONS if (one.short or not arguments.short) and arguments.only in one.name]
    started_s = time.monotonic()
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="cairn-mutations-"))
        trees = []
        for number in range(arguments.jobs):
            tree = Path(directory) / str(number)
            tree.mkdir()
            copy_tree(tree, arguments.revision)
            if not _is_what_python_runs(tree):
                print("Python would not import the copy of the tree: nothing was checked", file=sys.stderr)
                return 1
            trees.append((tree, stack.enter_context(closing(WarmPytest(tree)))))
        results = check(chosen, trees, _tell)
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(_table(results))
    bad = [result for result in results if result.verdict is not Verdict.CAUGHT]
    for result in bad:
        print(f"\n{result.verdict}: {result.mutation.name}. {result.mutation.breaks}\n{result.detail}", file=sys.stderr)
    print(f"{len(results) - len(bad)} of {len(results)} mutations caught in {time.monotonic() - started_s:.0f} s")
    return 1 if bad or not results else 0


def _is_what_python_runs(tree: Path) -> bool:
    """Whether tests in the copy import the copy instead of the installed tree."""
    found = subprocess.run(
        [sys.executable, "-c", "import services, cairn.v1; print(*services.__path__, *cairn.v1.__path__)"],
        cwd=tree,
        env={"PYTHONPATH": f"{tree}:{tree / 'protos'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return all(Path(path).is_relative_to(tree) for path in found.stdout.split()[:1])


def _tell(result: Result) -> None:
    print(f"{result.verdict:>21} {result.seconds:5.1f} s  {result.mutation.name}", file=sys.stderr, flush=True)


def _table(results: list[Result]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("mutation", "test", "", "seconds"):
        table.add_column(heading, justify="right" if heading == "seconds" else "left", overflow="fold")
    for result in results:
        style = "green" if result.verdict is Verdict.CAUGHT else "red"
        test = result.mutation.test.removeprefix("tests/").replace("::", " ").replace("_", " ")
        table.add_row(result.mutation.name, test, f"[{style}]{result.verdict}[/]", f"{result.seconds:.1f}")
    return table


if __name__ == "__main__":
    raise SystemExit(main())
