"""`python -m tests.kubernetes`: install the chart on a real Kubernetes of one node, and check it there."""

from __future__ import annotations

import math
import sys
import time
from typing import Annotated

import typer

from deploy.kafka import cluster as kafka
from deploy.kubernetes import isolation, programs
from deploy.local.stack import KAFKA_LIBRARIES
from deploy.local.stop_signals import StopRequestedError, stop_on_signals
from deploy.processes import StackError
from tests.kubernetes import images
from tests.kubernetes.inside import CHECKS
from tests.kubernetes.results import tell

_SIGNALLED = 128
# On two cores that do nothing else.
_CHECKS_MINUTES = 20
_BUILD_MINUTES = 10

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    only: Annotated[list[str] | None, typer.Option(help="Run only this check; repeat for several.")] = None,
    within: Annotated[
        float, typer.Option(help="Skip where it would take more minutes, and begin no check after them.")
    ] = math.inf,
) -> None:
    """Run the checks; exits with 1 when one failed."""
    for name in only or ():
        if name not in CHECKS:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(CHECKS)}", param_hint="--only")
    if missing := [*programs.missing_tools(), *images.missing_tools(), *kafka.missing_tools()]:
        tell(f"skipped: test-k8s needs these, which are missing: {', '.join(missing)}")
        return
    needed = _CHECKS_MINUTES + (0 if programs.are_built() else _BUILD_MINUTES)
    if within < needed:
        tell(f"skipped: test-k8s takes about {needed} minutes here, and {within:g} are left")
        return
    stop_on_signals()
    try:
        code = _run(only or list(CHECKS), within)
    except StopRequestedError as stopped:
        raise typer.Exit(_SIGNALLED + stopped.number) from stopped
    except StackError as error:
        tell(f"test-k8s stopped: {error}")
        raise typer.Exit(error.exit_code) from error
    raise typer.Exit(code)


def _run(names: list[str], within: float) -> int:
    begun_s = time.monotonic()
    programs.build(tell)
    kafka.kafka_libraries(KAFKA_LIBRARIES)
    with isolation.state_directory() as directory:
        images.archive(directory / "images.tar")
        left = within - (time.monotonic() - begun_s) / 60
        if left < _CHECKS_MINUTES:
            tell(f"skipped: the checks of test-k8s take about {_CHECKS_MINUTES} minutes, and {left:.0f} are left now")
            return 0
        inside = [sys.executable, "-m", "tests.kubernetes.inside", str(directory), str(60 * left)]
        return isolation.run([*inside, *names], directory)


if __name__ == "__main__":
    app()
