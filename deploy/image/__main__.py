"""`python -m deploy.image`: build the container images (`make image`)."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from deploy.image.build import ROLES, Engine, build_image, check_python, download_wheels, project_version
from deploy.image.debian import debian_base
from deploy.processes import BadInputError, StackError

_DEBIAN = "debian"

app = typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False)


@app.command(epilog="Example: python -m deploy.image worker --base docker.io/library/python:3.11-slim-bookworm")
def build(
    roles: Annotated[list[str] | None, typer.Argument(help=f"Which of {', '.join(ROLES)}; none: all.")] = None,
    *,
    base: Annotated[
        str, typer.Option(help=f"An image with Python 3.11 or 3.12, or `{_DEBIAN}`: one made of Debian packages.")
    ] = _DEBIAN,
    tag: Annotated[str, typer.Option(help="The tag of the images; by default the project's version.")] = "",
    engine: Annotated[str, typer.Option(help="podman or docker; by default the first that is installed.")] = "",
) -> None:
    """Build the image of every role, and print each one's size."""
    try:
        _build(roles or list(ROLES), base, tag, engine)
    except StackError as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(error.exit_code) from error


def _build(roles: list[str], base: str, tag: str, engine_name: str) -> None:
    started = time.monotonic()
    checkout = Path.cwd()
    unknown = [role for role in roles if role not in ROLES]
    if unknown:
        raise BadInputError(f"there is no role {unknown[0]!r}: choose from {', '.join(ROLES)}")

    def report(line: str) -> None:
        print(f"[{time.monotonic() - started:4.0f} s] {line}", flush=True)

    engine = Engine(engine_name)
    image = debian_base(engine, report) if base == _DEBIAN else base
    check_python(engine, image)
    download_wheels(checkout, report)
    built = []
    for number, role in enumerate(roles, 1):
        report(f"building cairn-{role} ({number} of {len(roles)})")
        built.append(build_image(engine, checkout, role, image, tag or project_version(checkout)))
    report("done")
    for name in built:
        print(f"{name:24} {engine.size_bytes(name) / 1e6:6.0f} MB")


if __name__ == "__main__":
    app()
