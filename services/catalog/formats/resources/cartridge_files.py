"""The files of a cartridge: a zip file, or a folder that one was unpacked into. Nothing is written anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from services.catalog.formats.jsonl import FileUnreadableError
from services.common.tables.lines import FileUnusableError
from services.common.tables.sources import members_of, opened_zip
from services.common.xml_documents import XmlUnusableError, root_of

MANIFEST = "imsmanifest.xml"

_ZIP_MAGIC = b"PK"
# The manifest of a large course has some megabytes; parsed, XML takes up to 25 times its size.
_BYTES_MAX = 16 << 20
# Of all files that are parsed: more than the largest courses have, and some minutes of work.
_TOTAL_BYTES_MAX = 256 << 20


class MemberUnusableError(ValueError):
    """A file of a cartridge cannot be used; the message says why and what to do."""


class CartridgeFiles:
    """Reads the files of a cartridge as XML."""

    def __init__(self, path: Path, opened: ExitStack) -> None:
        self._path = path
        self._opened = opened
        self._read: Callable[[str, int], bytes] | None = None
        self._total_bytes = 0
        self._zipped = path.is_file() and _begin(path).startswith(_ZIP_MAGIC)
        # Many zip a course together with its folder.
        self._folder = _folder_of_manifest(path) if self._zipped else ""

    def manifest(self) -> Element:
        """The root of the manifest; of a file that is no zip file, its own root.

        Raises:
            MemberUnusableError: when there is none, or it is no XML.
        """
        if self._zipped or self._path.is_dir():
            return self.root_of(MANIFEST)
        return self._parsed(_bounded(self._path), str(self._path))

    def root_of(self, name: str) -> Element:
        """The root of a file.

        Args:
            name: as a manifest names it: a path within the cartridge, percent-encoded.

        Raises:
            MemberUnusableError: when there is none, it is no XML, or its path leaves the cartridge.
        """
        path = PurePosixPath(unquote(name).replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise MemberUnusableError(f"{name!r} is a path out of the cartridge; correct it")
        if self._total_bytes >= _TOTAL_BYTES_MAX:
            most = f"{_TOTAL_BYTES_MAX >> 20} MiB"
            raise MemberUnusableError(f"{name!r} comes after {most} of other files; split the cartridge")
        return self._parsed(self._bytes_of(str(path)), str(path))

    def _parsed(self, raw: bytes, name: str) -> Element:
        self._total_bytes += len(raw)
        if len(raw) > _BYTES_MAX:
            raise MemberUnusableError(
                f"{name!r} has more than {_BYTES_MAX >> 20} MiB; no file of a cartridge needs them"
            )
        try:
            return root_of([raw])
        except XmlUnusableError as error:
            raise MemberUnusableError(f"{name!r} {error}") from error

    def _bytes_of(self, name: str) -> bytes:
        if not self._zipped:
            folder = self._path if self._path.is_dir() else self._path.parent
            file = (folder / name).resolve()
            if not file.is_relative_to(folder.resolve()):
                raise MemberUnusableError(f"{name!r} is a link out of the cartridge; put the file there")
            return _bounded(file, name)
        try:
            if self._read is None:
                self._read = self._opened.enter_context(opened_zip(self._path))
            return self._read(self._folder + name, _BYTES_MAX + 1)
        except FileUnusableError as error:
            raise MemberUnusableError(str(error)) from error


@contextmanager
def opened_cartridge(path: Path) -> Iterator[CartridgeFiles]:
    """The files of a cartridge; a zip file stays open meanwhile."""
    with ExitStack() as opened:
        yield CartridgeFiles(path, opened)


def _folder_of_manifest(path: Path) -> str:
    """The one folder of a zip file that has the manifest, with a slash; empty: its root has it, or none or several."""
    try:
        names = members_of(path)
    except FileUnusableError:
        # Reading the manifest says why.
        return ""
    found = [name for name in names if name == MANIFEST or name.endswith(f"/{MANIFEST}")]
    return found[0].removesuffix(MANIFEST) if len(found) == 1 else ""


def _begin(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(len(_ZIP_MAGIC))
    except OSError as error:
        raise FileUnreadableError(f"{path} cannot be read ({error.strerror}); name a file you may read") from error


def _bounded(path: Path, name: str = "") -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        raise MemberUnusableError(f"{name or str(path)!r} cannot be read ({error}); add it to the cartridge") from error
