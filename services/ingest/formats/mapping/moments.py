"""Reading times: in declared formats, local ones with the two passes of an autumn night."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from services.ingest.domain.submission import Instant
from services.ingest.formats.mapping.cells import CellError, Numbers, shown, text_of
from services.ingest.formats.mapping.model import FileMapping

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the difference of two times without a zone is the same.
_MIDNIGHT = time()
# Excel's first day is 1, and it has a 29 February 1900.
_EXCEL_DAY_0 = datetime(1899, 12, 30)  # noqa: DTZ001 - a serial number has no zone.
_EXCEL_DAYS = (61.0, 2_958_466.0)
_UNIX_FORMATS = {"unix": 1.0, "unix_ms": 1e3, "unix_us": 1e6}
_ABBREVIATIONS_OF_YEARS = range(1970, 2038)


class RepeatedTime(NamedTuple):
    """A local time that there are two of, because clocks are set back."""

    local: datetime
    first: Instant
    second: Instant


class Moments:
    """Reads times as a mapping says that they are written."""

    def __init__(self, mapping: FileMapping, numbers: Numbers) -> None:
        """Args: the mapping, and what reads its numbers."""
        self._formats = mapping.date_format
        self._numbers = numbers
        self._zone = None if mapping.time_zone is None else ZoneInfo(mapping.time_zone)
        self._abbreviations = _abbreviations_of(self._zone)
        self._readers = [self._reader(name) for name in self._formats]

    def moment(self, value: Any) -> Instant | RepeatedTime:
        """The point in time, or the two that a local time may be."""
        if isinstance(value, datetime):
            moment = value.replace(fold=0) if value.tzinfo is None else value
        elif isinstance(value, date):
            moment = datetime.combine(value, _MIDNIGHT)
        else:
            moment = self._parsed(value)
        try:
            if moment.tzinfo is not None:
                return _instant(moment.replace(tzinfo=None) - (moment.utcoffset() or timedelta()))
            return self._local(moment, value)
        except OverflowError as error:
            raise CellError(f"is {shown(value)}: it is out of range") from error

    def _local(self, local: datetime, value: Any) -> Instant | RepeatedTime:
        zone = self._zone
        if zone is None:
            raise CellError(
                f"is {shown(value)}, without a time zone: set time_zone, or --time-zone, to the one it was recorded in"
            )
        before, after = _offsets(local, zone)
        # A day without a time starts at midnight, or where clocks skip that, as soon as it can.
        if before == after or local.time() == _MIDNIGHT:
            return _instant(local - before)
        if before < after:
            raise CellError(
                f"is {shown(value)}, a time that {zone.key} skipped when clocks were set forward: correct it, or set "
                "time_zone to the one it was recorded in"
            )
        return RepeatedTime(local, _instant(local - before), _instant(local - after))

    def _parsed(self, value: Any) -> datetime:
        reason: CellError | None = None
        for read in self._readers:
            try:
                return read(value)
            except CellError as error:
                reason = error
            except ValueError:
                continue
        if len(self._formats) == 1 and reason is not None:
            raise reason
        which = "in the format" if len(self._formats) == 1 else "in any of the formats"
        raise CellError(f"is {shown(value)}, not {which} {', '.join(self._formats)}: set date_format to the right one")

    def _reader(self, name: str) -> Callable[[Any], datetime]:
        """A function that reads one format; it raises ValueError, which may be a CellError, for what is in another."""
        if name == "iso":
            return lambda value: datetime.fromisoformat(value if type(value) is str else text_of(value))
        if name == "excel":
            return self._excel
        if name in _UNIX_FORMATS:
            return lambda value: self._unix(value, name)
        if "%Z" in name:
            return lambda value: self._abbreviated(text_of(value), name)
        return lambda value: datetime.strptime(text_of(value), name)  # noqa: DTZ007 - the caller adds the zone.

    def _unix(self, value: Any, name: str) -> datetime:
        seconds = self._numbers.number(value) / _UNIX_FORMATS[name]
        try:
            return datetime.fromtimestamp(seconds, UTC)
        except (OverflowError, ValueError, OSError) as error:
            raise CellError(f"is {shown(value)}: it must be {name} time") from error

    def _excel(self, value: Any) -> datetime:
        # A date and a time in two cells are two numbers.
        parts = value.split() if isinstance(value, str) else [value]
        days = sum(map(self._numbers.number, parts))
        if not _EXCEL_DAYS[0] <= days < _EXCEL_DAYS[1]:
            raise CellError(f"is {shown(value)}: it must be a date of Excel, a number of days from 61 on")
        # A float holds a time of today to a microsecond, more or less.
        return _EXCEL_DAY_0 + timedelta(milliseconds=round(days * 86_400_000))

    def _abbreviated(self, text: str, pattern: str) -> datetime:
        """A time with the abbreviation of its zone, which Python would take from the settings of the machine."""
        words = set(re.findall(r"[A-Z]+|[+-]\d+", text.upper()))
        found = next((name for name in self._abbreviations if name.upper() in words), None)
        if found is None:
            known = ", ".join(self._abbreviations)
            raise CellError(
                f"is {shown(text)}, without one of the zones {known} for %Z: set time_zone to the zone it was recorded "
                "in, or write the letters into date_format to ignore them"
            )
        local = datetime.strptime(text, pattern.replace("%Z", found))  # noqa: DTZ007 - the zone follows.
        if self._zone is None or found in {"UTC", "GMT"}:
            return local.replace(tzinfo=UTC)
        before, after = _offsets(local, self._zone)
        for fold in (0, 1):
            moment = local.replace(tzinfo=self._zone, fold=fold)
            # Of a time that clocks skip, neither is right.
            if moment.tzname() == found and before >= after:
                return moment
        raise CellError(
            f"is {shown(text)}, but {self._zone.key} has no such time in {found}: correct it, or write {found} into "
            "date_format in place of %Z to ignore it"
        )


class RepeatedHours:
    """Which pass of a repeated hour a learner's act was in: rows are in the order in which things happened."""

    def __init__(self) -> None:
        self._learners: dict[tuple[str, date], _Night] = {}

    def instant_of(self, learner: str, time: RepeatedTime, act: Hashable, row: int) -> Instant:
        """The point in time of the learner's next act.

        It is in the second pass once the clock has gone back, or shows the same time for the same act in another row.

        Args:
            learner: who acted.
            time: what the clock showed.
            act: what was done, without its outcome.
            row: the number of the row, which may have several acts.
        """
        night = self._learners.setdefault((learner, time.local.date()), _Night(time.local))
        if not night.second:
            again = night.acts.get(act, row) != row
            night.second = time.local < night.latest or (time.local == night.latest and again)
            if time.local > night.latest:
                night.latest, night.acts = time.local, {}
            night.acts.setdefault(act, row)
        return time.second if night.second else time.first


