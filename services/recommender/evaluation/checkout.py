"""The commit that an evaluation ran at."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit_of_checkout() -> str:
    """Return the commit of the code if it runs from a checkout, else nothing."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 - any git on the PATH will do.
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return answer.stdout.strip()
