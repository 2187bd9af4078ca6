"""The parts of a mapping file: columns, filters of rows, columns that become rows, and companion files."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import date
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from services.common.tables import Layout

_TEMPLATE_NAME = re.compile(r"\{(\w*)\}")


class Strict(BaseModel):
    """A part of a mapping that takes only its own keys, and cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _text(value: Any) -> Any:
    """A text as YAML reads it: 2026 and 2026-03-04 are texts, too."""
    if isinstance(value, bool):
        raise ValueError("is read as true or false: put the text in quotes")  # noqa: TRY004 - pydantic explains it.
    return str(value) if isinstance(value, int | float | date) else value


def _listed(value: Any) -> Any:
    """A list; a single value is a list of one."""
    if value is None:
        return ()
    return value if isinstance(value, list | tuple) else (value,)


def _take_as_named(value: Any) -> Any:
    """Columns by their new names; a list keeps the names."""
    if not isinstance(value, list | tuple):
        return value
    names = [_text(name) for name in value]
    return dict(zip(names, names, strict=True)) if all(isinstance(name, str) for name in names) else value


Text = Annotated[str, BeforeValidator(_text)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_listed)]


class Columns(Strict):
    """The column of each field of an event; empty: there is none. Some fields may have several.

    Attributes:
        learner_id: of several columns, the cells joined by "/"; each must have a value.
        item: likewise.
        time_zone: the zone of `occurred_at`, as a name such as America/Chicago.
        right_answer: the right answer; then `correct` holds the learner's, which is right when it is the same.
        occurred_at: of several columns, such as date and time, the cells joined by a space.
        skills: of several columns, the skills of all.
    """

    learner_id: Texts = ()
    source: Text | None = None
    event_id: Text | None = None
    source_sequence: Text | None = None
    occurred_at: Texts = ()
    time_zone: Text | None = None
    item: Texts = ()
    activity: Text | None = None
    skills: Texts = ()
    correct: Text | None = None
    right_answer: Text | None = None
    score: Text | None = None
    score_min: Text | None = None
    score_max: Text | None = None
    attempt: Text | None = None
    hints: Text | None = None
    duration: Text | None = None
    interaction: Text | None = None
    resource: Text | None = None
    recommendation_id: Text | None = None

    def by_field(self) -> dict[str, tuple[str, ...]]:
        """The columns of each field that has some."""
        columns = {field: _listed(getattr(self, field)) for field in Columns.model_fields}
        return {field: named for field, named in columns.items() if named}

    def without(self, columns: Collection[str]) -> Columns:
        """The columns of each field, but for some."""

        def kept(value: tuple[str, ...] | str | None) -> tuple[str, ...] | str | None:
            if isinstance(value, tuple):
                return tuple(name for name in value if name not in columns)
            return None if value in columns else value

        return self.model_copy(update={field: kept(value) for field, value in self})

    def named(self) -> list[str]:
        """The columns of all fields, each once."""
        return list(dict.fromkeys(column for columns in self.by_field().values() for column in columns))


# They belong to a whole row, or say how another field is read.
_PER_ROW = ("learner_id", "time_zone", "right_answer")
_PER_COLUMN = tuple(field for field in Columns.model_fields if field not in _PER_ROW)


class RowFilter(Strict):
    """Which rows are meant, by one of their cells. Either `is` or `matches` is given.

    Attributes:
        column: whose cell it is.
        texts: what the whole cell says, in upper or lower case; "" is an empty cell.
        matches: a regular expression that is found in the cell.
    """

    column: Text
    texts: Texts = Field(default=(), alias="is")
    matches: Text | None = None

    @field_validator("matches")
    @classmethod
    def _regex(cls, value: str | None) -> str | None:
        return None if value is None else _checked_regex(value)

    @model_validator(mode="after")
    def _one_of_two(self) -> RowFilter:
        if bool(self.texts) == (self.matches is not None):
            raise ValueError("needs one of is and matches: give the texts of the cell, or a regular expression")
        return self


