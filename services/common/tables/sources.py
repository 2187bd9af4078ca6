"""The bytes of a table: those of a file, compressed or not, or of a member of a zip file."""

from __future__ import annotations

import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import IO

from services.common.tables.lines import FileUnusableError, opened

# Reading compressed bytes raises these, or OSError.
DAMAGE = (EOFError, zlib.error, zipfile.BadZipFile)
# Opening a zip file raises these, or OSError.
_DAMAGED_ZIP = (*DAMAGE, RuntimeError, ValueError, struct.error)

_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
_GZIP_MAGIC = b"\x1f\x8b"
_OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_PARQUET_MAGIC = b"PAR1"
_WEB_PAGES = (b"<!doctype html", b"<html", b"<?xml")
_BEGIN_BYTES = 64
_WORKBOOK_PARTS = {"xl/workbook.xml", "xl/workbook.bin", "content.xml"}
_ZIPPED_WORKBOOKS = {".xlsx", ".xlsm", ".xlsb", ".ods"}
_READ_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED = 1

# zipfile reads a whole directory into memory: an entry has at least 46 bytes there, and then about 700.
_DIRECTORY_BYTES_MAX = 4 << 20
_DIRECTORY_END = struct.Struct("<4s4H2LH")
_COMMENT_BYTES_MAX = 1 << 16
# Tables compress to a tenth, repetitive ones to a hundredth.
_RATIO_MAX = 200
_UNSUSPICIOUS_BYTES = 100 << 20
_COPIED_BYTES_MAX = 256 << 20
_PIECE_BYTES = 1 << 20


class FileKind(StrEnum):
    """What a file is, by its first bytes."""

    TEXT = "text"
    PARQUET = "Parquet"
    WORKBOOK = "a workbook"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the bytes of a table are.

    Attributes:
        path: the file.
        member: which file inside it, if it is a zip file; None: it holds the table itself.
    """

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        """Its name in messages."""
        return f"{self.member} in {self.path}" if self.member else str(self.path)

    @property
    def suffix(self) -> str:
        """The end of its name, in lower case, without that of a compression."""
        name = PurePosixPath((self.member or self.path.name).lower())
        return PurePosixPath(name.stem).suffix if name.suffix == ".gz" else name.suffix

    def kind(self) -> FileKind:
        """What it is.

        Raises:
            FileUnusableError: when it cannot be read, or is no table for certain.
        """
        begin = self.begin(_BEGIN_BYTES)
        if begin.startswith(_PARQUET_MAGIC):
            return FileKind.PARQUET
        if self.suffix == ".parquet":
            raise FileUnusableError(f"{self} cannot be read as Parquet: it does not start like it; export it again")
        if begin.startswith(_OLE_MAGIC):
            return FileKind.WORKBOOK
        if begin.startswith(_ZIP_MAGICS):
            if self.member is not None and self.suffix not in _ZIPPED_WORKBOOKS:
                raise FileUnusableError(f"{self} is a zip file inside another: unpack the outer one")
            return FileKind.WORKBOOK
        if self.suffix in _ZIPPED_WORKBOOKS:
            raise FileUnusableError(f"{self} is no workbook, though its name says so: save it again, or as CSV")
        if begin.startswith(_GZIP_MAGIC):
            raise FileUnusableError(f"{self} is compressed twice: decompress it once before loading it")
        if begin.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_WEB_PAGES):
            raise FileUnusableError(f"{self} is a web page or XML, no table: open it in a spreadsheet, save it as CSV")
        return FileKind.TEXT

    def begin(self, size: int) -> bytes:
        """Its first bytes.

        Args:
            size: how many.

        Raises:
            FileUnusableError: when they cannot be read.
        """
        with self.opened() as (_, content), self.reading():
            return content.read(size)

    @contextmanager
    def opened(self) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
        """The file as stored and the table's bytes, decompressed; the same object if they are not compressed.

        Raises:
            FileUnusableError: when it cannot be opened.
        """
        with ExitStack() as files:
            with self.reading():
                if self.member is None:
                    stored, content = files.enter_context(opened(self.path))
                else:
                    stored = files.enter_context(self.path.open("rb"))
                    content = files.enter_context(_opened_member(self, files.enter_context(_zip_of(self, stored))))
            yield stored, content

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turns errors of reading inside the block into FileUnusableError."""
        try:
            yield
        except DAMAGE as error:
            raise FileUnusableError(f"{self} is damaged ({error}): fetch it again") from error
        except OSError as error:
            raise FileUnusableError(f"{self} cannot be read: {error.strerror or error}") from error

    @contextmanager
    def as_file(self) -> Iterator[Path]:
        """A file with the table's bytes: itself, or a copy that is removed afterwards.

        Raises:
            FileUnusableError: when it cannot be opened, or is too large for a copy.
        """
        with self.opened() as (stored, content):
            if content is stored:
                yield self.path
                return
            with tempfile.NamedTemporaryFile(prefix="cairn-") as copy:
                with self.reading():
                    while piece := content.read(_PIECE_BYTES):
                        copy.write(piece)
                        if copy.tell() > _COPIED_BYTES_MAX:
                            size = f"{_COPIED_BYTES_MAX >> 20} MiB"
                            raise FileUnusableError(f"{self} has more than {size}: decompress it before loading it")
                    copy.flush()
                yield Path(copy.name)


