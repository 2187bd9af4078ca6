"""POST /caliper: envelopes of Caliper events, as the specification says that an endpoint answers them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from starlette.responses import Response

from services.common.http.bodies import json_of
from services.common.http.refusals import invalid_request
from services.common.http.routes import Admitted, Route
from services.common.rpc.statuses import FieldViolation
from services.ingest.application.ports import FieldReason, FileRow
from services.ingest.application.publish import EventOutcome
from services.ingest.domain.repeats import Outcome
from services.ingest.entrypoints.http.publishing import POLICY, HttpPublisher, check_rows
from services.ingest.formats.caliper import envelope_problems, is_envelope, rows_of, version_problem

PATH = "/caliper"

_JSON = "application/json"
_SOURCE = "caliper"


def caliper_routes(publish: HttpPublisher) -> list[Route]:
    """The route of Caliper: an envelope is taken as a whole, or refused with the path of everything wrong with it."""

    async def handle(admitted: Admitted) -> Response:
        # An envelope may have thousands of events: other requests are answered while it is read.
        rows = await asyncio.to_thread(_rows_of, admitted)
        paths = [f"data[{index}]." for index in range(len(rows))]
        outcomes = await publish(admitted.tenant, rows, all_or_nothing=True, paths=paths)
        conflicts = list(_conflicts(outcomes))
        if conflicts:
            raise invalid_request(conflicts, reason="conflict", http_status=409)
        # The specification wants it empty.
        return Response(status_code=200)

    return [Route(PATH, ("POST",), handle, POLICY)]


def _rows_of(admitted: Admitted) -> list[FileRow]:
    """What each event and entity of the envelope is, in order."""
    if admitted.media_type != _JSON:
        problem = f"is {admitted.media_type[:80]!r}: send {_JSON}"
        raise invalid_request([FieldViolation("Content-Type", problem)], reason="media_type", http_status=415)
    envelope = json_of(admitted.body)
    if not isinstance(envelope, dict) or not is_envelope(envelope):
        problem = "is no envelope: send an object with sensor, sendTime, dataVersion and data"
        raise invalid_request([FieldViolation("body", problem)], reason="envelope")
    version = version_problem(envelope)
    if version is not None:
        raise invalid_request([_violation(version)], reason="version", http_status=422)
    problems = list(map(_violation, envelope_problems(envelope)))
    if problems:
        raise invalid_request(problems, reason="envelope")
    check_rows(len(envelope["data"]))
    return list(rows_of(envelope, _SOURCE, 1))


def _conflicts(outcomes: Sequence[EventOutcome | None]) -> Iterator[FieldViolation]:
    for index, outcome in enumerate(outcomes):
        if outcome is not None and outcome.outcome is Outcome.CONFLICT:
            fields = ", ".join(problem.field for problem in outcome.problems)
            problem = (
                f"says something else in {fields} than the event that was sent with its id: give it an id of its own"
            )
            yield FieldViolation(f"data[{index}]", problem)


def _violation(problem: FieldReason) -> FieldViolation:
    return FieldViolation(problem.field, problem.reason)