class Unpivot(Strict):
    """Columns of a wide table, each of which becomes an event of its own.

    Attributes:
        columns: a regular expression that is found in the names of these columns. Its named groups that are fields,
            such as (?P<item>...), give that field; others are for templates.
        value: the field that the cells of these columns hold.
        before: a regular expression that must be found in the name of the column before; its named groups count as
            those of `columns`.
        others: fields that other columns hold, by a template of the column's name: {0} is the name of the unpivoted
            column, {n} the group n.
        texts: fields by a template of their text, in which {file} is the name of the file without its ending, too.
    """

    columns: Text
    value: Text = "score"
    before: Text | None = None
    others: dict[Text, Text] = Field(default={}, alias="with")
    texts: dict[Text, Text] = Field(default={})

    @field_validator("columns", "before")
    @classmethod
    def _regex(cls, value: str | None) -> str | None:
        return None if value is None else _checked_regex(value)

    @field_validator("value")
    @classmethod
    def _field(cls, value: str) -> str:
        return _checked_field(value)

    @model_validator(mode="after")
    def _fields_once(self) -> Unpivot:
        names = {"0", *self._groups()}
        for field, template in self.others.items():
            _check_template(f"with.{field}", field, template, names)
        for field, template in self.texts.items():
            _check_template(f"texts.{field}", field, template, names | {"file"})
        given = [self.value, *self.others, *self.texts, *self.group_fields()]
        if repeated := sorted({field for field in given if given.count(field) > 1}):
            raise ValueError(f"gives {repeated[0]} twice: keep one of value, with, texts and the named groups for it")
        return self

    def group_fields(self) -> list[str]:
        """The fields that named groups of the regular expression give."""
        return [name for name in self._groups() if name in _PER_COLUMN]

    def fields(self) -> set[str]:
        """The fields that each of these columns brings."""
        return {self.value, *self.others, *self.texts, *self.group_fields()}

    def _groups(self) -> list[str]:
        return [*re.compile(self.columns).groupindex, *re.compile(self.before or "").groupindex]


class Join(Layout):
    """A companion file, whose columns are added to the rows of the table. It has the keys of a layout, too.

    Attributes:
        file: its path, from the folder of the table.
        by: the columns that a row and its companion have in common: the column here, and the column there.
        take: the columns to add: a list, or the new name and the column there.
        absent: what happens to a row whose key the file lacks: it is refused (a problem), or left out, or its new cells
            are empty.
    """

    file: Text = Field(min_length=1)
    by: dict[Text, Text] = Field(min_length=1)
    take: Annotated[dict[Text, Text], BeforeValidator(_take_as_named)] = Field(default={})
    absent: Literal["refuse", "leave_out", "empty"] = "refuse"


def close_or_all(name: str, names: Sequence[str]) -> str:
    """The end of a sentence that offers what somebody may have meant: the closest name, else all."""
    close = get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"use {', '.join(names)}"


def filled(template: str, column: str, groups: dict[str, str]) -> str:
    """The name of a column, from its template in `Unpivot`."""
    return _TEMPLATE_NAME.sub(lambda found: groups.get(found[1], "") if found[1] != "0" else column, template)


def _check_template(key: str, field: str, template: str, names: set[str]) -> None:
    _checked_field(field)
    if unknown := [name for name in _TEMPLATE_NAME.findall(template) if name not in names]:
        raise ValueError(
            f"{key} is {template!r}, but columns has no group {unknown[0]!r}: name one as in "
            f"(?P<{unknown[0] or 'n'}>...), or use {{0}} for the name of the whole column"
        )


def _checked_field(field: str) -> str:
    if field not in _PER_COLUMN:
        raise ValueError(f"{field!r} is no field that a column may hold: {close_or_all(field, _PER_COLUMN)}")
    return field


def _checked_regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is not a regular expression ({error}): correct it, or escape signs with \\") from error
    return pattern
