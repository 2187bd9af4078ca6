"""Run many schedules and random logs, and report: `python -m tests.simulation --schedules 2000 --fold-logs 100000`."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import NamedTuple

from tests.simulation import fold_logs
from tests.simulation.schedules import failing, quiet


class _Work(NamedTuple):
    """What is run for many seeds: how it is called, how many a task does, the check, and what it shows."""

    names: str
    per_task: int
    first_failure: Callable[[range], str]
    result: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=2_000)
    parser.add_argument("--fold-logs", type=int, default=100_000, help="random logs to fold in every way")
    parser.add_argument("--first", type=int, default=0, help="seed of the first of each; the others follow")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes to spread them over")
    arguments = parser.parse_args()
    # Code that is loaded is no garbage: full collections need not look at it.
    with ProcessPoolExecutor(arguments.jobs, initializer=gc.freeze) as pool:
        # Load the kernel before timing anything.
        list(pool.map(_first_failure, [range(1)] * arguments.jobs))
        failed = not _report(pool, arguments, arguments.schedules, _SCHEDULES)
        failed |= not _report(pool, arguments, arguments.fold_logs, _FOLD_LOGS)
    return failed


def _report(pool: Executor, arguments: argparse.Namespace, count: int, work: _Work) -> bool:
    """Run some work and print its result. Returns whether all of it held."""
    first, last = arguments.first, arguments.first + count
    chunks = [range(begin, min(begin + work.per_task, last)) for begin in range(first, last, work.per_task)]
    started_s = time.perf_counter()
    found = [failure for failure in pool.map(work.first_failure, chunks) if failure]
    elapsed_s = time.perf_counter() - started_s
    if found:
        print("\n\n".join(found), file=sys.stderr)
        return False
    print(
        f"{count:,} {work.names} from seed {first} in {elapsed_s:.1f} s "
        f"({count / max(elapsed_s, 1e-9):.0f}/s, {arguments.jobs} processes): {work.result}",
        flush=True,
    )
    return True


def _first_failure(seeds: range) -> str:
    """The first failing schedule, minimised and printed; empty if none fails."""
    with quiet():
        found = failing(seeds)
    if found is None:
        return ""
    schedule, error = found
    return f"{error!r}\n\nThe shortest schedule that does this:\n\n{schedule}"


def _first_failing_log(seeds: range) -> str:
    """The first log that is not folded as defined, shortened and printed; empty if there is none."""
    found = fold_logs.failing(seeds)
    return "" if found is None else f"{found[1]}\n\nThe shortest log that does this:\n\n{fold_logs.describe(found[0])}"


_SCHEDULES = _Work("schedules", 50, _first_failure, "nothing lost, nothing doubled, and work continued after each")
_FOLD_LOGS = _Work("fold logs", 1_000, _first_failing_log, "every batching and every replay gave the same bytes")


if __name__ == "__main__":
    raise SystemExit(main())
