"""Statements in documents: one, an array of them, or what an LRS answers to a query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from services.ingest.application.ports import FieldReason, FileRow, LeftOutRow, Row, UnreadableRow
from services.ingest.formats.xapi.meaning import SUMS_UP, Meaning, meaning_of
from services.ingest.formats.xapi.paths import path_of
from services.ingest.formats.xapi.profiles import Profile, profile_of
from services.ingest.formats.xapi.statements import problems_of
from services.ingest.formats.xapi.texts import shown

Read = tuple[FileRow, Meaning]
"""What a statement is, and what it means."""

_NOTHING = Meaning()


def rows_of(
    document: object, source: str, number: int, *, version: str = "", profile: Profile | None = None
) -> Iterator[FileRow]:
    """What the statements of a document are, in order. Any JSON gets an answer.

    A score that sums up answers of the same learner in the same document is left out.

    Args:
        document: a statement, an array of statements, or an object with an array in `statements`.
        source: the source of their events.
        number: the document's place in its file or request, from 1; statements of an array count on.
        version: of the specification, 1.0 or 2.0; empty: the statement's own, or either.
        profile: of their producer; None: that which each statement's extensions name, if any.
    """
    statements = statements_of(document)
    return together(
        [read(statement, source, number + index, version, profile) for index, statement in enumerate(statements)]
    )


def together(statements: Sequence[Read]) -> Iterator[FileRow]:
    """What statements of one document are: a score that sums up answers of the same learner among them is left out."""
    answered = {
        (meaning.submission.learner_id, activity)
        for _, meaning in statements
        if meaning.submission is not None
        for activity in meaning.parts_of
    }
    for row, meaning in statements:
        event = meaning.submission
        if event is not None and meaning.sums_up and (event.learner_id, meaning.sums_up) in answered:
            yield LeftOutRow(row.line, SUMS_UP)
        else:
            yield row


def statements_of(document: object) -> list[Any]:
    """The statements of a document, as `rows_of` takes it."""
    if isinstance(document, dict) and isinstance(document.get("statements"), list) and "actor" not in document:
        statements: list[Any] = document["statements"]
        return statements
    return document if isinstance(document, list) else [document]


def read(statement: object, source: str, number: int, version: str = "", profile: Profile | None = None) -> Read:
    """What one statement is, and what it means. Arguments as for `rows_of`."""
    if not isinstance(statement, dict):
        problem = FieldReason("", f"is {shown(statement)}: send a statement, which is an object, or an array of them")
        return UnreadableRow(number, (problem,), statement), _NOTHING
    profile = profile or profile_of(statement)
    problems = problems_of(statement, version or _version_of(statement), profile.tolerance)
    if problems:
        return UnreadableRow(number, tuple(problems), statement), _NOTHING
    meaning = meaning_of(statement, source, profile)
    if meaning.submission is None:
        return LeftOutRow(number, meaning.reason), meaning
    body = meaning.submission.body
    whole: str = getattr(body, "activity", "") or getattr(body, "resource", "")
    return Row(number, meaning.submission, statement, name_of=partial(path_of, statement, whole)), meaning


def _version_of(statement: dict[str, Any]) -> str:
    """The version that a statement names, as far as the tables differ; empty where it names none of them."""
    version = statement.get("version")
    return version[:3] if isinstance(version, str) and version[:3] in ("1.0", "2.0") else ""
