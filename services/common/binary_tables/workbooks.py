"""Sheets of workbooks: Excel's formats and OpenDocument's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import IO, Any

import python_calamine as calamine

from services.common.binary_tables.answers import Batch, RefusedError, Request

_BATCH_ROWS = 500
_BATCH_CHARACTERS = 4_000_000
_EXACT_MAX = 2**53
_OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def batches_of_sheet(request: Request) -> Iterator[Batch]:
    """The rows of a sheet that are not empty.

    Args:
        request: which file and sheet.

    Raises:
        RefusedError: when it cannot be read.
    """
    try:
        with Path(request.path).open("rb") as file:
            _check_readable(file)
            workbook = calamine.CalamineWorkbook.from_filelike(file)
        yield from _batches(_sheet_of(workbook, request.sheet), request.cell_bytes_max)
    except calamine.PasswordError as error:
        raise RefusedError("is protected with a password: save it without one") from error
    except (calamine.CalamineError, OSError, ValueError) as error:
        raise _damaged(error) from error
    except BaseException as error:
        # What a damaged .xls makes the library raise is no Exception, and its class has no module to be imported from.
        if type(error).__name__ != "PanicException":
            raise
        raise _damaged(error) from error


def _damaged(error: BaseException) -> RefusedError:
    return RefusedError(f"cannot be read as a workbook ({_sentence(error)}): save it again, or as CSV")


def _check_readable(file: IO[bytes]) -> None:
    """Refuse an Office file in the container of an encrypted one, which the library takes for no workbook."""
    begin = file.read(len(_OLE_MAGIC))
    content = file.read() if begin == _OLE_MAGIC else b""
    file.seek(0)
    if "EncryptedPackage".encode("utf-16-le") in content:
        raise RefusedError("is protected with a password: save it without one")


def _sheet_of(workbook: calamine.CalamineWorkbook, name: str | None) -> calamine.CalamineSheet:
    sheets = [sheet for sheet in workbook.sheets_metadata if sheet.typ == calamine.SheetTypeEnum.WorkSheet]
    names = [sheet.name for sheet in sheets]
    if name is not None:
        if name not in names:
            raise RefusedError(f"has no sheet {name!r}: set sheet to one of {_listed(names)}")
        return workbook.get_sheet_by_name(name)
    filled: calamine.CalamineSheet | None = None
    # Hidden sheets hold lists for menus and lookups; one of them counts only where it is named, or alone.
    shown = [sheet.name for sheet in sheets if sheet.visible == calamine.SheetVisibleEnum.Visible]
    for each in shown or names:
        sheet = workbook.get_sheet_by_name(each)
        if sheet.end is None:
            continue
        if filled is not None:
            raise RefusedError(f"has several sheets with cells: set sheet to one of {_listed(names)}")
        filled = sheet
    if filled is None:
        raise RefusedError("has no sheet with cells: it needs a header and rows")
    return filled


def _batches(sheet: calamine.CalamineSheet, size_max: int) -> Iterator[Batch]:
    _, first_column = sheet.start or (0, 0)
    before: tuple[Any, ...] = (None,) * first_column
    rows: list[tuple[int, tuple[Any, ...] | str]] = []
    characters, height = 0, max(1, sheet.total_height)
    # The rows above the first cell are among these, the columns to the left of it are not.
    for number, values in enumerate(sheet.iter_rows(), 1):
        if all(value == "" for value in values):
            continue
        size = sum(len(value) for value in values if isinstance(value, str))
        if size > size_max:
            rows.append((number, f"has more than {size_max} characters: is it one row of a table?"))
        else:
            rows.append((number, (*before, *map(_cell, values))))
            characters += size
        if len(rows) == _BATCH_ROWS or characters > _BATCH_CHARACTERS:
            yield Batch(rows, number / height)
            rows, characters = [], 0
    yield Batch(rows, 1.0)


def _cell(value: Any) -> Any:
    if value == "":
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_MAX:
        return int(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time())
    return value


def _listed(names: list[str]) -> str:
    return ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
