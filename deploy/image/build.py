"""Builds an image per role from the Containerfile, with podman or docker.

The containers of a build have no network: the locked wheels are downloaded before, by the Python of this process.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deploy.processes import BadInputError, StackError, output_of

# The extra of `cairn` that each image installs.
ROLES: Mapping[str, str] = {
    "ingest": "ingest",
    "catalog": "catalog",
    "server": "recommender",
    "worker": "worker",
    "train": "train",
}

Report = Callable[[str], None]

_CONTAINERFILE = "deploy/image/Containerfile"
_LOCK = "requirements.lock"
_WHEELS = ".local/image/wheels"
_LAST_LINES = 15
_PACKAGES_PER_LINE = 20

# Enough for a build. Podman's own defaults are more than the root of a container may set.
_LIMITS = ("--ulimit=nofile=4096:4096", "--ulimit=nproc=8192:8192")


class ToolMissingError(BadInputError):
    """A program that building needs is not installed."""


class Engine:
    """Podman or docker, which have the same commands for what is done here."""

    def __init__(self, program: str = "") -> None:
        """Args: `program`, its name or path; empty: podman, or docker where there is none.

        Raises:
            ToolMissingError: when it is not installed.
        """
        names = [program] if program else ["podman", "docker"]
        found = next((path for path in map(shutil.which, names) if path), None)
        if found is None:
            raise ToolMissingError(f"images are built with {' or '.join(names)}, which is not on PATH: install one")
        self.program = found

    def run(self, *arguments: str, directory: Path | None = None) -> str:
        """Run one of its commands and return its output.

        Raises:
            StackError: when it fails; the message has the last lines of its output.
        """
        command, *rest = arguments
        limits = _LIMITS if command in ("build", "run") else ()
        what = f"{Path(self.program).name} {command}"
        return output_of([self.program, command, *limits, *rest], what=what, directory=directory).strip()

    def has(self, image: str) -> bool:
        """Whether an image is stored on this machine."""
        command = [self.program, "image", "inspect", image]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def size_bytes(self, image: str) -> int:
        """The size of an image with all its layers, not compressed."""
        return int(self.run("image", "inspect", "--format", "{{.Size}}", image))

    def import_base(self, archive: Path, image: str) -> None:
        """Store a root file system, a tar archive, as an image."""
        self.run("import", "--change", "ENV PATH=/usr/local/bin:/usr/bin:/bin", str(archive), image)


def project_version(checkout: Path) -> str:
    """The version of the project, which is the tag of its images."""
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def download_wheels(checkout: Path, report: Report) -> None:
    """Download every wheel that the lock names for this Python, and check its hash; nothing if they are there.

    Raises:
        StackError: when pip fails.
    """
    wheels, lock = checkout / _WHEELS, (checkout / _LOCK).read_bytes()
    done = wheels.with_name("downloaded.lock")
    if done.exists() and done.read_bytes() == lock:
        return
    report("downloading the locked wheels (about 400 MB)")
    shutil.rmtree(wheels, ignore_errors=True)
    wheels.mkdir(parents=True)
    pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--progress-bar", "off"]
    what = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", _LOCK, "-d", str(wheels)]
    with subprocess.Popen(
        [*pip, *what], cwd=checkout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        assert child.stdout is not None  # noqa: S101 - it is a pipe.
        lines, seen = [], 0
        for line in child.stdout:
            lines.append(line.rstrip())
            if line.startswith("Collecting"):
                seen += 1
                if seen % _PACKAGES_PER_LINE == 0:
                    report(f"  {seen} packages")
    if child.returncode:
        raise StackError("\n".join(["pip download failed:", *lines[-_LAST_LINES:]]))
    done.write_bytes(lock)


def check_python(engine: Engine, base: str) -> None:
    """Check that a base image has the Python for which wheels are downloaded here.

    Raises:
        BadInputError: when it has another.
    """
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    theirs = engine.run("run", "--rm", "--network", "none", base, "python3", "-c", program)
    if theirs != ours:
        raise BadInputError(
            f"the base image {base} has Python {theirs}, and .venv has {ours}: name a base with Python {ours}, or "
            f"make .venv again with `make setup PYTHON=python{theirs}`"
        )


def build_image(engine: Engine, checkout: Path, role: str, base: str, tag: str) -> str:
    """Build the image of a role and return its name.

    Raises:
        StackError: when the build fails.
    """
    image = f"cairn-{role}:{tag}"
    arguments = {
        "BASE": base,
        "EXTRA": ROLES[role],
        "PIP_NO_INDEX": "1",
        "VERSION": project_version(checkout),
        "REVISION": _revision(checkout),
    }
    values = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
    options = ["--network", "none", "--file", _CONTAINERFILE, "--target", role, "--tag", image]
    engine.run("build", *options, *values, ".", directory=checkout)
    return image


def _revision(checkout: Path) -> str:
    command: Sequence[str] = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--match="]
    try:
        done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"
