"""The progress of a load, kept in a file, so that an interrupted load can be resumed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import orjson


class ProgressUnusableError(ValueError):
    """A progress file belongs to another load; the message says what to do."""


def fingerprint_of(file: Path, settings: str) -> str:
    """Identifies a file and how it is read: by its content and the settings. A gigabyte takes a second or two.

    Args:
        file: the file of events.
        settings: format, mapping and source, as a string.
    """
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256")
    digest.update(f"\0{settings}".encode())
    return digest.hexdigest()


class LoadProgressFile:
    """The progress file of one load, written atomically."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        """Args: where the file is, and the `fingerprint_of` the file that is loaded."""
        self._path = path
        self._fingerprint = fingerprint

    def read(self) -> int:
        """How many rows, from the first on, need not be sent again; 0 when there is no file.

        Raises:
            ProgressUnusableError: when it belongs to another file, or the same file is read differently.
        """
        remedy = f"load without --resume, which starts over and counts nothing twice (or remove {self._path})"
        try:
            content = orjson.loads(self._path.read_bytes())
        except FileNotFoundError:
            return 0
        except (OSError, orjson.JSONDecodeError) as error:
            raise ProgressUnusableError(f"{self._path} cannot be read: {remedy}") from error
        if not isinstance(content, dict) or content.get("fingerprint") != self._fingerprint:
            raise ProgressUnusableError(
                f"the file, its mapping or its source has changed since {self._path} was written: {remedy}"
            )
        return int(content["settled"])

    def write(self, settled: int) -> None:
        """Store how many rows, from the first on, were all answered. Raises OSError, with the file's name."""
        temporary = self._path.with_name(self._path.name + ".new")
        try:
            temporary.write_bytes(orjson.dumps({"fingerprint": self._fingerprint, "settled": settled}))
            temporary.replace(self._path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def remove(self) -> None:
        """Remove the file, once the load is done."""
        self._path.unlink(missing_ok=True)