def members_of(path: Path) -> tuple[str, ...]:
    """The names of the files inside a zip file, which may each be a table; none if it is a workbook or no zip file.

    Raises:
        FileUnusableError: when the file cannot be read.
    """
    if not Source(path).begin(4).startswith(_ZIP_MAGICS):
        return ()
    with Source(path).reading(), path.open("rb") as stored, _zip_of(Source(path), stored) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
    if _WORKBOOK_PARTS & {*names}:
        return ()
    # What macOS adds to a zip file.
    return tuple(name for name in names if not name.startswith("__MACOSX/") and not name.endswith(".DS_Store"))


def source_of(path: Path, member: str | None) -> Source:
    """The source of the table in a file.

    Args:
        path: the file.
        member: as of `Layout`.

    Raises:
        FileUnusableError: when the file cannot be read, or has no such member, or several and none is named.
    """
    members = members_of(path)
    if not members:
        if Source(path).begin(4).startswith(_ZIP_MAGICS[1]):
            raise FileUnusableError(f"{path} is an empty zip file: it needs a table inside")
        if member is not None:
            raise FileUnusableError(f"member is {member!r}, but {path} is not a zip file of tables: remove member")
        return Source(path)
    shown = ", ".join(members[:30]) + (f" and {len(members) - 30} more" if len(members) > 30 else "")
    if member is None:
        if len(members) > 1:
            raise FileUnusableError(f"{path} holds {len(members)} files: set member to one of {shown}")
        return Source(path, members[0])
    if member not in members:
        raise FileUnusableError(f"{path} has no member {member!r}: set member to one of {shown}")
    return Source(path, member)


@contextmanager
def opened_zip(path: Path) -> Iterator[Callable[[str, int], bytes]]:
    """A function that reads the first bytes of a member of a zip file, given its name and how many.

    The file and its directory are read once, however many members are. The function raises FileUnusableError, too.

    Raises:
        FileUnusableError: when the zip file cannot be opened.
    """
    with ExitStack() as files:
        with Source(path).reading():
            archive = files.enter_context(_zip_of(Source(path), files.enter_context(path.open("rb"))))

        def read(member: str, most: int) -> bytes:
            source = Source(path, member)
            with source.reading(), _opened_member(source, archive) as content:
                return content.read(most)

        yield read


def _opened_member(source: Source, archive: zipfile.ZipFile) -> IO[bytes]:
    try:
        info = archive.getinfo(source.member or "")
        _check_member(source, info)
        return archive.open(info)
    except KeyError as error:
        raise FileUnusableError(f"{source.path} has no member {source.member!r}: see what it holds") from error
    except (RuntimeError, ValueError, struct.error) as error:
        if isinstance(error, FileUnusableError):
            raise
        raise FileUnusableError(f"{source} is damaged ({error}): fetch it again") from error


def _check_member(source: Source, info: zipfile.ZipInfo) -> None:
    if info.flag_bits & _ENCRYPTED:
        raise FileUnusableError(f"{source} is encrypted: unpack it with its password, and load what it holds")
    if info.compress_type not in _READ_METHODS:
        raise FileUnusableError(f"{source} is compressed by method {info.compress_type}: pack it again as a plain zip")
    if info.file_size > max(_UNSUSPICIOUS_BYTES, _RATIO_MAX * info.compress_size):
        raise FileUnusableError(
            f"{source} would grow from {info.compress_size} to {info.file_size} bytes: if it should, unpack it first"
        )


def _zip_of(source: Source, stored: IO[bytes]) -> zipfile.ZipFile:
    stored.seek(0, 2)
    stored.seek(max(0, stored.tell() - _COMMENT_BYTES_MAX - _DIRECTORY_END.size))
    end = stored.read()
    at = end.rfind(b"PK\x05\x06")
    if at >= 0 and len(end) - at >= _DIRECTORY_END.size:
        directory_bytes = _DIRECTORY_END.unpack_from(end, at)[5]
        if directory_bytes > _DIRECTORY_BYTES_MAX:
            raise FileUnusableError(f"{source.path} holds too many files: pack the tables into a zip file of their own")
    stored.seek(0)
    try:
        return zipfile.ZipFile(stored)
    except _DAMAGED_ZIP as error:
        raise FileUnusableError(f"{source.path} is a damaged zip file ({error}): fetch it again") from error
