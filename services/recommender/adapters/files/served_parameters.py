"""The parameters last served, in a file next to the bundles: `<url>/served.json`."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import fsspec
import orjson

from services.recommender.adapters.files.bundle_store import BundlesUrlInvalidError
from services.recommender.application.ports.served_parameters import ServedParameters, ServedParametersUnknownError

_NAME = "served.json"


class ServedParametersFile:
    """Implements ServedParametersMemory."""

    def __init__(self, url: str) -> None:
        """Args: `url` of the bundle store.

        Raises:
            BundlesUrlInvalidError: when fsspec does not know the URL.
        """
        try:
            self._files, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise BundlesUrlInvalidError(f"the URL of bundles {url!r} cannot be used: {error}") from error
        self._folder = root.rstrip("/")
        self._path = f"{self._folder}/{_NAME}"

    async def read(self) -> ServedParameters | None:
        """See the port."""
        return await asyncio.to_thread(self._read)

    async def write(self, served: ServedParameters) -> None:
        """See the port."""
        await asyncio.to_thread(self._write, served)

    def _read(self) -> ServedParameters | None:
        try:
            self._files.invalidate_cache()
            return ServedParameters(**orjson.loads(self._files.cat_file(self._path)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise ServedParametersUnknownError(
                f"{self._path} says which parameters were served, and cannot be read: {error}. Restore it; or, to "
                "begin with the priors, delete it"
            ) from error

    def _write(self, served: ServedParameters) -> None:
        self._files.makedirs(self._folder, exist_ok=True)
        temporary = f"{self._folder}/.{_NAME}"
        self._files.pipe_file(temporary, orjson.dumps(asdict(served), option=orjson.OPT_APPEND_NEWLINE))
        self._files.mv(temporary, self._path)
