"""Start Cairn and run a checkout of ADL's conformance suite against it: `make conformance SUITE=DIR`.

Without a checkout, the project's own contract tests of the same requirements run. The checkout is that of
adlnet/lrs-conformance-test-suite after `npm install --ignore-scripts`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.local.stack import SERVICES, Stack, StackOptions
from tests.conformance.results import Results, results_of, scope_of

OWN_TESTS = ("tests/component/test_ingest_http_xapi.py", "tests/unit/test_ingest_xapi_statements.py")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", type=Path, help="a checkout of the suite; without it, the project's own tests")
    parser.add_argument("--version", default="1.0.3", help="of the specification: 1.0.3 or 2.0.0")
    parser.add_argument("--only", default="", help="run only tests whose name matches")
    parser.add_argument("--verbose", action="store_true", help="also show what is out of scope, and the suite's log")
    arguments = parser.parse_args()
    if arguments.suite is None:
        print("no SUITE was given: running the project's own tests of the same requirements")
        return subprocess.run([sys.executable, "-m", "pytest", "-q", "-n0", *OWN_TESTS], check=False).returncode
    runner = arguments.suite / "bin" / "console_runner.js"
    if not runner.is_file() or not (arguments.suite / "node_modules").is_dir():
        print(
            f"{arguments.suite} is no installed checkout of adlnet/lrs-conformance-test-suite: clone it, and run "
            "`npm install --ignore-scripts` in it"
        )
        return 1
    results = run(arguments.suite.resolve(), arguments.version, arguments.only, verbose=arguments.verbose)
    return report(results, verbose=arguments.verbose)


def run(suite: Path, version: str, only: str, *, verbose: bool) -> Results:
    """What the suite says of an ingest service that is started for it."""
    ingest = [service for service in SERVICES if service.name == "ingest"]
    with (
        tempfile.TemporaryDirectory() as directory,
        Stack(StackOptions(Path(directory), services=ingest), lambda _: None) as stack,
    ):
        environment = stack.environment
        command = ["node", "bin/console_runner.js", "-e", f"http://{environment['CAIRN_TARGET_INGEST_HTTP']}/xAPI"]
        command += ["-a", "-u", "cairn", "-p", stack.api_key, "-x", version]
        command += ["-g", only] if only else []
        output = None if verbose else subprocess.DEVNULL
        before = set((suite / "logs").glob("*.log"))
        subprocess.run(command, cwd=suite, check=False, stdout=output, stderr=output)
        (log,) = set((suite / "logs").glob("*.log")) - before
    return results_of(log)


def report(results: Results, *, verbose: bool) -> int:
    """Print the results, and say whether a requirement of Cairn's scope failed."""
    failed, outside = [], []
    for title, error in results.failed:
        reason = scope_of(title)
        (outside if reason else failed).append((title, reason or error))
    for title, reason in outside if verbose else ():
        print(f"out of scope: {title}\n    {reason}")
    for title, error in failed:
        print(f"failed: {title}\n    {error}")
    print(f"conformance: {results.passed} passed, {len(outside)} out of scope, {len(failed)} failed")
    return 1 if failed or not results.passed else 0


if __name__ == "__main__":
    sys.exit(main())
