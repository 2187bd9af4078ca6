"""The encoding that a text file seems to have."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from services.common.tables.lines import FileUnusableError
from services.common.tables.sources import Source

_PIECE_BYTES = 1 << 16
_PIECES_MAX = 16
_READ_BYTES_MAX = 1 << 30
_FOREIGN_BYTES_MAX = 1 << 17
# Those that tables are written in where they are not in UTF; others cannot be told from these by a few names.
_ENCODINGS = ["cp1252", "cp1250", "iso8859_2", "cp1251", "cp1253", "cp1254", "gbk", "big5", "shift_jis", "euc_kr"]
_USUAL = "cp1252"
_CHAOS_DIFFERENCE = 0.02
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample of a whole file.

    Attributes:
        pieces: some of its bytes: the first, the last, and others at even distances.
        foreign: lines with bytes that are not ASCII.
        utf8: whether all bytes read are UTF-8.
        size: how many bytes were read.
    """

    pieces: tuple[bytes, ...]
    foreign: bytes
    utf8: bool
    size: int


def sample_of(source: Source) -> Sample:
    """A sample of a file, which is read up to its first gibibyte.

    Raises:
        FileUnusableError: when it cannot be read, or is empty.
    """
    pieces, last, foreign = list[bytes](), b"", bytearray()
    decoder, utf8 = codecs.getincrementaldecoder("utf-8")(), True
    size, stride, number = 0, 1, 0
    with source.opened() as (_, content), source.reading():
        while size < _READ_BYTES_MAX and (piece := content.read(_PIECE_BYTES)):
            size += len(piece)
            if number % stride == 0:
                pieces.append(piece)
                if len(pieces) > _PIECES_MAX:
                    pieces, stride = pieces[::2], stride * 2
            number, last = number + 1, piece
            if len(foreign) < _FOREIGN_BYTES_MAX and not piece.isascii():
                foreign += b"\n".join(line for line in piece.splitlines() if not line.isascii()) + b"\n"
            if utf8:
                utf8 = _decodes(decoder, piece, final=False)
    if not size:
        raise FileUnusableError(f"{source} is empty: it needs a header and rows")
    if size < _READ_BYTES_MAX:
        utf8 = utf8 and _decodes(decoder, b"", final=True)
    if last is not pieces[-1]:
        pieces.append(last)
    return Sample(tuple(pieces), bytes(foreign), utf8, size)


def detected_encoding(sample: Sample) -> tuple[str, list[str]]:
    """The encoding that a text seems to have, and what speaks for it."""
    begin = sample.pieces[0]
    for mark, encoding in _MARKS:
        if begin.startswith(mark):
            return encoding, [f"the file starts with the byte order mark of {encoding}"]
    zeros = [begin[parity::2].count(0) / max(1, len(begin[parity::2])) for parity in (0, 1)]
    if max(zeros) > 0.3:
        encoding = "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
        return encoding, [f"{max(zeros):.0%} of every second byte are zero, as in {encoding}, and there is no mark"]
    if sample.utf8:
        what = "not only ASCII, and valid UTF-8" if sample.foreign else "ASCII"
        return "utf-8", [f"all {sample.size} bytes read are {what}"]
    return _legacy_encoding(sample)


def _legacy_encoding(sample: Sample) -> tuple[str, list[str]]:
    from charset_normalizer import from_bytes  # noqa: PLC0415 - it takes a tenth of a second, and loading needs none.

    matches = from_bytes(sample.foreign, cp_isolation=_ENCODINGS)
    best = matches.best()
    if best is None:
        return _USUAL, [f"the file is not UTF-8 and like no encoding that is known: {_USUAL} is a guess"]
    # Each has another reading. By a few names nobody can tell the letters of one language from another's.
    rivals = [match for match in matches if match.chaos <= best.chaos + _CHAOS_DIFFERENCE]
    chosen = next((match for match in rivals if _USUAL in match.could_be_from_charset), best)
    name = _USUAL if _USUAL in chosen.could_be_from_charset else codecs.lookup(chosen.encoding).name
    place, example = next(
        ((place, word) for place, word in enumerate(str(chosen).split()) if not word.isascii()), (0, "")
    )
    confidence = (1 - chosen.chaos) / len(rivals)
    reason = f"the file is not UTF-8; it reads as {name} with a confidence of {confidence:.0%}"
    evidence = [f"{reason}: check texts such as {example!r}"]
    for match in rivals:
        words = str(match).split()
        if match is not chosen and place < len(words):
            evidence.append(f"as {codecs.lookup(match.encoding).name} that text would be {words[place]!r}")
    return name, evidence


def _decodes(decoder: codecs.IncrementalDecoder, piece: bytes, *, final: bool) -> bool:
    try:
        decoder.decode(piece, final)
    except UnicodeDecodeError:
        return False
    return True
