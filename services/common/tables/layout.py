"""How a file holds its table: what a person would have to say to somebody who reads it."""

from __future__ import annotations

import codecs

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Layout(BaseModel):
    """How a file holds its table.

    Attributes:
        delimiter: between the columns of a text file.
        encoding: of a text file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    delimiter: str = Field(default=",", min_length=1, max_length=1)
    encoding: str = "utf-8"

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            return codecs.lookup(value).name
        except LookupError as error:
            raise ValueError("is not an encoding: use utf-8, utf-16, latin-1 or cp1252") from error