class _Night:
    """What a learner did while a time could be in the first pass."""

    __slots__ = ("acts", "latest", "second")

    def __init__(self, latest: datetime) -> None:
        self.latest = latest
        # The row of each act at that time.
        self.acts: dict[Hashable, int] = {}
        self.second = False


def joined_moment(parts: list[Any]) -> Any:
    """A date and a time of two cells as one value; texts joined by a space."""
    if len(parts) == 2 and isinstance(parts[0], date):
        day = parts[0].date() if isinstance(parts[0], datetime) else parts[0]
        if isinstance(parts[1], datetime):
            return datetime.combine(day, parts[1].time())
        if isinstance(parts[1], time):
            return datetime.combine(day, parts[1])
        if isinstance(parts[1], timedelta):
            return datetime.combine(day, _MIDNIGHT) + parts[1]
        parts = [day, parts[1]]
    # A number keeps its fraction, which is the time of day.
    return " ".join(repr(part) if isinstance(part, float) else text_of(part) for part in parts)


def _offsets(local: datetime, zone: ZoneInfo) -> tuple[timedelta, timedelta]:
    """The offsets of a local time from UTC; they differ where clocks are changed: before, and after that."""
    return zone.utcoffset(local) or timedelta(), zone.utcoffset(local.replace(fold=1)) or timedelta()


def _instant(utc: datetime) -> Instant:
    since = utc - _EPOCH
    return Instant(since.days * 86_400 + since.seconds, since.microseconds * 1000)


def _abbreviations_of(zone: ZoneInfo | None) -> tuple[str, ...]:
    """The names that a zone has for its own time, and those that every zone understands."""
    names = {"UTC": None, "GMT": None}
    if zone is not None:
        moments = (datetime(year, month, 1, tzinfo=zone) for year in _ABBREVIATIONS_OF_YEARS for month in (1, 7))
        names = {name: None for moment in moments if (name := moment.tzname())} | names
    return tuple(names)
