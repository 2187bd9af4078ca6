"""Events and entities of Caliper in documents: an envelope, or one or several that stand alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from services.ingest.application.ports import FieldReason, FileRow, LeftOutRow, Row, UnreadableRow
from services.ingest.domain.kinds.assessment import Assessment
from services.ingest.domain.submission import Submission
from services.ingest.formats.caliper.checks import document_problems, entity_problems, event_problems
from services.ingest.formats.caliper.entities import is_known
from services.ingest.formats.caliper.events import EVENTS
from services.ingest.formats.caliper.meaning import Context, LeftOut, meaning_of
from services.ingest.formats.caliper.parts import Described, UnreadableEventError
from services.ingest.formats.caliper.profiles import Profile, profile_of
from services.ingest.formats.caliper.terms import (
    CONTEXT,
    field_of,
    has_own_definitions,
    is_first_version,
    is_foreign,
    is_supported,
    term_of,
)
from services.ingest.formats.json_values import instant, shown

SUMS_UP = "Caliper: scores of an activity whose items are scored in the same envelope"


def is_envelope(document: object) -> bool:
    """Whether a document is an envelope, complete or not."""
    return isinstance(document, dict) and "data" in document and "action" not in document


def envelope_problems(envelope: Mapping[str, Any]) -> Iterator[FieldReason]:
    """What is wrong with an envelope itself, but for a version that is not read."""
    sensor, sent, data = envelope.get("sensor"), envelope.get("sendTime"), envelope.get("data")
    if not isinstance(sensor, str) or not sensor:
        yield FieldReason("sensor", f"is {_text(sensor)}: send the id of the sensor")
    if instant(sent) is None:
        yield FieldReason("sendTime", f'is {_text(sent)}: send a date and time such as "2026-03-14T09:26:53.589Z"')
    if not isinstance(data, list) or not data:
        yield FieldReason("data", f"is {_text(data)}: send a list of events and entities")
    version = envelope.get("dataVersion")
    # Envelopes of 1.0 have none.
    if version is None and not (isinstance(data, list) and all(map(_is_first_version, data))):
        yield FieldReason("dataVersion", f"is missing: send {CONTEXT}")
    elif version is not None and not isinstance(version, str):
        yield FieldReason("dataVersion", f"is {shown(version)}: send {CONTEXT}")


def version_problem(envelope: Mapping[str, Any]) -> FieldReason | None:
    """What is wrong with the version of an envelope; None: it is one that is read, or of 1.0, or no text."""
    version = envelope.get("dataVersion")
    if not isinstance(version, str) or is_supported(version):
        return None
    return FieldReason("dataVersion", f"is {shown(version)}, which is not read: send {CONTEXT}")


def rows_of(document: object, source: str, number: int, *, profile: Profile | None = None) -> Iterator[FileRow]:
    """What the events and entities of a document are, in order. Any JSON gets an answer.

    A score of an activity is left out where the same envelope has scores of the learner on its items.

    Args:
        document: an envelope, an event, an entity, or a list of events and entities.
        source: the source of events that name no application.
        number: the document's place in its file or request, from 1.
        profile: what the producer bends; None: it is recognised.
    """
    path: str | None
    if is_envelope(document) and isinstance(document, dict):
        version = version_problem(document)
        problems = (*envelope_problems(document), *(() if version is None else (version,)))
        if problems:
            yield UnreadableRow(number, problems, document)
            return
        documents, path = document["data"], "data"
    else:
        documents = document if isinstance(document, list) else [document]
        path = "" if isinstance(document, list) else None
    described = _described(documents)
    read = []
    for index, each in enumerate(documents):
        prefix = "" if path is None else f"{path}[{index}]."
        read.append(_row(each, source, number, prefix, described, profile))
    answered = {
        (row.submission.learner_id, row.submission.body.activity)
        for row in read
        if isinstance(row, Row) and isinstance(row.submission.body, Assessment) and row.submission.body.item
    }
    for row in read:
        yield LeftOutRow(number, SUMS_UP) if isinstance(row, Row) and _sums_up(row.submission, answered) else row


def _sums_up(submission: Submission, answered: set[tuple[str, str]]) -> bool:
    body = submission.body
    return isinstance(body, Assessment) and not body.item and (submission.learner_id, body.activity) in answered


def _row(
    document: object, source: str, number: int, prefix: str, described: Described, profile: Profile | None
) -> FileRow:
    """What one event or entity is; paths of its fields get the prefix."""
    if not isinstance(document, dict):
        reason = f"is {shown(document)}: send an event or an entity, which is an object"
        return UnreadableRow(number, (FieldReason(prefix.removesuffix("."), reason),), document)
    found = _read(document, source, described, profile)
    if isinstance(found, LeftOut):
        return LeftOutRow(number, found.reason)
    if isinstance(found, Submission):
        return Row(number, found, document)
    problems = tuple(FieldReason(f"{prefix}{problem.field}", problem.reason) for problem in found)
    return UnreadableRow(number, problems, document)


def _read(
    document: Mapping[str, Any], source: str, described: Described, profile: Profile | None
) -> Submission | LeftOut | list[FieldReason]:
    problems = list(document_problems(document))
    kind = field_of(document, "type")
    if "caliper_supported_versions" in document and kind is None:
        return LeftOut("Caliper: what an endpoint says about itself")
    if not isinstance(kind, str) or not kind:
        return [*problems, FieldReason("type", f"is {_text(kind)}: send the type, such as GradeEvent or Person")]
    rule = EVENTS.get(term_of(kind))
    if rule is None:
        return _without_rule(document, kind, problems)
    problems += event_problems(document, rule)
    if problems:
        return problems
    context = Context(source, described, profile_of(document) if profile is None else profile)
    try:
        return meaning_of(document, rule, context)
    except UnreadableEventError as error:
        return [error.problem]


def _without_rule(document: Mapping[str, Any], kind: str, problems: list[FieldReason]) -> LeftOut | list[FieldReason]:
    """An entity that stands alone, or an event that Caliper does not know."""
    term = term_of(kind)
    if is_known(term) and "action" not in document:
        return [*problems, *entity_problems(document)] or LeftOut("Caliper: entities that are described")
    if is_foreign(term) or has_own_definitions(document):
        return problems or LeftOut("Caliper: events and entities of another vocabulary")
    return [*problems, FieldReason("type", f"is {shown(kind)}, which Caliper has not: send GradeEvent, for example")]


def _described(documents: list[object]) -> Described:
    """The entities that stand alone among the documents, by their ids."""
    found = {}
    for each in documents:
        if isinstance(each, dict) and "action" not in each and isinstance(name := field_of(each, "id"), str):
            found[name] = each
    return found


def _is_first_version(document: object) -> bool:
    return isinstance(document, dict) and is_first_version(document)


def _text(value: object) -> str:
    return "missing" if value is None else shown(value)
