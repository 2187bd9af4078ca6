"""`python -m tests.kubernetes`: install the chart on a real Kubernetes of one node, and check it there."""

from __future__ import annotations

import sys
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
    within: Annotated[int | None, typer.Option(help="Skip where it would take more minutes.")] = None,
) -> None:
    """Run the checks; exits with 1 when one failed."""
    for name in only or ():
        if name not in CHECKS:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(CHECKS)}", param_hint="--only")
    if missing := [*programs.missing_tools(), *images.missing_tools(), *kafka.missing_tools()]:
        tell(f"skipped: test-k8s needs these, which are missing: {', '.join(missing)}")
        return
    needed = _CHECKS_MINUTES + (0 if programs.are_built() else _BUILD_MINUTES)
    if within is not None and within < needed:
        tell(f"skipped: test-k8s takes about {needed} minutes here, and {within} are left")
        return
    stop_on_signals()
    try:
        code = _run(only or list(CHECKS))
    except StopRequestedError as stopped:
        raise typer.Exit(_SIGNALLED + stopped.number) from stopped
    except StackError as error:
        tell(f"test-k8s stopped: {error}")
        raise typer.Exit(error.exit_code) from error
    raise typer.Exit(code)


def _run(names: list[str]) -> int:
    programs.build(tell)
    kafka.kafka_libraries(KAFKA_LIBRARIES)
    with isolation.state_directory() as directory:
        images.archive(directory / "images.tar")
        return isolation.run([sys.executable, "-m", "tests.kubernetes.inside", str(directory), *names], directory)


if __name__ == "__main__":
    app()
