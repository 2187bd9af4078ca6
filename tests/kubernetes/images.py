"""The images of this checkout, as one archive."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from deploy.image.build import Engine
from deploy.processes import StackError

# Not the version's: `make image` keeps what it built.
TAG = "test-k8s"

_ROLES = ("ingest", "catalog", "server", "worker")
_TOOLS = ("podman", "mmdebstrap")


def missing_tools() -> list[str]:
    """The Debian packages that this machine lacks to build images."""
    return [name for name in _TOOLS if shutil.which(name) is None]


def archive(file: Path) -> None:
    """Build the images, which takes minutes the first time, and write them to a file.

    Raises:
        StackError: when a build fails; it has said why.
    """
    built = subprocess.run(
        [sys.executable, "-m", "deploy.image", *_ROLES, "--tag", TAG, "--engine", "podman"], check=False
    )
    if built.returncode:
        raise StackError("the images could not be built")
    names = [f"localhost/cairn-{role}:{TAG}" for role in _ROLES]
    # Layers that images share are written once.
    Engine("podman").run("save", "--multi-image-archive", "--output", str(file), *names)
