"""Results of QTI, as assessment players report them: `assessmentResult` of versions 2.1, 2.2 and 3.0.

An item's outcome variable SCORE is an outcome of the candidate, with the maximum that MAXSCORE, NORMALMAXSCORE or its
own normalMaximum gives. Namespaces make no difference, nor does the spelling of names with hyphens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree.ElementTree import Element

from services.common.tables.lines import UNREADABLE, FileUnusableError, ObserveBytes, opened, unusable
from services.common.xml_documents import XmlUnusableError, root_of
from services.ingest.application.ports import FieldReason, FileRow, LeftOutRow, Row, UnreadableRow
from services.ingest.domain.kinds.assessment import Assessment, Grain
from services.ingest.domain.outcome import Score
from services.ingest.domain.submission import Instant, Submission
from services.ingest.formats.json_values import duration_ms, kept_ms
from services.ingest.formats.ndjson import instant_of

DOCUMENT_BYTES_MAX = 16_000_000

_READ_BYTES = 1 << 16
_SHOWN_CHARACTERS = 60
_MAXIMA = ("MAXSCORE", "NORMALMAXSCORE")
_ATTEMPT_MAX = 2**32 - 1
_DIGITS_MAX = 10

NO_SCORE = "QTI: results without a variable SCORE"
NO_MAXIMUM = "QTI: scores without a maximum"
UNGRADED = "QTI: ungraded, the maximum is not above the minimum"
NOT_FINAL = "QTI: items that are not scored yet"
NOT_ATTEMPTED = "QTI: items that were not attempted"
OF_TEST = "QTI: results of a test whose items are reported"
NOTHING = "QTI: reports without results"


class _UnreadableError(ValueError):
    """A result holds a value that cannot be read."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.problem = FieldReason(field, reason)


@dataclass(frozen=True, slots=True)
class _Report:
    """What all results of one report share.

    Attributes:
        candidate: the learner.
        test: the identifier of the test; empty: it is not named.
        source: of the events.
        number: the place of the report.
    """

    candidate: str
    test: str
    source: str
    number: int


def read_qti_results(path: Path, source: str = "", observe_bytes: ObserveBytes = lambda _: None) -> Iterator[FileRow]:
    """The events of a file with one report, or several within one element.

    Args:
        path: the file, gzip-compressed or not.
        source: the source of the events.
        observe_bytes: see ObserveBytes.

    Raises:
        FileUnusableError: when it cannot be opened, its compressed content is damaged, or it is too large.
    """
    try:
        root = root_of(_chunks(path, observe_bytes))
    except XmlUnusableError as error:
        yield UnreadableRow(1, (FieldReason("", str(error)),), "")
        return
    except UNREADABLE as error:
        raise unusable(path, error) from error
    yield from rows_of(root, source, 1)


def rows_of(root: Element, source: str, number: int) -> Iterator[FileRow]:
    """What the results of a document are, in order. Any XML gets an answer.

    Args:
        root: a report, or an element that holds reports.
        source: the source of the events.
        number: the document's place in its file or request, from 1.
    """
    reports = [root] if _is(root, "assessmentResult") else [each for each in root if _is(each, "assessmentResult")]
    if not reports:
        reason = f"is {_shown(root.tag)}: send assessmentResult"
        yield UnreadableRow(number, (FieldReason("", reason),), root.tag)
    for report in reports:
        yield from _report_rows(report, source, number)


def _report_rows(report: Element, source: str, number: int) -> Iterator[FileRow]:
    context = _child(report, "context")
    if context is None:
        yield UnreadableRow(number, (FieldReason("context", "is missing: send it with the candidate"),), report.tag)
        return
    tests = [each for each in report if _is(each, "testResult")]
    items = [each for each in report if _is(each, "itemResult")]
    if not tests and not items:
        yield LeftOutRow(number, NOTHING)
        return
    candidate = _candidate(context)
    if not candidate:
        reason = "is missing: send the candidate's id"
        yield UnreadableRow(number, (FieldReason("context.sourcedId", reason),), report.tag)
        return
    shared = _Report(candidate, _attribute(tests[0], "identifier") if tests else "", source, number)
    for name, results in (("testResult", tests), ("itemResult", items)):
        for index, result in enumerate(results):
            if name == "testResult" and items:
                yield LeftOutRow(number, OF_TEST)
            else:
                yield _row(result, f"{name}[{index}]", shared)


def _row(result: Element, path: str, report: _Report) -> FileRow:
    try:
        found = _submission(result, path, report)
    except _UnreadableError as error:
        original = {"identifier": _attribute(result, "identifier"), "datestamp": _attribute(result, "datestamp")}
        return UnreadableRow(report.number, (error.problem,), original)
    if isinstance(found, str):
        return LeftOutRow(report.number, found)
    return Row(report.number, found, {"identifier": _attribute(result, "identifier")})


