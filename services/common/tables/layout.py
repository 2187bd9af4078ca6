"""How a file holds its table: what a person would have to say to somebody who reads it."""

from __future__ import annotations

import codecs
import io
from itertools import pairwise
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

# Codecs of Python that are no encodings of files: they transform text or names, and some warn about what they read.
_NOT_OF_FILES = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}

HeaderRow = Annotated[int, Field(ge=1, strict=True)]
CharacterNumber = Annotated[int, Field(ge=1, strict=True)]


class Layout(BaseModel):
    """How a file holds its table.

    Attributes:
        delimiter: between the columns of a text file; one character.
        encoding: of a text file, as Python names it; `utf-8` accepts a byte order mark.
        quote: around cells of a text file that contain delimiters or line breaks; one character; None: there is none.
        header: the line of a text file, or the row of a workbook, that has the names of the columns, from 1. Several,
            in a list: their texts are joined with a space, and the text of an upper row counts for the empty cells
            on its right. 0: there is none, and the columns are called #1, #2, and so on. None: the first that is not
            empty; with `widths`, there is none.
        sheet: of a workbook; None: the only one that is not empty, of those that are not hidden.
        member: the file inside a zip file; None: the only one.
        widths: of a text file without delimiters: the first and the last character of each column by its name, from 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    delimiter: str = Field(default=",", min_length=1, max_length=1)
    encoding: str = "utf-8"
    quote: str | None = Field(default='"', min_length=1, max_length=1)
    header: Annotated[int, Field(ge=0, strict=True)] | tuple[HeaderRow, ...] | None = None
    sheet: str | None = None
    member: str | None = None
    widths: dict[str, tuple[CharacterNumber, CharacterNumber]] | None = None

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            name = codecs.lookup(value).name
            io.TextIOWrapper(io.BytesIO(), encoding=name)
        except (LookupError, ValueError) as error:
            raise ValueError("is not an encoding of text: use utf-8, utf-16, latin-1 or cp1252") from error
        if name.replace("_", "-") in _NOT_OF_FILES:
            raise ValueError("is not an encoding of files: use utf-8, utf-16, latin-1 or cp1252")
        return name

    @field_validator("delimiter", "quote")
    @classmethod
    def _possible_character(cls, value: str | None) -> str | None:
        if value is not None and (value in "\r\n\0" or "\ud800" <= value <= "\udfff"):
            raise ValueError(f"is {value!r}, which cannot separate or quote cells: use another character")
        return value

    @field_validator("header")
    @classmethod
    def _ascending_rows(cls, value: int | tuple[int, ...] | None) -> int | tuple[int, ...] | None:
        if isinstance(value, tuple) and (not value or any(a >= b for a, b in pairwise(value))):
            raise ValueError("must list the header's rows from top to bottom, such as [3, 4]; 0: there is no header")
        return value

    @field_validator("widths")
    @classmethod
    def _possible_widths(cls, value: dict[str, tuple[int, int]] | None) -> dict[str, tuple[int, int]] | None:
        if value is not None and not value:
            raise ValueError("is empty: give the first and the last character of each column")
        for name, (first, last) in (value or {}).items():
            if last < first:
                raise ValueError(f"has {name} end at {last}, before it starts at {first}: write [first, last]")
        return value

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        if self.delimiter == self.quote:
            raise ValueError(f"delimiter and quote are both {self.quote!r}: set quote to another character, or to null")
        if self.widths is not None and {"delimiter", "quote"} & self.model_fields_set:
            raise ValueError("widths is set and so is delimiter or quote: keep what the file has")
        return self
