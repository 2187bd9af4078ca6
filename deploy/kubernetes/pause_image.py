"""The image that holds the namespaces of a pod: one program that waits."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

_MODE = 0o755
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write(program: Path, archive: Path, name: str, machine: str) -> None:
    """Write the image to an archive, in the format of `docker save`.

    Args:
        program: what runs in the image, linked statically.
        archive: the file to write.
        name: the image's name and tag.
        machine: what the program runs on, as `platform.machine()` names it.
    """
    layer = _tar({f"{program.name}": program.read_bytes()})
    config = json.dumps(
        {
            "architecture": _ARCHITECTURES.get(machine, machine),
            "os": "linux",
            "config": {"Entrypoint": [f"/{program.name}"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    archive.write_bytes(_tar({"manifest.json": manifest, "config.json": config, "layer.tar": layer}))


def _tar(files: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with tarfile.TarFile(fileobj=written, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), _MODE
            archive.addfile(member, io.BytesIO(content))
    return written.getvalue()
