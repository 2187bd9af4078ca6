"""The files of one bundle. Each is verified against the manifest when it is read."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping

import numpy as np
import orjson
from numpy.typing import NDArray

from services.recommender.adapters.files.bundle_manifest import MANIFEST, StoredFile, unreadable


class BundleFiles:
    """Reads the files of a bundle. Every read may raise BundleUnreadableError, naming the file."""

    def __init__(self, bundle_id: str, files: Mapping[str, StoredFile], read: Callable[[str], bytes]) -> None:
        """Args: the bundle's id, its files as listed in the manifest, and a function that reads a file by name."""
        self.bundle_id = bundle_id
        self._files = files
        self._read = read

    def ids(self, file_name: str) -> tuple[str, ...]:
        """A list of distinct ids."""
        try:
            values = orjson.loads(self._verified(file_name))
        except orjson.JSONDecodeError as error:
            raise unreadable(self.bundle_id, file_name, f"it is not JSON: {error}") from error
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise unreadable(self.bundle_id, file_name, "it is not a list of ids")
        if len(set(values)) != len(values):
            raise unreadable(self.bundle_id, file_name, "its ids are not distinct")
        return tuple(values)

    def array(self, file_name: str) -> NDArray[np.float32]:
        """A float32 array of finite numbers."""
        try:
            values = np.load(io.BytesIO(self._verified(file_name)), allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise unreadable(self.bundle_id, file_name, f"it is not a plain .npy array: {error}") from error
        if not isinstance(values, np.ndarray) or values.dtype != np.float32 or not np.isfinite(values).all():
            raise unreadable(self.bundle_id, file_name, "it is not an array of finite float32 numbers")
        return values

    def table(self, file_name: str, *, rows: int, columns: int) -> list[list[float]]:
        """A float32 array of the given shape, as Python numbers."""
        values = self.array(file_name)
        if values.shape != (rows, columns):
            raise unreadable(
                self.bundle_id, file_name, f"it has shape {values.shape}, its ids call for ({rows}, {columns})"
            )
        numbers: list[list[float]] = values.tolist()
        return numbers

    def _verified(self, file_name: str) -> bytes:
        expected = self._files.get(file_name)
        if expected is None:
            raise unreadable(self.bundle_id, MANIFEST, f"it does not list {file_name}")
        payload = self._read(file_name)
        if len(payload) != expected.size:
            raise unreadable(self.bundle_id, file_name, f"it has {len(payload)} bytes, {expected.size} were written")
        if hashlib.sha256(payload).hexdigest() != expected.sha256:
            raise unreadable(self.bundle_id, file_name, "its SHA-256 is not the one in the manifest")
        return payload
