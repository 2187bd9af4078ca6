"""Many schedules, and the figure: `python -m tests.simulation --schedules 2000`."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.schedules import failing
from tests.simulation.world import quiet


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=2_000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first one; the others follow")
    arguments = parser.parse_args()
    with quiet():
        # The kernel is loaded before anything is timed.
        failing(range(1))
        started_s = time.perf_counter()
        found = failing(range(arguments.first, arguments.first + arguments.schedules))
        elapsed_s = time.perf_counter() - started_s
    if found is not None:
        schedule, error = found
        print(f"{error!r}\n\nThe shortest schedule that does this:\n\n{schedule}", file=sys.stderr)
        return 1
    rate = arguments.schedules / elapsed_s
    print(
        f"{arguments.schedules:,} schedules from seed {arguments.first} in {elapsed_s:.1f} s ({rate:.0f}/s): "
        "nothing lost, nothing doubled, work went on after each"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
