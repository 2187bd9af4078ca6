"""Run many schedules and report: `python -m tests.simulation --schedules 2000`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.schedules import failing
from tests.simulation.world import quiet

_PER_TASK = 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=2_000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first one; the others follow")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes to spread them over")
    arguments = parser.parse_args()
    last = arguments.first + arguments.schedules
    chunks = [range(first, min(first + _PER_TASK, last)) for first in range(arguments.first, last, _PER_TASK)]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        # Load the kernel before timing anything.
        list(pool.map(_first_failure, [range(1)] * arguments.jobs))
        started_s = time.perf_counter()
        found = [failure for failure in pool.map(_first_failure, chunks) if failure]
        elapsed_s = time.perf_counter() - started_s
    if found:
        print("\n\n".join(found), file=sys.stderr)
        return 1
    print(
        f"{arguments.schedules:,} schedules from seed {arguments.first} in {elapsed_s:.1f} s "
        f"({arguments.schedules / elapsed_s:.0f}/s, {arguments.jobs} processes): nothing lost, nothing doubled, and "
        "work continued after each"
    )
    return 0


def _first_failure(seeds: range) -> str:
    """The first failing schedule, minimised and printed; empty if none fails."""
    with quiet():
        found = failing(seeds)
    if found is None:
        return ""
    schedule, error = found
    return f"{error!r}\n\nThe shortest schedule that does this:\n\n{schedule}"


if __name__ == "__main__":
    raise SystemExit(main())
