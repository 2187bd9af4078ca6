"""What happens around every request: an id, a span, admission, the body, and an answer whatever happens."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from google.rpc import code_pb2
from prometheus_client import Histogram
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.routing import Router
from starlette.types import Receive, Scope, Send

from services.common.http.bodies import BodyLimits, discard_body, read_body
from services.common.http.refusals import REFUSED, RequestRefusedError, refusal_response
from services.common.http.routes import Admitted, OpenRoute, Route
from services.common.rpc.admission import Admission, RefusedError
from services.common.rpc.call_context import set_credential
from services.common.rpc.interceptors import REQUEST_ID, request_id_of
from services.common.rpc.policy import policy_of
from services.common.rpc.statuses import ended
from services.common.telemetry.traces import NO_TRACES, TRACEPARENT, SpanKind, Traces

_log = structlog.get_logger(__name__)

_HOW = "the header Authorization: Bearer <API key>, or Basic with the API key as the password"
# The client closed its connection: there is no answer, and this is what metrics and spans say.
_CLIENT_GONE = 499

SECONDS = Histogram(
    "cairn_http_request_seconds", "Time from a request's headers to its answer, by path and status.", ["path", "status"]
)

_AnyRoute = Route | OpenRoute


@dataclass(frozen=True, slots=True)
class HttpContext:
    """What every request needs.

    Attributes:
        admission: who may call, and how often; the same as for the process's calls over gRPC.
        limits: of bodies.
        traces: where spans go.
    """

    admission: Admission
    limits: BodyLimits
    traces: Traces = NO_TRACES


def http_application(routes: Iterable[_AnyRoute], context: HttpContext) -> Router:
    """The ASGI application of a table of routes.

    Raises:
        ValueError: when a route's policy asks for an audit line, which requests over HTTP do not have.
    """
    tables: dict[str, dict[str, _AnyRoute]] = {}
    for route in routes:
        methods: Sequence[str] = ("GET",)
        if isinstance(route, Route):
            methods = route.methods
            if policy_of(route.policy).audited:
                raise ValueError(
                    f"{route.path}: {route.policy} is audited, and HTTP has no audit: serve it over gRPC only"
                )
        table = tables.setdefault(route.path, {})
        table.update(dict.fromkeys(methods, route))
        if "GET" in methods:
            table["HEAD"] = route
    entries = [_Entry(path, table, context) for path, table in tables.items()]
    return Router(
        [StarletteRoute(entry.path, entry, methods=None) for entry in entries],
        redirect_slashes=False,
        default=_Entry("", {}, context),
    )


class _Entry:
    """One path, as an ASGI application: what is done for each method. The entry of no path answers 404."""

    def __init__(self, path: str, table: Mapping[str, _AnyRoute], context: HttpContext) -> None:
        self.path = path
        self._table = table
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        began_s = time.perf_counter()
        request_id = request_id_of(request.headers.getlist(REQUEST_ID))
        structlog.contextvars.bind_contextvars(request_id=request_id)
        traceparent = request.headers.get(TRACEPARENT)
        name = f"{request.method} {self.path or '(no path)'}" if request.method in self._table else "(refused)"
        with self._context.traces.span(name, traceparent, kind=SpanKind.SERVER) as span:
            response = await self._answer(request, request_id)
            span.set_attribute("http.response.status_code", response.status_code)
        SECONDS.labels(self.path, str(response.status_code)).observe(time.perf_counter() - began_s)
        if response.status_code != _CLIENT_GONE:
            response.headers[REQUEST_ID] = request_id
            await response(scope, receive, send)

    async def _answer(self, request: Request, request_id: str) -> Response:
        route = self._table.get(request.method)
        headers: Mapping[str, str] = {}
        try:
            if isinstance(route, Route):
                headers = route.headers(request)
            response = await self._respond(route, request)
        except RefusedError as error:
            response = await self._refused(error, request)
        except ClientDisconnect:
            return Response(status_code=_CLIENT_GONE)
        except Exception:  # noqa: BLE001 - whatever it is, it is logged, and the caller learns only that.
            _log.exception("a request failed unexpectedly", method=request.method, path=self.path)
            response = await self._refused(_failed(request_id), request)
        response.headers.update(headers)
        return response

    async def _respond(self, route: _AnyRoute | None, request: Request) -> Response:
        if route is None:
            raise _not_served(request, self._table)
        if isinstance(route, OpenRoute):
            return route.answer(request)
        admission = self._context.admission
        credential = admission.credential(_api_key_of(request), route.policy, how=_HOW)
        tenant = credential.tenant
        connection = "{}:{}".format(*(request.client or ("", "")))
        with admission.slot(tenant.name, connection):
            admission.check_rate(tenant.name)
            set_credential(credential)
            body = await read_body(request, self._context.limits)
            return await route.handle(Admitted(request, tenant, body))

    @staticmethod
    async def _refused(error: RefusedError, request: Request) -> Response:
        REFUSED.labels(error.reason).inc()
        response = refusal_response(error)
        if not await discard_body(request):
            response.headers["Connection"] = "close"
        return response


def _api_key_of(request: Request) -> str | None:
    """The API key of `Bearer KEY`, or the password of `Basic`, whose user name may be anything."""
    for value in request.headers.getlist("authorization"):
        scheme, _, given = value.partition(" ")
        given = given.strip()
        if scheme.lower() == "bearer" and given:
            return given
        if scheme.lower() == "basic" and given:
            try:
                return base64.b64decode(given, validate=True).decode().partition(":")[2] or None
            except ValueError:
                return None
    return None


def _not_served(request: Request, table: Mapping[str, _AnyRoute]) -> RequestRefusedError:
    if not table:
        message = f"{request.scope['path'][:200]!r} is not served here; docs/platforms.md lists the paths"
        return RequestRefusedError(
            ended(code_pb2.NOT_FOUND, message, reason="PATH_UNKNOWN"), reason="no_route", http_status=404
        )
    allowed = ", ".join(sorted(table))
    message = f"{request.method[:40]} is not served on {request.scope['path'][:200]!r}; use {allowed}"
    status = ended(code_pb2.UNIMPLEMENTED, message, reason="METHOD_UNKNOWN")
    return RequestRefusedError(status, reason="no_route", http_status=405, headers={"Allow": allowed})


def _failed(request_id: str) -> RequestRefusedError:
    message = (
        "the service failed unexpectedly, and the request may have taken effect; send it again, and if it fails again "
        f"give the operator this request id: {request_id}"
    )
    return RequestRefusedError(ended(code_pb2.INTERNAL, message, reason="INTERNAL"), reason="failed")
