"""The texts that statements hold: identifiers, times, durations and language tags, each as its standard says.

A check takes any JSON value, and returns what is wrong with it and the remedy, or None.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

Check = Callable[[object], str | None]

VOIDED = "http://adlnet.gov/expapi/verbs/voided"

_SHOWN_CHARACTERS = 60
# Of a double.
_NUMBER_MAX = int(1e308)

# RFC 3987: a scheme, and none of the characters that no IRI may hold.
_IRI = re.compile(r'[A-Za-z][A-Za-z0-9+.-]*:[^\s<>"{}|\\^`\x00-\x20\x7f]+')
_UUID = re.compile(r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}")
_MBOX = re.compile(r"mailto:[^@\s]+@[^@\s]+")
_SHA1 = re.compile(r"[0-9A-Fa-f]{40}")
# SHA-224 to SHA-512, in hexadecimal digits.
_SHA2 = re.compile(r"[0-9A-Fa-f]{56}|[0-9A-Fa-f]{64}|[0-9A-Fa-f]{96}|[0-9A-Fa-f]{128}")
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:\s*;.*)?", re.ASCII)
_VERSION = re.compile(r"1\.0(?:\.\d+)?|2\.0(?:\.\d+)?")
# RFC 5646, section 2.1, with its grandfathered tags that this would not allow.
_LANGUAGE = re.compile(
    r"""(?:[a-z]{2,3}(?:-[a-z]{3}){0,3}|[a-z]{4}|[a-z]{5,8})
        (?:-[a-z]{4})?(?:-(?:[a-z]{2}|\d{3}))?(?:-(?:[a-z0-9]{5,8}|\d[a-z0-9]{3}))*
        (?:-[0-9a-wy-z](?:-[a-z0-9]{2,8})+)*(?:-x(?:-[a-z0-9]{1,8})+)?
        |x(?:-[a-z0-9]{1,8})+
        |en-gb-oed|i-[a-z]{2,8}|sgn-(?:be-fr|be-nl|ch-de)""",
    re.IGNORECASE | re.VERBOSE | re.ASCII,
)
# ISO 8601: a date, T and a time, which at least has minutes; basic or extended. An offset of minus zero is none.
_TIMESTAMP = re.compile(
    r"(?P<date>\d{4}-?\d{2}-?\d{2})[Tt](?P<time>\d{2}:?\d{2}(?::?\d{2}(?:[.,]\d+)?)?)(?P<offset>[Zz]|[+-]\d{2}(?::?\d{2})?)?",
    re.ASCII,
)
_NO_OFFSET = re.compile(r"-00(?::?00)?")
_DURATION = re.compile(
    r"P(?:(?P<weeks>\d+(?:[.,]\d+)?)W"
    r"|(?=\d|T\d)(?:(?P<years>\d+(?:[.,]\d+)?)Y)?(?:(?P<months>\d+(?:[.,]\d+)?)M)?(?:(?P<days>\d+(?:[.,]\d+)?)D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d+(?:[.,]\d+)?)H)?(?:(?P<minutes>\d+(?:[.,]\d+)?)M)?(?:(?P<seconds>\d+(?:[.,]\d+)?)S)?)?)",
    re.ASCII,
)
_UNIT_MS = {"weeks": 604_800_000, "days": 86_400_000, "hours": 3_600_000, "minutes": 60_000, "seconds": 1000}
# Of the field in the log.
_DURATION_MS_MAX = (1 << 32) - 1


def shown(value: object) -> str:
    """A value for a message, truncated."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


def _matching(pattern: re.Pattern[str], remedy: str) -> Check:
    fullmatch = pattern.fullmatch

    def check(value: object) -> str | None:
        if type(value) is str and fullmatch(value):
            return None
        return f"is {shown(value)}: send {remedy}"

    return check


iri = _matching(_IRI, "an IRI with its scheme, such as https://example.com/activities/1")
uuid = _matching(_UUID, "a UUID in its standard form of 36 characters")
mbox = _matching(_MBOX, "mailto: and an e-mail address")
sha1 = _matching(_SHA1, "the 40 hexadecimal digits of a SHA-1 hash")
sha2 = _matching(_SHA2, "the hexadecimal digits of a SHA-2 hash")
media_type = _matching(_MEDIA_TYPE, "a media type such as text/plain")
language = _matching(_LANGUAGE, "a language tag of RFC 5646, such as en-US")
version = _matching(_VERSION, "1.0.x or 2.0.x")


def text(value: object) -> str | None:
    """A text."""
    return None if type(value) is str else f"is {shown(value)}: send a text"


def truth(value: object) -> str | None:
    """True or false."""
    return None if type(value) is bool else f"is {shown(value)}: send true or false"


def number(value: object) -> str | None:
    """A number."""
    if (type(value) is float and math.isfinite(value)) or (type(value) is int and abs(value) <= _NUMBER_MAX):
        return None
    return f"is {shown(value)}: send a number"


def length(value: object) -> str | None:
    """A number of bytes."""
    return None if type(value) is int and value >= 0 else f"is {shown(value)}: send the number of bytes"


def scaled(value: object) -> str | None:
    """A number from -1 to 1."""
    wrong = number(value)
    if wrong is not None or (isinstance(value, int | float) and -1 <= value <= 1):
        return wrong
    return f"is {shown(value)}: send a number from -1 to 1"


def one_of(*allowed: str) -> Check:
    """One of a few texts."""

    def check(value: object) -> str | None:
        if type(value) is str and value in allowed:
            return None
        return f"is {shown(value)}: send {' or '.join(allowed) if len(allowed) < 3 else 'one of ' + ', '.join(allowed)}"

    return check


def timestamp(value: object) -> str | None:
    """A point in time."""
    if type(value) is str and moment_of(value) is not None:
        return None
    return f"is {shown(value)}: send an ISO 8601 date and time, such as 2026-03-01T09:30:00Z; no offset of -00:00"


def duration(value: object) -> str | None:
    """A duration."""
    if type(value) is str and _DURATION.fullmatch(value):
        return None
    return f"is {shown(value)}: send an ISO 8601 duration, such as PT1M30S or P2W"


# What is valid is read next, and one time may be that of several statements.
@lru_cache(maxsize=8)
def moment_of(value: str) -> datetime | None:
    """The point in time that a timestamp names, in UTC where it has no offset; None when it is not valid."""
    match = _TIMESTAMP.fullmatch(value)
    if match is None or (match["offset"] and _NO_OFFSET.fullmatch(match["offset"])):
        return None
    clock, leap = match["time"], timedelta()
    if clock[4 + (clock[2] == ":") :].lstrip(":").startswith("60"):
        # A leap second. Python knows none: the second after the minute's last.
        at = clock.rindex("60") if "." not in clock and "," not in clock else re.split("[.,]", clock)[0].rindex("60")
        clock, leap = f"{clock[:at]}59{clock[at + 2 :]}", timedelta(seconds=1)
    try:
        moment = datetime.fromisoformat(f"{match['date']}T{clock}{(match['offset'] or 'Z').upper()}") + leap
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def duration_ms_of(value: str) -> int | None:
    """The milliseconds of a duration; None where it is in months or years, which have no one length, or too long."""
    match = _DURATION.fullmatch(value)
    if match is None or any((match[unit] or "").strip("0.,") for unit in ("years", "months")):
        return None
    total = sum(float(match[unit].replace(",", ".")) * unit_ms for unit, unit_ms in _UNIT_MS.items() if match[unit])
    return round(total) if total <= _DURATION_MS_MAX else None
