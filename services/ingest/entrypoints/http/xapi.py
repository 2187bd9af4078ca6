"""/xAPI: statements of the Experience API, versions 1.0.x and 2.0, into the log.

It takes statements, and answers for those of the last while by their ids. It is no store to query.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, NamedTuple

import orjson
from google.rpc import code_pb2
from starlette.requests import Request
from starlette.responses import Response

from services.common.auth.tenant import Tenant
from services.common.http.refusals import RequestRefusedError, invalid_request, json_response
from services.common.http.routes import Admitted, OpenRoute, Route
from services.common.rpc.statuses import FieldViolation, already_exists, ended, not_found, unavailable
from services.common.turns import Pauses
from services.ingest.application.ports import FileRow, LeftOutRow, Row, UnreadableRow
from services.ingest.application.statements import KeptStatement, Known, StatementStore, StatementsUnavailableError
from services.ingest.domain.kinds.correction import Correction, Void
from services.ingest.domain.repeats import Outcome
from services.ingest.entrypoints.http.publishing import POLICY, HttpPublisher, check_rows
from services.ingest.entrypoints.http.xapi_bodies import check_attachments, document_of
from services.ingest.formats.xapi.kept import answer_of, digest_of, without_names
from services.ingest.formats.xapi.meaning import GROUP, learner_of
from services.ingest.formats.xapi.reader import Read, read, together
from services.ingest.formats.xapi.statements import IDENTIFIERS
from services.ingest.formats.xapi.texts import VOIDED
from services.ingest.formats.xapi.texts import uuid as uuid_check

PATH = "/xAPI/statements"
ABOUT_PATH = "/xAPI/about"
SOURCE = "xapi"

_VERSION = "X-Experience-API-Version"
_CONSISTENT = "X-Experience-API-Consistent-Through"
_VERSIONS = {"1.0": "1.0.3", "2.0": "2.0.0"}
_BY_ID = ("statementId", "voidedStatementId")
_WITH_ID = {"attachments", "format"}
_QUERIES = {
    "agent", "verb", "activity", "registration", "related_activities", "related_agents", "since", "until", "limit",
    "ascending",
}  # fmt: skip
_FORMATS = ("ids", "exact", "canonical")
_CONTENT_BYTES_MAX = 32_768
_RETRY_AFTER_S = 5.0
_UNKEPT = "send integers of at most 64 bits, and extensions that are nested less than 200 deep"


class _Taken(NamedTuple):
    """A valid statement of a request.

    Attributes:
        statement: it.
        statement_id: its id, in lower case; empty: it has none yet.
        digest: of what cannot change in it.
        voids: the id of the statement that it voids; empty: none.
        row: what it is for the log.
        path: its place in a batch, as in `[3].`; empty: it is the only one.
    """

    statement: dict[str, Any]
    statement_id: str
    digest: bytes
    voids: str
    row: FileRow
    path: str


def xapi_routes(
    publish: HttpPublisher,
    statements: StatementStore,
    clock: Callable[[], datetime],
    new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
) -> list[Route | OpenRoute]:
    """The routes of xAPI.

    Args:
        publish: publishes events.
        statements: what is kept of statements.
        clock: the time, aware.
        new_id: an id for a statement that has neither an id nor a time.
    """
    resource = _Statements(publish, statements, clock, new_id)

    def headers(request: Request) -> Mapping[str, str]:
        # Statements can be asked for as soon as they were answered.
        return {_VERSION: _VERSIONS.get(_version_of(request), "1.0.3"), _CONSISTENT: _text_of(clock())}

    def about(request: Request) -> Response:
        return json_response({"version": ["2.0.0", "1.0.3"]}, headers=headers(request))

    return [
        Route(PATH, ("POST",), resource.post, POLICY, headers),
        Route(PATH, ("PUT",), resource.put, POLICY, headers),
        Route(PATH, ("GET",), resource.get, POLICY, headers),
        OpenRoute(ABOUT_PATH, about),
    ]


class _Statements:
    """The statements resource."""

    def __init__(
        self,
        publish: HttpPublisher,
        statements: StatementStore,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._publish = publish
        self._kept = statements
        self._clock = clock
        self._new_id = new_id

    async def post(self, admitted: Admitted) -> Response:
        """Take a statement, or an array of them: all or none."""
        version = _checked_version(admitted.request)
        _check_parameters(admitted.request, set())
        document, parts = document_of(admitted)
        sent = document if isinstance(document, list) else [document]
        if not sent:
            raise invalid_request([FieldViolation("body", "is an empty array: send at least one statement")])
        check_rows(len(sent))
        taken = await self._checked(sent, version, admitted.tenant)
        check_attachments([each.statement for each in taken], parts)
        await self._take(admitted, taken, version)
        return json_response([each.statement["id"] for each in taken])

    async def put(self, admitted: Admitted) -> Response:
        """Take one statement under the id of the query."""
        version = _checked_version(admitted.request)
        _check_parameters(admitted.request, {"statementId"})
        statement_id = admitted.request.query_params.get("statementId", "")
        if (wrong := uuid_check(statement_id)) is not None:
            raise invalid_request([FieldViolation("statementId", wrong)])
        document, parts = document_of(admitted)
        if isinstance(document, list):
            raise invalid_request([FieldViolation("body", "is an array: PUT one statement, or POST several")])
        if isinstance(document, dict) and str(document.setdefault("id", statement_id)).lower() != statement_id.lower():
            raise invalid_request([FieldViolation("id", "is not the statementId of the query: send the same, or none")])
        taken = await self._checked([document], version, admitted.tenant)
        check_attachments([each.statement for each in taken], parts)
        await self._take(admitted, taken, version)
        return Response(status_code=204)

    async def get(self, admitted: Admitted) -> Response:
        """Answer with a statement by its id."""
        _checked_version(admitted.request)
        query = admitted.request.query_params
        _check_parameters(admitted.request, {*_BY_ID, *_WITH_ID, *_QUERIES})
        given = [name for name in _BY_ID if name in query]
        if query.get("format", "exact") not in _FORMATS:
            raise invalid_request([FieldViolation("format", f"is none of {', '.join(_FORMATS)}: send one of them")])
        if query.get("attachments", "false") not in ("true", "false"):
            raise invalid_request([FieldViolation("attachments", "is neither true nor false: send one of them")])
        if not given:
            message = "statements are answered by statementId or voidedStatementId only; this is no store to query"
            status = ended(code_pb2.UNIMPLEMENTED, message, reason="NO_QUERIES")
            raise RequestRefusedError(status, reason="no_queries")
        others = sorted(set(query.keys()) - {given[0], *_WITH_ID})
        if others:
            reason = f"is given and so is {given[0]}: ask for one statement, with format and attachments only"
            raise invalid_request([FieldViolation(others[0], reason)])
        if (wrong := uuid_check(query[given[0]])) is not None:
            raise invalid_request([FieldViolation(given[0], wrong)])
        (known,) = await self._known(admitted.tenant, [query[given[0]].lower()])
        voided = bool(known.voided_by) and known.statement is not None and not known.statement.voids
        if known.statement is None or not known.statement.content or voided != (given[0] == "voidedStatementId"):
            message = f"no {'voided ' if given[0] == 'voidedStatementId' else ''}statement with this id is kept"
            raise RequestRefusedError(not_found(message), reason="no_statement")
        stored = datetime.fromisoformat(orjson.loads(known.statement.content)["stored"])
        headers = {"Last-Modified": format_datetime(stored, usegmt=True)}
        return Response(known.statement.content, headers=headers, media_type="application/json")

    async def _checked(self, sent: Sequence[object], version: str, tenant: Tenant) -> list[_Taken]:
        """The statements of a request, each with an id, once all of them are valid."""
        pauses, found = Pauses(), list[Read]()
        for number, statement in enumerate(sent, start=1):
            found.append(read(statement, SOURCE, number, version))
            await pauses.when_due()
        taken, violations, seen = list[_Taken](), list[FieldViolation](), dict[str, int]()
        for number, (statement, row) in enumerate(zip(sent, together(found), strict=True)):
            prefix = f"[{number}]" if len(sent) > 1 else ""
            if isinstance(row, UnreadableRow) or not isinstance(statement, dict):
                problems = row.problems if isinstance(row, UnreadableRow) else ()
                violations += [_violation(prefix, problem.field, problem.reason) for problem in problems]
                continue
            given = statement.get("id", "").lower()
            if given in seen:
                reason = f"is that of [{seen[given]}] too: give each statement an id of its own"
                violations.append(FieldViolation(f"{prefix}.id", reason))
            if given:
                seen[given] = number
            try:
                orjson.dumps(statement)
                taken.append(
                    _Taken(
                        statement, given, digest_of(statement), _voids(statement), row, f"{prefix}." if prefix else ""
                    )
                )
            except (orjson.JSONEncodeError, RecursionError) as error:
                violations.append(_violation(prefix, "", f"cannot be kept: {_UNKEPT} ({error})"))
            await pauses.when_due()
        if violations:
            raise invalid_request(violations)
        return [each if each.statement_id else self._with_id(each, tenant, seen) for each in taken]

    def _with_id(self, taken: _Taken, tenant: Tenant, seen: dict[str, int]) -> _Taken:
        """With an id: the same when it is sent again, where the statement's time tells it from others."""
        statement_id = self._new_id()
        if "timestamp" in taken.statement:
            for ordinal in range(len(seen) + 1):
                name = f"{tenant.name} {taken.digest.hex()} {ordinal}"
                if (statement_id := str(uuid.uuid5(uuid.NAMESPACE_OID, name))) not in seen:
                    break
            seen[statement_id] = -1
        row = taken.row
        if isinstance(row, Row):
            row = replace(row, submission=replace(row.submission, event_id=statement_id))
        statement = {"id": statement_id, **taken.statement}
        return taken._replace(statement=statement, statement_id=statement_id.lower(), row=row)

    async def _take(self, admitted: Admitted, taken: Sequence[_Taken], version: str) -> None:
        """Publish what is new in statements, and keep them.

        Raises:
            RequestRefusedError: when one of them differs from one with the same id, or nothing can be written now.
        """
        tenant = admitted.tenant
        voids = [each.voids for each in taken if each.voids]
        asked = list(dict.fromkeys([*(each.statement_id for each in taken), *voids]))
        known = dict(zip(asked, await self._known(tenant, asked, needed=bool(voids)), strict=True))
        new = [each for each in taken if _is_new(each, known[each.statement_id])]
        by_id = {each.statement_id: each for each in taken}
        rows, paths = list[FileRow](), list[str]()
        for each in new:
            events = _events_of(each, known, by_id)
            rows += events
            paths += [each.path] * len(events)
        outcomes = await self._publish(tenant, rows, all_or_nothing=True, paths=paths)
        for outcome in outcomes:
            if outcome is not None and outcome.outcome is Outcome.CONFLICT:
                raise _conflict(outcome.event_id)
        await self._keep(admitted, new, version)

    async def _keep(self, admitted: Admitted, new: Sequence[_Taken], version: str) -> None:
        tenant, stored = admitted.tenant, _text_of(self._clock())
        # The address that the platform knows the service by is the system that knows the tenant.
        authority = {
            "objectType": "Agent",
            "account": {"homePage": str(admitted.request.base_url), "name": tenant.name},
        }
        # A statement without a version is of the first.
        default = "2.0.0" if version == "2.0" else "1.0.0"
        pauses, kept = Pauses(), list[KeptStatement]()
        for each in new:
            people = set[str]()
            content = orjson.dumps(answer_of(without_names(each.statement, people), stored, authority, default))
            kept.append(
                KeptStatement(
                    each.statement_id,
                    each.digest,
                    content if len(content) <= _CONTENT_BYTES_MAX else b"",
                    tuple(sorted(map(tenant.pseudonym, people))),
                    each.voids,
                )
            )
            await pauses.when_due()
        try:
            await self._kept.add(tenant, kept)
        except StatementsUnavailableError as error:
            if any(each.voids for each in new):
                raise _unavailable(error) from error

    async def _known(self, tenant: Tenant, ids: Sequence[str], *, needed: bool = True) -> list[Known]:
        try:
            return await self._kept.of(tenant, ids)
        except StatementsUnavailableError as error:
            if needed:
                raise _unavailable(error) from error
            return [Known() for _ in ids]


