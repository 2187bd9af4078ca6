"""Probes, with and without TLS, and a Redis that goes away."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any

import grpc
from prometheus_client.parser import text_string_to_metric_families

from cairn.v1 import recommender_pb2, recommender_pb2_grpc
from deploy.kafka.certificates import Authority
from tests.kubernetes.entries import send_on_bus, wait_responses
from tests.kubernetes.installing import answer
from tests.kubernetes.load import account
from tests.kubernetes.over_http import HttpClient, learner_of, statement
from tests.kubernetes.release import NAMESPACE, READY_DEADLINE_S, Pod, until
from tests.kubernetes.results import check, must
from tests.kubernetes.site import Site

_TIMEOUT_S = 5.0
_METRICS_PORT = 9464
# As the chart sets them: a liveness probe restarts a container after six failures, 10 s apart.
_LIVENESS_GIVES_UP_S = 60.0
_UNREADY_DEADLINE_S = 60.0


@check("probes", "every pod answers the kubelet's probes on its plain port")
def probes(site: Site) -> str:
    site.apply()
    pods = site.release.pods()
    for pod in pods:
        for path in ("livez", "readyz"):
            must(_status(pod, path) == 200, f"{pod.name} answers /{path} with {_status(pod, path)}")
    return f"{len(pods)} pods"


@check("metrics", "the PodMonitor selects every pod, and each has metrics on the port that it names")
def metrics(site: Site) -> str:
    site.apply()
    monitors = site.cluster.api.items(f"/apis/monitoring.coreos.com/v1/namespaces/{NAMESPACE}/podmonitors")
    (selected,) = (each["spec"]["selector"]["matchLabels"] for each in monitors)
    (port,) = (endpoint["port"] for each in monitors for endpoint in each["spec"]["podMetricsEndpoints"])
    pods = site.release.pods()
    count = 0
    for pod in pods:
        must(selected.items() <= pod.described["metadata"]["labels"].items(), f"{pod.name} is not selected")
        text = _read(pod, pod.port(port), "metrics")
        found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        must(found, f"{pod.name} has no metrics")
        count += len(found)
    return f"{count:,} figures of {len(pods)} pods"


@check(
    "probes-tls",
    "with TLS, probes, gateway and Open edX's reader work, as do calls that trust the authority; plain ones fail",
)
def probes_tls(site: Site) -> str:
    site.apply()
    services = ("ingest", "catalog", "server")
    authority = Authority(site.directory / "tls")
    signed = authority.sign(
        "tls",
        addresses=[site.release.address(service).partition(":")[0] for service in services],
        names=[f"{site.release.object_name(service)}.{NAMESPACE}.svc" for service in services],
    )
    files = {"tls.crt": signed.certificate, "tls.key": signed.key, "ca.crt": authority.certificate}
    texts = {name: file.read_text(encoding="utf-8") for name, file in files.items()}
    site.create(site.secret("cairn-tls", texts, "kubernetes.io/tls"))
    own = {"ca": {"secretName": "cairn-tls"}}
    try:
        site.apply(tls={"secretName": "cairn-tls", "insecure": False}, gateway=own, openedx=own)
        restarted = [pod.name for pod in site.release.pods() if pod.restarts]
        must(not restarted, f"{', '.join(restarted)} was restarted")
        address = site.release.address("server")
        credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
        with grpc.secure_channel(address, credentials) as channel:
            must(_code(site, channel) is grpc.StatusCode.OK, f"a call over TLS was answered {_code(site, channel)}")
        with grpc.insecure_channel(address) as channel:
            must(_code(site, channel) is grpc.StatusCode.UNAVAILABLE, "a plain call was answered")
        client = HttpClient(site.release.address("ingest", "http"), site.api_key, authority.certificate)
        posted = client.call("POST", "/xAPI/statements", statement("tls", "q1"))
        client.close()
        must(posted.status == HTTPStatus.OK, f"a statement over TLS was answered {posted}")
        wait_responses(site, learner_of("tls"), 1)
        send_on_bus(site, 8)
        wait_responses(site, "8", 1)
    finally:
        site.apply()
    return ""


@check(
    "redis-outage", "without Redis the pods that need it become unready and none is restarted; they come back with it"
)
def redis_outage(site: Site) -> str:
    site.apply()
    before = {pod.name: pod.restarts for pod in site.release.pods()}
    need_it = ("server", "worker", "lag")
    site.redis.kill()
    begun_s = time.monotonic()
    try:
        unready_s = until(
            lambda: not any(pod.ready for process in need_it for pod in site.release.pods(process)),
            _UNREADY_DEADLINE_S,
            f"unready pods of {', '.join(need_it)}",
        )
        # A liveness probe that depended on Redis would restart them by then.
        until(lambda: time.monotonic() - begun_s > _LIVENESS_GIVES_UP_S + 10, 600.0, "the time of the liveness probes")
        others = [pod for process in ("ingest", "catalog") for pod in site.release.pods(process)]
        must(all(pod.ready for pod in others), f"not ready: {', '.join(str(pod) for pod in others if not pod.ready)}")
        answer(site, "ben", correct=True)
        client = HttpClient(site.release.address("ingest", "http"), site.api_key)
        (stated,) = client.call("POST", "/xAPI/statements", statement("ben", "q1")).content
        asked = client.call("GET", f"/xAPI/statements?statementId={stated}")
        client.close()
        must(asked.status == HTTPStatus.SERVICE_UNAVAILABLE, f"a statement that nobody can look up is {asked}")
    finally:
        site.redis.start()
    ready_s = until(lambda: all(pod.ready for pod in site.release.pods()), READY_DEADLINE_S, "ready pods")
    after = {pod.name: pod.restarts for pod in site.release.pods()}
    must(after == before, f"restarts by pod were {before} and are {after}")
    account(site, replay=True)
    return f"unready after {unready_s:.0f} s, ready {ready_s:.0f} s after Redis was back, 0 restarts"


def _status(pod: Pod, path: str) -> int:
    try:
        _read(pod, _METRICS_PORT, path)
    except urllib.error.HTTPError as error:
        return error.code
    return HTTPStatus.OK


def _read(pod: Pod, port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://{pod.address}:{port}/{path}", timeout=_TIMEOUT_S) as reply:
        return str(reply.read().decode())


def _code(site: Site, channel: grpc.Channel) -> grpc.StatusCode:
    stub: Any = recommender_pb2_grpc.RecommendationServiceStub(channel)
    try:
        stub.Recommend(
            recommender_pb2.RecommendRequest(learner_id="ada"),
            timeout=_TIMEOUT_S,
            metadata=(("authorization", f"Bearer {site.api_key}"),),
        )
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK
