"""Prometheus's promtool: the one on PATH, or the one in Debian's package, unpacked into the cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cairn" / "promtool"
_DOWNLOAD_S = 120.0


@cache
def promtool() -> str | None:
    """Its path; None when there is none and none can be had."""
    cached = _CACHE / "usr" / "bin" / "promtool"
    if found := shutil.which("promtool"):
        return found
    if not cached.exists() and shutil.which("apt-get") and shutil.which("dpkg-deb"):
        _unpack_debian_package()
    return str(cached) if cached.exists() else None


def _unpack_debian_package() -> None:
    """Nothing is installed, and no service starts; it needs no rights."""
    _CACHE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE.parent) as folder:
        fetched = subprocess.run(
            ["apt-get", "download", "prometheus"], cwd=folder, capture_output=True, timeout=_DOWNLOAD_S, check=False
        )
        packages = list(Path(folder).glob("*.deb"))
        if fetched.returncode or not packages:
            return
        unpacked = Path(folder) / "unpacked"
        subprocess.run(["dpkg-deb", "--extract", packages[0], unpacked], check=True)
        if not _CACHE.exists():
            unpacked.rename(_CACHE)