def _voids(statement: dict[str, Any]) -> str:
    """The id of the statement that a valid one voids; empty: none."""
    target: str = statement["object"]["id"] if statement["verb"]["id"] == VOIDED else ""
    return target.lower()


def _is_new(taken: _Taken, known: Known) -> bool:
    if known.statement is None:
        return True
    if known.statement.digest != taken.digest:
        raise _conflict(taken.statement_id)
    return False


def _events_of(new: _Taken, known: Mapping[str, Known], by_id: Mapping[str, _Taken]) -> list[FileRow]:
    """What a new statement is for the log: its event, and a correction where it was voided before it came."""
    if new.voids:
        return [_voiding(new, known[new.voids], by_id.get(new.voids))]
    voided_by = known[new.statement_id].voided_by
    if not voided_by or not isinstance(new.row, Row):
        return [new.row]
    event = new.row.submission
    # An id of its own: the voiding statement was an event too, perhaps of the same learner.
    correction_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{voided_by} {event.event_id}"))
    correction = replace(event, body=Correction(event.event_id, Void()), event_id=correction_id, occurred_at=None)
    return [new.row, replace(new.row, submission=correction)]


def _voiding(new: _Taken, known: Known, in_request: _Taken | None) -> FileRow:
    """The correction of a voiding statement, of the learner of the statement that it voids, where that is known."""
    kept = known.statement
    if (in_request is not None and in_request.voids) or (kept is not None and kept.voids):
        reason = f"is {new.voids!r}, a voiding statement, which cannot be voided: send again what it voided"
        raise invalid_request([FieldViolation("object.id", reason)], reason="voids_voiding")
    target = in_request.statement if in_request else orjson.loads(kept.content) if kept and kept.content else None
    if target is None or not isinstance(new.row, Row):
        return new.row
    if IDENTIFIERS.isdisjoint(target["actor"]):
        return LeftOutRow(new.row.line, GROUP)
    return replace(new.row, submission=replace(new.row.submission, learner_id=learner_of(target["actor"])))


