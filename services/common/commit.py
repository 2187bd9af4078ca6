"""Which commit the running code is, for figures that must say what they were measured on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_WAIT_S = 10


def commit_of_code(folder: Path = Path(__file__).parent) -> str:
    """The commit that a folder is checked out at, with `-dirty` when tracked files differ; empty outside of git."""
    git = shutil.which("git")
    if git is None:
        return ""
    arguments = [git, "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    told = subprocess.run(  # noqa: S603 - git as found on PATH, its arguments are written here.
        arguments, capture_output=True, text=True, check=False, timeout=_WAIT_S
    )
    return told.stdout.strip() if told.returncode == 0 else ""
