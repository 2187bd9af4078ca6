"""Plain Python values of Arrow's arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_LIST_ENTRIES_MAX = 100_000
_PLAIN = (str, int, float, bool, date, datetime, time, timedelta)

Damages = dict[int, str]
"""What is wrong with the cells at these places, as the end of a sentence about the row."""


def has_text(data_type: Any) -> bool:
    """Whether a column holds text, or bytes, which are read as text."""
    return bool(pa.types.is_string(data_type) or pa.types.is_binary(data_type))


class CellReader:
    """Reads columns as cells.

    Args:
        size_max: the most bytes of a cell.
    """

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max

    def rows(
        self, columns: Sequence[pa.Array], used: Sequence[int], names: Sequence[str], before: int
    ) -> list[tuple[int, tuple[Any, ...] | str]]:
        """Rows of a batch.

        Args:
            columns: those that are used.
            used: their places.
            names: of all columns.
            before: how many rows come before this batch.
        """
        count = len(columns[0])
        nothing: list[Any] = [None] * count
        every, damages = [nothing] * len(names), Damages()
        for column, place in zip(columns, used, strict=True):
            every[place], wrong = self.cells(column)
            damages |= {row: f"has in the column {names[place]!r} {reason}" for row, reason in wrong.items()}
        cells: list[tuple[Any, ...] | str] = [*zip(*every, strict=True)]
        for row, reason in damages.items():
            cells[row] = reason
        return [*enumerate(cells, before + 1)]

    def cells(self, array: pa.Array) -> tuple[list[Any], Damages]:
        """The cells of a column and what is wrong with some, whose value is None."""
        if isinstance(array, pa.ExtensionArray):
            return self.cells(array.storage)
        kind = array.type
        if pa.types.is_dictionary(kind):
            return self._of_dictionary(array)
        if _is_bytes(kind):
            return self._text(array)
        if _is_list(kind):
            return self._lists(array)
        return _each(_in_python_units(array), _plain)

    def _of_dictionary(self, array: pa.Array) -> tuple[list[Any], Damages]:
        places = pc.unique(array.indices).drop_null()
        values, wrong = self.cells(array.dictionary.take(places))
        by_place = dict(zip(places.to_pylist(), values, strict=True))
        wrong_places = {places[number].as_py(): reason for number, reason in wrong.items()}
        indices = array.indices.to_pylist()
        damages = {row: wrong_places[place] for row, place in enumerate(indices) if place in wrong_places}
        return [by_place.get(place) for place in indices], damages

    def _text(self, array: pa.Array) -> tuple[list[Any], Damages]:
        if pa.types.is_string_view(array.type) or pa.types.is_binary_view(array.type):
            array = array.cast(pa.large_binary())
        damages: Damages = {}
        lengths = pc.binary_length(array)
        if (pc.max(lengths).as_py() or 0) > self._size_max:
            too_long = pc.greater(lengths, self._size_max)
            damages = dict.fromkeys(
                pc.indices_nonzero(too_long).to_pylist(), f"more than {self._size_max} bytes: shorten it"
            )
            array = pc.if_else(pc.fill_null(too_long, fill_value=False), pa.scalar(None, array.type), array)
        # Nothing has checked that a text is UTF-8.
        cells, wrong = _each(array.cast(_bytes_of(array.type)), _decoded)
        return cells, damages | wrong

    def _lists(self, array: pa.Array) -> tuple[list[Any], Damages]:
        lengths = pc.list_value_length(array)
        if (pc.max(lengths).as_py() or 0) <= _LIST_ENTRIES_MAX:
            return _each(array, _plain)
        too_long = pc.fill_null(pc.greater(lengths, _LIST_ENTRIES_MAX), fill_value=False)
        damages = dict.fromkeys(
            pc.indices_nonzero(too_long).to_pylist(), f"a list of more than {_LIST_ENTRIES_MAX} entries: shorten it"
        )
        cells, wrong = _each(pc.if_else(too_long, pa.scalar(None, array.type), array), _plain)
        return cells, damages | wrong


def _is_bytes(kind: Any) -> bool:
    types = pa.types
    return bool(
        has_text(kind)
        or types.is_large_string(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_string_view(kind)
        or types.is_binary_view(kind)
    )


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _bytes_of(kind: Any) -> Any:
    return pa.large_binary() if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind) else pa.binary()


def _in_python_units(array: pa.Array) -> pa.Array:
    """Times in microseconds and in UTC, and numbers of at least 32 bits, as Python has them."""
    kind = array.type
    if pa.types.is_timestamp(kind):
        return array.cast(pa.timestamp("us", None if kind.tz is None else "UTC"), safe=False)
    if pa.types.is_time(kind):
        return array.cast(pa.time64("us"), safe=False)
    if pa.types.is_duration(kind):
        return array.cast(pa.duration("us"), safe=False)
    if pa.types.is_float16(kind):
        return array.cast(pa.float32())
    return array


def _each(array: pa.Array, convert: Callable[[Any], Any]) -> tuple[list[Any], Damages]:
    try:
        return [None if value is None else convert(value) for value in array.to_pylist()], {}
    except (ValueError, OverflowError):
        pass
    cells, damages = [], Damages()
    for row, scalar in enumerate(array):
        try:
            value = scalar.as_py()
            cells.append(None if value is None else convert(value))
        except UnicodeDecodeError as error:
            cells.append(None)
            damages[row] = f"the byte 0x{error.object[error.start]:02X}, which is not UTF-8: write text"
        except (ValueError, OverflowError) as error:
            cells.append(None)
            damages[row] = f"a value that cannot be read ({error}): correct it"
    return cells, damages


def _decoded(value: bytes) -> str:
    return value.decode()


def _plain(value: Any) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, list):
        return [None if entry is None else _plain(entry) for entry in value]
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, Decimal):
        return _number(value)
    return str(value)


def _number(value: Decimal) -> int | float | str:
    """A number that is exact, or the text of one that has more digits than a float."""
    if value == value.to_integral_value():
        return int(value)
    number = float(value)
    return number if Decimal(repr(number)) == value else str(value)
