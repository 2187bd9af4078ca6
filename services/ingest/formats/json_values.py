"""Values in JSON from learning platforms: times, durations, numbers and references to entities."""

from __future__ import annotations

import math
import re
from datetime import datetime

from services.ingest.domain.submission import Instant
from services.ingest.formats.ndjson import instant_of

_SHOWN_CHARACTERS = 60
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d(?::?\d\d)?)")
_DURATION = re.compile(
    r"P(?=.)(?:(?P<years>\d+(?:\.\d+)?)Y)?(?:(?P<months>\d+(?:\.\d+)?)M)?(?:(?P<weeks>\d+(?:\.\d+)?)W)?"
    r"(?:(?P<days>\d+(?:\.\d+)?)D)?"
    r"(?:T(?=.)(?:(?P<hours>\d+(?:\.\d+)?)H)?(?:(?P<minutes>\d+(?:\.\d+)?)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)
_MS = {"weeks": 604_800_000, "days": 86_400_000, "hours": 3_600_000, "minutes": 60_000, "seconds": 1000}
_REFERENCE = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*|_):\S+")
# The most milliseconds that the log keeps: 49 days.
_DURATION_MS_MAX = 2**32 - 1


def shown(value: object) -> str:
    """A value for a message: texts and numbers as they are, of others the type."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = "null" if value is None else repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def instant(value: object) -> Instant | None:
    """A point in time, as ISO 8601 with an offset; None: it is not one."""
    if not isinstance(value, str) or _TIME.fullmatch(value) is None:
        return None
    try:
        return instant_of(datetime.fromisoformat(value))
    except (ValueError, OverflowError):
        return None


def is_duration(value: object) -> bool:
    """Whether it is a duration of ISO 8601."""
    return isinstance(value, str) and len(value) <= _SHOWN_CHARACTERS and _DURATION.fullmatch(value) is not None


def duration_ms(value: object) -> int | None:
    """A duration of ISO 8601 in ms; None: it is none, has years or months, or is longer than the log keeps."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) and is_duration(value) else None
    if match is None or any((match[unit] or "").strip("0.,") for unit in ("years", "months")):
        return None
    return kept_ms(sum(float(match[unit] or 0) * ms for unit, ms in _MS.items()))


def kept_ms(milliseconds: float) -> int | None:
    """A time span, where the log can keep it."""
    return round(milliseconds) if 0 <= milliseconds <= _DURATION_MS_MAX else None


def decimal(value: object) -> float | None:
    """A number; None: it is not one, or too large for one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def is_integer(value: object) -> bool:
    """Whether it is a whole number, also as 3.0."""
    number = decimal(value)
    return number is not None and number.is_integer()


def is_reference(value: object) -> bool:
    """Whether it is the IRI of an entity, or the name of a blank node."""
    return isinstance(value, str) and _REFERENCE.fullmatch(value) is not None
