"""What a file says about all of its rows: in its name, and in the lines above the header."""

from __future__ import annotations

import os
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

from services.common.tables import Cell, FileUnusableError, Layout, open_table
from services.ingest.formats.mapping.cells import CellError, Numbers, text_of
from services.ingest.formats.mapping.model import FileMapping

_NAME = "{file}"
_SCALE = ("score_min", "score_max")


def for_file(mapping: FileMapping, path: Path) -> FileMapping:
    """A mapping with the texts of a file in their places.

    Raises:
        FileUnusableError: when the file cannot be read, its name is used and is no text, or a label is not above
            its header.
    """
    constants = {str(field): text for field, text in mapping.constants.items()}
    scale: dict[str, float] = {}
    if mapping.labels:
        values = _labelled(mapping, path)
        numbers = Numbers(mapping)
        for field, label in mapping.labels.items():
            text = values.get(label.strip().casefold(), "")
            if not text:
                raise FileUnusableError(
                    f"labels.{field} is {label!r}, and no cell above the header of {path} has this text and a value to "
                    "its right: correct the label, or header"
                )
            if field not in _SCALE:
                constants[field] = text
                continue
            try:
                scale[field] = numbers.number(text)
            except CellError as error:
                raise FileUnusableError(f"what is to the right of {label!r} in {path} {error}") from error
    return mapping.model_copy(
        update={
            **scale,
            "constants": {field: _with_name(text, path) for field, text in constants.items()},
            "unpivot": tuple(
                entry.model_copy(
                    update={"texts": {field: _with_name(text, path) for field, text in entry.texts.items()}}
                )
                for entry in mapping.unpivot
            ),
        }
    )


def _with_name(text: str, path: Path) -> str:
    if _NAME not in text:
        return text
    try:
        name = os.fsencode(path.name).decode()
    except UnicodeDecodeError as error:
        shown = os.fsencode(path).decode(errors="replace")
        raise FileUnusableError(
            f"the name of {shown} is not UTF-8, and the mapping makes a field of it with {_NAME}: rename the file"
        ) from error
    return text.replace(_NAME, Path(name.removesuffix(".gz")).stem)


def _labelled(mapping: FileMapping, path: Path) -> dict[str, str]:
    """The text to the right of each text above the header, which is in lower case."""
    header = mapping.header if isinstance(mapping.header, tuple) else (mapping.header or 0,)
    layout = Layout.model_validate({field: getattr(mapping, field) for field in Layout.model_fields} | {"header": 0})
    table = open_table(path, layout)
    rows = takewhile(lambda row: row.line < header[0], table.rows(range(len(table.columns))))
    labelled: dict[str, str] = {}
    for row in rows:
        texts = [_text(cell) for cell in row.cells or ()]
        for left, right in pairwise(texts):
            labelled.setdefault(left.casefold(), right)
    return labelled


def _text(cell: Cell) -> Any:
    return "" if cell is None else text_of(cell)