def _violation(prefix: str, field: str, reason: str) -> FieldViolation:
    return FieldViolation(f"{prefix}.{field}" if prefix and field else prefix or field or "body", reason)


def _version_of(request: Request) -> str:
    """1.0 or 2.0; empty where the request has another version or none."""
    number, _, patch = request.headers.get(_VERSION, "").partition(".")
    minor, _, rest = patch.partition(".")
    version = f"{number}.{minor}"
    return version if version in _VERSIONS and (not rest or rest.isdecimal()) and patch != f"{minor}." else ""


def _checked_version(request: Request) -> str:
    version = _version_of(request)
    if not version:
        found = request.headers.get(_VERSION)
        problem = "is missing" if found is None else f"is {found[:40]!r}"
        raise invalid_request([FieldViolation(_VERSION, f"{problem}: send 1.0.3 or 2.0.0")], reason="version")
    return version


def _check_parameters(request: Request, allowed: set[str]) -> None:
    for name in request.query_params:
        if name not in allowed:
            known = f"use {', '.join(sorted(allowed))}" if allowed else "send none"
            raise invalid_request([FieldViolation(name[:80], f"is no parameter of this request: {known}")])


def _conflict(statement_id: str) -> RequestRefusedError:
    message = f"another statement has the id {statement_id}: send this one under an id of its own"
    return RequestRefusedError(already_exists(message), reason="conflict")


def _unavailable(error: Exception) -> RequestRefusedError:
    message = f"what is kept of statements cannot be reached ({error}); try again"
    return RequestRefusedError(
        unavailable(message, reason="STATEMENTS_UNAVAILABLE", retry_after_s=_RETRY_AFTER_S), reason="statements"
    )


def _text_of(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
