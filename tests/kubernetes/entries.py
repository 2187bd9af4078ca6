"""What platforms reach besides gRPC: events over HTTP, the gateway, and the reader of Open edX's event bus."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from http import HTTPStatus
from urllib.parse import quote

from tests.integration.test_openedx_bus import answer as answer_on_bus
from tests.integration.test_openedx_bus import send
from tests.kubernetes.load import OverHttp, account
from tests.kubernetes.over_http import Answer, HttpClient, learner_of, statement
from tests.kubernetes.release import until
from tests.kubernetes.results import check, must
from tests.kubernetes.site import BUS, Site

_FOLDED_DEADLINE_S = 60.0
_METRICS_PORT = 9464
# Not by prometheus_client's parser, which gives counters other names than Prometheus.
_ANSWERED = re.compile(
    r'^envoy_http_downstream_rq_xx\{.*envoy_http_conn_manager_prefix="rest".*\} (\d+)$', re.MULTILINE
)


@check("xapi", "a statement that is posted to the Service of ingest is folded, and every replica can return it")
def xapi(site: Site) -> str:
    site.apply(ingest={"replicas": 2})
    begun_s = time.monotonic()
    stated = statement("cleo", "q1") | {"id": str(uuid.uuid4())}
    client = HttpClient(site.release.address("ingest", "http"), site.api_key)
    posted = client.call("POST", "/xAPI/statements", stated)
    client.close()
    must(posted == (HTTPStatus.OK, [stated["id"]]), f"ingest answered {posted}")
    wait_responses(site, learner_of("cleo"), 1)
    seconds = time.monotonic() - begun_s
    for pod in site.release.pods("ingest"):
        client = HttpClient(f"{pod.address}:8080", site.api_key)
        found = client.call("GET", f"/xAPI/statements?statementId={stated['id']}")
        client.close()
        must(found.status == HTTPStatus.OK, f"{pod.name} answered {found}")
        must(found.content["id"] == stated["id"], f"{pod.name} returned {found.content}")
    return f"after {seconds:.1f} s"


@check("gateway", "events and a question go through the Service of the gateway, whose pods count them in their metrics")
def gateway(site: Site) -> str:
    site.apply(gateway={"replicas": 2})
    client = HttpClient(site.release.address("gateway", "http"), site.api_key)
    events = [{"learner_id": "dan", "source": "rest", "event_id": "1", "assessment": {"item": "q", "correct": False}}]
    published = client.call("POST", "/v1/events:publish", {"events": events})
    must(published.status == HTTPStatus.OK, f"publishing was answered {published}")
    (result,) = published.content["results"]
    must(result["status"] == "EVENT_STATUS_ACCEPTED", f"the event became {result}")
    learner = client.call("GET", f"/v1/learners/dan?freshness_token={quote(result['freshness_token'])}")
    must((learner.status, learner.content.get("responses")) == (200, 1), f"the learner is {learner}")
    skill = client.call("PUT", "/v1/skills/K8S.1", {"code": "K8S.1", "statement": "Reach the catalog"})
    must(skill.status == HTTPStatus.OK, f"the catalog answered {skill}")
    document = client.call("GET", "/openapi.yaml")
    must("\nopenapi: 3" in document.content, f"the document of all paths is {document.content[:200]!r}")
    client.close()
    counted = sum(_requests(pod.address) for pod in site.release.pods("gateway"))
    must(counted >= 4, f"the pods of the gateway count {counted} requests")
    return f"{counted} requests counted"


@check("openedx", "an answer on Open edX's event bus reaches the log and is folded")
def openedx(site: Site) -> str:
    site.apply()
    begun_s = time.monotonic()
    send_on_bus(site, 7)
    wait_responses(site, "7", 1)
    return f"after {time.monotonic() - begun_s:.1f} s"


@check("rolling-http", "a rolling update of ingest and gateway fails no request over HTTP")
def rolling_http(site: Site) -> str:
    two = {"replicas": 2}
    site.apply(ingest=two, gateway=two)
    with OverHttp(site) as callers:
        for process in ("ingest", "gateway"):
            site.release.restart(process)
    sends, asks = callers.answers("ingest"), callers.answers("gateway")
    figures = account(site)
    must(set(sends) == {"200"}, f"ingest answered {dict(sends)}")
    must(set(asks) == {"200"}, f"the gateway answered {dict(asks)}")
    return f"{sends['200']} statements and {asks['200']} questions were answered; {figures}"


def send_on_bus(site: Site, user: int) -> None:
    """Send an answer of a user as Open edX does."""
    asyncio.run(send(site.kafka.connection, BUS, [answer_on_bus(user)]))


def wait_responses(site: Site, learner: str, count: int) -> None:
    """Return once a learner has this number of responses, as the gateway says."""
    client = HttpClient(site.release.address("gateway", "http"), site.api_key)
    said: list[Answer] = []

    def folded() -> bool:
        said.append(client.call("GET", f"/v1/learners/{quote(learner, safe='')}"))
        return bool(said[-1].status == HTTPStatus.OK and said[-1].content.get("responses") == count)

    try:
        until(
            folded, _FOLDED_DEADLINE_S, lambda: f"{count} responses of {learner}, of whom the gateway says {said[-1]},"
        )
    finally:
        client.close()


def _requests(address: str) -> int:
    """How many requests of platforms a pod of the gateway has answered."""
    client = HttpClient(f"{address}:{_METRICS_PORT}", "")
    text = client.call("GET", "/metrics").content
    client.close()
    return sum(map(int, _ANSWERED.findall(text)))
