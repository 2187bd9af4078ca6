"""Reading settings from the environment, and saying which of them are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, ValidationError

OptionalPath = Annotated[Path | None, BeforeValidator(lambda value: None if value == "" else value)]
"""A path; a variable that is empty, as templates leave behind, is not set, rather than the current folder."""


def wrong_settings(error: ValidationError) -> str:
    """What is wrong with settings, in one line: each variable with its value and the reason."""
    return "; ".join(
        f"CAIRN_{'_'.join(map(str, entry['loc'])).upper()}={entry['input']!r}: {entry['msg']}"
        # What concerns several settings names them itself.
        if entry["loc"]
        else entry["msg"].removeprefix("Value error, ")
        for entry in error.errors(include_url=False)
    )
