"""`python -m tests.kubernetes`: install the chart on a real Kubernetes of one node, and check it there."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from deploy.kafka.cluster import kafka_libraries, missing_tools
from deploy.kubernetes import isolation, programs
from deploy.local.stack import KAFKA_LIBRARIES
from deploy.local.stop_signals import StopRequestedError, stop_on_signals
from tests.kubernetes.inside import CHECKS
from tests.kubernetes.results import tell

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    only: Annotated[list[str] | None, typer.Option(help="Run only this check; repeat for several.")] = None,
) -> None:
    """Run the checks; exits with 1 when one failed."""
    names = only or list(CHECKS)
    for name in names:
        if name not in CHECKS:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(CHECKS)}", param_hint="--only")
    if missing := [*programs.missing_tools(), *missing_tools()]:
        tell(f"skipped: test-k8s needs these, which are missing: {', '.join(missing)}")
        return
    stop_on_signals()
    try:
        programs.build(tell)
        kafka_libraries(KAFKA_LIBRARIES)
        with isolation.state_directory() as directory:
            words = [sys.executable, "-m", "tests.kubernetes.inside", str(directory), *names]
            code = isolation.run(words, directory)
    except StopRequestedError as stopped:
        code = 128 + stopped.number
    raise typer.Exit(code)


if __name__ == "__main__":
    app()
