"""The commit of the running code, for measurements that state it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_WAIT_S = 10


def commit_of_code(folder: Path = Path(__file__).parent) -> str:
    """The commit that a folder is checked out at, with `-dirty` when tracked files differ; empty outside git."""
    git = shutil.which("git")
    if git is None:
        return ""
    arguments = [git, "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    described = subprocess.run(  # noqa: S603 - git as found on PATH, its arguments are written here.
        arguments, capture_output=True, text=True, check=False, timeout=_WAIT_S
    )
    return described.stdout.strip() if described.returncode == 0 else ""
