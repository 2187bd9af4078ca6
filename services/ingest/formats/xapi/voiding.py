"""Voiding in files: a correction of the learner whose statement is voided, who need not be the one who voids it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from services.ingest.application.ports import FileRow, LeftOutRow, Row
from services.ingest.domain.kinds.correction import Correction
from services.ingest.formats.together import Documents
from services.ingest.formats.xapi.profiles import Profile
from services.ingest.formats.xapi.reader import rows_of, statements_of
from services.ingest.formats.xapi.texts import VOIDED

# The end of the verb: before it, some producers escape slashes.
CHANGE_MARKS = (VOIDED.rpartition("/")[2].encode(),)
NOT_IN_LOAD = "void a statement that is not loaded with them, so they are of their actor: load both together"
NO_EVENT = "voids a statement that is left out"
VOIDS_VOIDING = "voids a voiding statement, which cannot be voided"


@dataclass(frozen=True, slots=True)
class _Target:
    """A statement that is voided.

    Attributes:
        learner_id: whose event it is.
        reason: why there is nothing to correct; empty: there is.
    """

    learner_id: str = ""
    reason: str = ""


class Voidings:
    """Implements Changes."""

    def __init__(self, targets: Mapping[str, _Target]) -> None:
        """Args: the statements that are voided, by their ids."""
        self._targets = targets

    def applied(self, document: object, rows: Iterable[FileRow]) -> Iterator[FileRow]:  # noqa: ARG002 - see Changes.
        """See Changes."""
        for row in rows:
            if not isinstance(row, Row) or not isinstance(row.submission.body, Correction):
                yield row
                continue
            target = self._targets.get(row.submission.body.target_event_id)
            if target is None:
                yield replace(row, remark=NOT_IN_LOAD)
            elif target.reason:
                yield LeftOutRow(row.line, target.reason)
            else:
                yield replace(row, submission=replace(row.submission, learner_id=target.learner_id))


def changes_in(changing: Documents, documents: Documents, source: str, profile: Profile | None = None) -> Voidings:
    """What is voided.

    Args:
        changing: the documents among which the voiding statements are.
        documents: those among which the voided statements are.
        source: the source of their events.
        profile: of their producer; None: that which each statement's extensions name, if any.
    """
    voided = {found for document in changing for each in statements_of(document) if (found := _voided_by(each))}
    targets: dict[str, _Target] = {}
    for document in documents if voided else ():
        ids = [_id_of(each) for each in statements_of(document)]
        if voided.isdisjoint(ids):
            continue
        for statement_id, row in zip(ids, rows_of(document, source, 0, profile=profile), strict=True):
            if statement_id in voided and (target := _target_of(row)) is not None:
                targets.setdefault(statement_id, target)
    return Voidings(targets)


def _voided_by(statement: Any) -> str:
    """The id of the statement that another, of any JSON, voids; empty: none."""
    if not isinstance(statement, dict):
        return ""
    verb, target = statement.get("verb"), statement.get("object")
    if not isinstance(verb, dict) or verb.get("id") != VOIDED or not isinstance(target, dict):
        return ""
    return _id_of(target)


def _id_of(statement: Any) -> str:
    found = statement.get("id") if isinstance(statement, dict) else None
    return found.lower() if isinstance(found, str) else ""


def _target_of(row: FileRow) -> _Target | None:
    """What is voided; None: a statement that is refused."""
    if isinstance(row, LeftOutRow):
        return _Target(reason=NO_EVENT)
    if not isinstance(row, Row):
        return None
    if isinstance(row.submission.body, Correction):
        return _Target(reason=VOIDS_VOIDING)
    return _Target(row.submission.learner_id)
