"""How commands fail: with an exit code and a message on standard error."""

from __future__ import annotations

from typing import NoReturn

import typer

FAILED = 1
BAD_INPUT = 2


def fail(message: str, code: int) -> NoReturn:
    """End the command with a message on standard error and an exit code."""
    typer.echo(message, err=True)
    raise typer.Exit(code)
