"""The error of a program that needs an extra of `cairn` that is not installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

_OURS = ("services", "cairn")
_CANNOT_START = 2


def end_without_extra(error: ModuleNotFoundError, extra: str, program: str) -> NoReturn:
    """End the process with exit code 2 and the extra to install.

    Args:
        error: the import that failed; raised again if the missing module is one of ours.
        extra: the extra of the distribution `cairn` that installs every library the program can use.
        program: the command that the user ran, for example `cairn train`.
    """
    library = str(error.name).partition(".")[0]
    if library in _OURS:
        raise error
    sys.stderr.write(f'{program} needs {library}, which is not installed: pip install "cairn[{extra}]"\n')
    raise SystemExit(_CANNOT_START) from error


@contextmanager
def extra_required(extra: str, program: str) -> Iterator[None]:
    """End the process like `end_without_extra` when an import inside the block fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        end_without_extra(error, extra, program)
