"""Small workbooks, written part by part as their standards say, without the library that reads them."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from xml.sax.saxutils import escape

_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_HIDDEN = ' state="hidden"'
_ODF = "urn:oasis:names:tc:opendocument:xmlns"
_ODS = "application/vnd.oasis.opendocument.spreadsheet"


def text(reference: str, value: str) -> str:
    """A cell with a text."""
    return f'<c r="{reference}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'


def number(reference: str, value: float, style: int = 0) -> str:
    """A cell with a number; style 1 shows it as a date, 2 as a date with a time."""
    return f'<c r="{reference}" s="{style}"><v>{value}</v></c>'


def row(line: int, *cells: str) -> str:
    return f'<row r="{line}">{"".join(cells)}</row>'


def write_xlsx(path: Path, sheets: Mapping[str, Iterable[str]], hidden: Collection[str] = ()) -> Path:
    """Write a workbook: the rows of each sheet by its name, and the names of hidden ones."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", f'<Types xmlns="{_PACKAGE}/content-types"/>')
        archive.writestr("_rels/.rels", _relationships([("officeDocument", "xl/workbook.xml")]))
        listed = "".join(
            f'<sheet name="{escape(name)}" sheetId="{index}" r:id="rId{index}"{_HIDDEN if name in hidden else ""}/>'
            for index, name in enumerate(sheets, 1)
        )
        archive.writestr(
            "xl/workbook.xml", f'<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>{listed}</sheets></workbook>'
        )
        parts = [("worksheet", f"worksheets/sheet{index}.xml") for index in range(1, len(sheets) + 1)]
        archive.writestr("xl/_rels/workbook.xml.rels", _relationships([*parts, ("styles", "styles.xml")]))
        styles = "".join(f'<xf numFmtId="{number_format}"/>' for number_format in (0, 14, 22))
        archive.writestr("xl/styles.xml", f'<styleSheet xmlns="{_MAIN}"><cellXfs>{styles}</cellXfs></styleSheet>')
        for (_, part), rows in zip(parts, sheets.values(), strict=True):
            with archive.open(f"xl/{part}", "w") as sheet:
                sheet.write(f'<worksheet xmlns="{_MAIN}"><sheetData>'.encode())
                for each in rows:
                    sheet.write(each.encode())
                sheet.write(b"</sheetData></worksheet>")
    return path


def write_ods(path: Path, rows: str) -> Path:
    """Write an OpenDocument spreadsheet with one sheet."""
    entry = f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{_ODS}"/>'
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", _ODS)
        archive.writestr(
            "META-INF/manifest.xml",
            f'<manifest:manifest xmlns:manifest="{_ODF}:manifest:1.0">{entry}</manifest:manifest>',
        )
        names = " ".join(f'xmlns:{name}="{_ODF}:{name}:1.0"' for name in ("office", "table", "text"))
        archive.writestr(
            "content.xml",
            f"<office:document-content {names}><office:body><office:spreadsheet>"
            f'<table:table table:name="Marks">{rows}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>",
        )
    return path


def _relationships(targets: Iterable[tuple[str, str]]) -> str:
    listed = "".join(
        f'<Relationship Id="rId{index}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for index, (kind, target) in enumerate(targets, 1)
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{listed}</Relationships>'


def write_xls(path: Path, rows: Iterable[Iterable[str | float]]) -> Path:
    """Write a workbook of Excel 97 with one sheet: a stream of BIFF8 records, alone in an OLE container."""
    cells = b"".join(
        _biff(0x0203, struct.pack("<3Hd", line, place, 0, value))
        if not isinstance(value, str)
        else _biff(0x0204, struct.pack("<4HB", line, place, 0, len(value), 1) + value.encode("utf-16-le"))
        for line, values in enumerate(rows)
        for place, value in enumerate(values)
    )
    begin = _biff(0x0809, struct.pack("<4H2L", 0x0600, 5, 0, 0, 0, 0))
    # The sheet begins after this record, of 17 bytes, and the end of the workbook's own.
    listed = struct.pack("<LBBBB", len(begin) + 17 + 4, 0, 0, 5, 0) + b"Marks"
    sheet = _biff(0x0809, struct.pack("<4H2L", 0x0600, 0x10, 0, 0, 0, 0)) + cells + _biff(0x000A, b"")
    stream = begin + _biff(0x0085, listed) + _biff(0x000A, b"") + sheet
    sectors = max(8, -(-len(stream) // 512))
    none, end = 0xFFFFFFFF, 0xFFFFFFFE
    magic = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    header = struct.pack("<8s16x5H6x9L", magic, 0x3E, 3, 0xFFFE, 9, 6, 0, 1, 1, 0, 4096, end, 0, end, 0)
    header += struct.pack("<109L", 0, *[none] * 108)
    chain = [0xFFFFFFFD, end, *range(3, sectors + 2), end]
    root, book = (
        struct.pack(
            "<64sHBB3L36xLQ", name.encode("utf-16-le"), 2 * len(name) + 2, kind, 1, none, none, child, start, size
        )
        for name, kind, child, start, size in (("Root Entry", 5, 1, end, 0), ("Workbook", 2, none, 2, sectors * 512))
    )
    table = struct.pack("<128L", *chain, *[none] * (128 - len(chain)))
    path.write_bytes(header + table + root + book + bytes(256) + stream.ljust(sectors * 512, b"\0"))
    return path


def _biff(kind: int, content: bytes) -> bytes:
    return struct.pack("<2H", kind, len(content)) + content
