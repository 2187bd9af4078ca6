"""Read the samples of every known source and compare them with what they must become: `make sources-report`."""

from __future__ import annotations

import argparse
import sys

from services.common.tables import FileUnusableError
from services.ingest.formats.sources import known_sources
from tests.sources.checks import problems_of, read_samples, report_line


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="the name of a source; all by default")
    only = parser.parse_args().only
    try:
        sources = [source for source in known_sources() if not only or source.name in only]
    except FileUnusableError as error:
        print(error)
        return 1
    print(f"{'source':<28} {'rows':>4} {'taken':>6} {'refused':>8} {'left out':>9}  evidence by skill")
    failed = 0
    for source in sources:
        try:
            reading = read_samples(source)
            print(report_line(source, reading))
            problems = list(problems_of(source, reading))
        except FileUnusableError as error:
            problems = [str(error)]
        for problem in problems:
            print(f"  {source.name}: {problem}")
        failed += bool(problems)
    print(f"sources: {len(sources)} checked, {failed} failed")
    return 1 if failed or not sources else 0


if __name__ == "__main__":
    sys.exit(main())