def _submission(result: Element, path: str, report: _Report) -> Submission | str:
    """The outcome of an item or a test; the reason, where it is left out."""
    reason = _not_scored(result)
    if reason is not None:
        return reason
    outcome = _score(result, path)
    if isinstance(outcome, str):
        return outcome
    identifier = _attribute(result, "identifier")
    if not identifier:
        raise _UnreadableError(f"{path}.identifier", "is missing: send the identifier of what was scored")
    is_item = _is(result, "itemResult")
    return Submission(
        learner_id=report.candidate,
        source=report.source,
        occurred_at=_datestamp(result, path),
        body=Assessment(
            item=identifier if is_item else "",
            activity=report.test if is_item else identifier,
            outcome=outcome,
            attempt=_attempt(result),
            duration_ms=_duration_ms(result),
            grain=Grain.ITEM if is_item else Grain.ACTIVITY,
        ),
    )


def _not_scored(result: Element) -> str | None:
    if _attribute(result, "sessionStatus") not in ("", "final"):
        return NOT_FINAL
    status = _value(_variable(result, "outcomeVariable", "completionStatus"))
    # It counts the attempts that began.
    attempts = _value(_variable(result, "responseVariable", "numAttempts"))
    if status in ("not_attempted", "notAttempted") or attempts == "0":
        return NOT_ATTEMPTED
    return None


def _score(result: Element, path: str) -> Score | str:
    variable = _variable(result, "outcomeVariable", "SCORE")
    if variable is None or not _value(variable):
        return NO_SCORE
    raw = _number(_value(variable), f"{path}.SCORE")
    low = _number(_value(_variable(result, "outcomeVariable", "MINSCORE")) or "0", f"{path}.MINSCORE")
    high = next((text for name in _MAXIMA if (text := _value(_variable(result, "outcomeVariable", name)))), "")
    high = high or _attribute(variable, "normalMaximum")
    if not high:
        return NO_MAXIMUM
    maximum = _number(high, f"{path}.MAXSCORE")
    if maximum <= low:
        return UNGRADED
    # Templates may give more than the maximum, and take more than there is.
    return Score(max(low, min(raw, maximum)), low, maximum)


def _candidate(context: Element) -> str:
    user = _child(context, "identifiedUser")
    of_user = (
        "" if user is None else _attribute(user, "sourcedId") or _attribute(user, "identifier") or (user.text or "")
    )
    return (_attribute(context, "sourcedId") or of_user).strip()


def _datestamp(result: Element, path: str) -> Instant | None:
    """When it was reported; a time without an offset is in UTC."""
    text = _attribute(result, "datestamp")
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return instant_of(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        reason = f'is {_shown(text)}: send a date and time such as "2026-03-14T09:26:53Z"'
        raise _UnreadableError(f"{path}.datestamp", reason) from error


def _attempt(result: Element) -> int | None:
    text = _value(_variable(result, "responseVariable", "numAttempts"))
    is_number = text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX
    return int(text) if is_number and 1 <= int(text) <= _ATTEMPT_MAX else None


def _duration_ms(result: Element) -> int | None:
    """The built-in duration of a session, in seconds; TAO writes ISO 8601."""
    text = _value(_variable(result, "responseVariable", "duration"))
    try:
        return kept_ms(float(text) * 1000)
    except ValueError:
        return duration_ms(text)


def _number(text: str, field: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _UnreadableError(field, f"is {_shown(text)}: send a number")
    return number


def _variable(result: Element, kind: str, identifier: str) -> Element | None:
    wanted = identifier.casefold()
    return next(
        (each for each in result if _is(each, kind) and _attribute(each, "identifier").casefold() == wanted), None
    )


def _value(variable: Element | None) -> str:
    """The first value of a variable, also of a response; empty: it has none."""
    if variable is None:
        return ""
    values = _child(variable, "candidateResponse")
    value = _child(variable if values is None else values, "value")
    return ((value.text if value is not None else "") or "").strip()


def _chunks(path: Path, observe_bytes: ObserveBytes) -> Iterator[bytes]:
    size = 0
    with opened(path) as (stored, content):
        while chunk := content.read(_READ_BYTES):
            size += len(chunk)
            if size > DOCUMENT_BYTES_MAX:
                raise FileUnusableError(f"{path} has more than {DOCUMENT_BYTES_MAX} bytes: split it by candidates")
            observe_bytes(stored.tell())
            yield chunk


def _child(element: Element, name: str) -> Element | None:
    return next((each for each in element if _is(each, name)), None)


def _is(element: Element, name: str) -> bool:
    return _plain(element.tag) == name.casefold()


def _attribute(element: Element, name: str) -> str:
    """An attribute, in any spelling; empty: it has none."""
    value = element.get(name)
    if value is None:
        value = next((text for key, text in element.items() if _plain(key) == name.casefold()), "")
    return value.strip()


def _plain(name: str) -> str:
    return name.replace("-", "").casefold()


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}...")
