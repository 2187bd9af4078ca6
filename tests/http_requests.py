"""Requests over HTTP without sockets, to an ingest service whose ports are in memory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from services.common.auth.api_keys import create_api_key
from services.common.auth.tenant import ALL_SCOPES
from services.common.auth.tenants_file import load_tenants
from services.common.http.application import HttpContext, http_application
from services.common.http.bodies import BodyLimits
from services.common.rpc.admission import Admission
from services.common.rpc.rate_limits import TokenBuckets
from services.common.rpc.slots import SlotLimits, Slots
from services.common.telemetry.traces import NO_TRACES
from services.ingest.application.publish import PublishEvents
from services.ingest.bootstrap import IngestAdapters, http_routes
from tests.adapters.memory_event_log import MemoryEventLog, MemoryLearnerKeys, MemorySkillTags
from tests.adapters.memory_recent_events import MemoryRecentEvents

NOW = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json["error"]


async def call(app, method, path, *, headers=(), chunks=(b"",), query="", client=("127.0.0.1", 50_000)):
    """Send a request to an ASGI application. `chunks` are the parts of its body; None: the client goes away."""
    waiting = list(chunks)
    sent = []

    async def receive():
        part = waiting.pop(0)
        if part is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": quote(path, errors="replace").encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        "client": client,
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "http_version": "1.1",
    }
    await app(scope, receive, send)
    if not sent:
        return None
    start, *parts = sent
    named = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], named, b"".join(part["body"] for part in parts))


class HttpIngest:
    """Ingest's routes, over ports in memory."""

    def __init__(
        self, tmp_path, *, ready=True, bytes_max=200_000, rate_limit=None, slots=None, more_routes=(), traces=NO_TRACES
    ):
        self.log = MemoryEventLog()
        self.recent = MemoryRecentEvents()
        self.tags = MemorySkillTags({}, ready=ready)
        self.tenants_file = tmp_path / "tenants.yaml"
        self.key = create_api_key(self.tenants_file, "riverbend", "test", ALL_SCOPES)
        self.tenants = load_tenants(self.tenants_file)
        self.adapters = IngestAdapters(
            self.log, self.recent, self.tags, MemoryLearnerKeys(), self.tenants, clock=lambda: NOW
        )
        buckets = None if rate_limit is None else TokenBuckets(rate_limit, clock=lambda: 0.0)
        self.slots = Slots(slots or SlotLimits())
        self.admission = Admission(self.tenants, self.slots, buckets)
        publish = PublishEvents(self.log, self.recent, self.tags, lambda: NOW)
        routes = [*http_routes(self.adapters, publish, self.admission), *more_routes]
        self.app = http_application(routes, HttpContext(self.admission, BodyLimits(bytes_max, 0.2), traces))

    async def request(self, method, path, body=b"", *, key=None, headers=(), **more):
        """Send a request with the tenant's API key, or another one; a body that is no bytes is sent as JSON."""
        if not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), (("Content-Type", "application/json"), *headers)
        authorization = ("Authorization", f"Bearer {key or self.key}")
        return await call(self.app, method, path, headers=(authorization, *headers), chunks=[body], **more)

    @property
    def events(self):
        """The events in the log."""
        return [event for partition in self.log.partitions for event in partition]
