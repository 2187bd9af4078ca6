"""Read payloads of public formats and compare them with what the specifications say: `make formats-report`."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from tests.formats.checks import FIXTURES, FolderReport, all_expectations, report_of

_SHOWN = 8


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="the name of a folder; all by default")
    parser.add_argument("--reasons", action="store_true", help="also show why things are ignored")
    arguments = parser.parse_args()
    if not FIXTURES.is_dir():
        print(f"skipped: there are no payloads in {FIXTURES}; CAIRN_FIXTURES names another folder")
        return 0
    print(f"{'folder':<28} {'reader':<12} {'files':>5} {'taken':>6} {'ignored':>8} {'rejected':>9} {'failed':>7}")
    checked = failed = 0
    for expectations in all_expectations():
        if arguments.only and expectations.folder not in arguments.only:
            continue
        report = report_of(expectations)
        _print(report, reasons=arguments.reasons)
        checked += report.checked
        failed += len(report.problems)
    print(f"formats: {checked} checked, {failed} failed")
    return 1 if failed or not checked else 0


def _print(report: FolderReport, *, reasons: bool) -> None:
    readings = report.readings.values()
    taken, rejected = sum(len(r.taken) for r in readings), [fields for r in readings for fields in r.rejected]
    ignored = sum((r.ignored for r in readings), Counter())
    print(
        f"{report.expectations.folder:<28} {report.expectations.reader:<12} {report.checked:>5} {taken:>6} "
        f"{ignored.total():>8} {len(rejected):>9} {len(report.problems):>7}"
    )
    names = Counter(fields[0] or "(the document)" for fields in rejected if fields)
    if names:
        print("  rejected for", ", ".join(f"{name} {count}" for name, count in names.most_common(_SHOWN)))
    if reasons:
        for reason, count in ignored.most_common():
            print(f"  ignored {count}: {reason}")
    for path, problems in report.problems.items():
        for problem in problems:
            print(f"  {path}: {problem}")


if __name__ == "__main__":
    sys.exit(main())
