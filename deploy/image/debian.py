"""A base image made of Debian packages alone: Python, its libraries, a shell, and the certificates of authorities.

It needs no registry, and holds about half of what `python:3.11-slim` does.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deploy.image.build import Engine, Report, ToolMissingError
from deploy.processes import output_of

_SUITE = "bookworm"
_PACKAGES = (
    "base-files",
    "ca-certificates",
    "coreutils",
    "dash",
    "findutils",
    "libgomp1",
    "libstdc++6",
    "media-types",
    "python3.11",
    # With ensurepip, by which the stage that installs gets its pip.
    "python3.11-venv",
)
# Packages are only extracted. What their scripts would do, as far as it matters here:
_HOOKS = (
    'cd "$1" && find usr/share/ca-certificates -name "*.crt" -exec cat {} + > etc/ssl/certs/ca-certificates.crt',
    'cd "$1" && echo root:x:0:0:root:/root:/bin/sh > etc/passwd && echo root:x:0: > etc/group',
    # What is in the image, where scanners look for it: dpkg's own database stays empty.
    'mkdir "$1/var/lib/dpkg/status.d"',
    'cd "$1/var/cache/apt/archives" && for deb in *.deb; do dpkg-deb -f $deb > ../../../lib/dpkg/status.d/$deb; done',
    'cd "$1" && rm -rf usr/share/doc usr/share/info usr/share/locale usr/share/man usr/lib/*/gconv',
)
_MERGED_USR = "/usr/share/mmdebstrap/hooks/merged-usr"


def debian_base(engine: Engine, report: Report) -> str:
    """Return the name of the base image, which is made if it is not stored yet.

    Raises:
        ToolMissingError: when mmdebstrap is not installed.
        StackError: when it fails.
    """
    fingerprint = hashlib.sha256(repr((_SUITE, _PACKAGES, _HOOKS)).encode()).hexdigest()[:12]
    image = f"localhost/cairn-base:{_SUITE}-{fingerprint}"
    if engine.has(image):
        return image
    if shutil.which("mmdebstrap") is None:
        raise ToolMissingError(
            "a base image is made of Debian packages with mmdebstrap, which is not on PATH: install it, or name an "
            "image with Python: make image BASE=docker.io/library/python:3.11-slim-bookworm"
        )
    report("making a base image of Debian packages (one to five minutes)")
    with tempfile.TemporaryDirectory(prefix="cairn-base-") as directory:
        archive = Path(directory) / "base.tar"
        write_packages(archive, _PACKAGES, _HOOKS)
        engine.import_base(archive, image)
    return image


def write_packages(archive: Path, packages: Sequence[str], hooks: Sequence[str] = ()) -> None:
    """Write Debian packages, and what they need, as a root file system to a tar archive.

    Args:
        archive: the file to write.
        packages: their names. They are extracted only.
        hooks: shell commands that change the files; `$1` is their folder.

    Raises:
        StackError: when it fails.
    """
    include = f"--include={','.join(packages)}"
    changes = [f"--extract-hook={hook}" for hook in hooks]
    command = ["mmdebstrap", "--variant=extract", include, f"--hook-dir={_MERGED_USR}", *changes, _SUITE, str(archive)]
    output_of(command, what="mmdebstrap")
