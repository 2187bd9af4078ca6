"""Network policies, which kube-router enforces in the cluster."""

from __future__ import annotations

import json
from typing import Any

from deploy.kubernetes import control_plane, node
from tests.kubernetes.release import NAMESPACE, Pod
from tests.kubernetes.results import check, must
from tests.kubernetes.site import Site

_ELSEWHERE = "elsewhere"
_MONITORING = "monitoring"

# Policies take effect a moment after a pod has its address, so it is tried until all is as wanted.
_TRY = """
import json, socket, sys, time

def opens(address):
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), 2).close()
    except OSError:
        return False
    return True

wanted, until_s = json.loads(sys.argv[1]), time.monotonic() + 30
while wrong := {address: not may for address, may in wanted.items() if opens(address) != may}:
    if time.monotonic() > until_s:
        break
    time.sleep(0.5)
print(json.dumps(wrong))
"""

_TRY_ONCE = """
import contextlib, socket, sys

for address in sys.argv[1:]:
    host, port = address.rsplit(":", 1)
    with contextlib.suppress(OSError):
        socket.create_connection((host, int(port)), 2).close()
        print(address)
"""
_TRY_BASH = 'for each; do timeout 2 bash -c "</dev/tcp/${each/://}" 2>&- && echo "$each"; done; true'


@check("network-policies", "pods are reached by whom the policies name, and reach only what they need")
def network_policies(site: Site) -> str:
    site.apply()
    pods = {process: site.release.pods(process)[0] for process in ("ingest", "server", "worker", "gateway", "openedx")}
    reached = {process: pod.address for process, pod in pods.items()}
    kafka, redis = site.kafka.connection.bootstrap_servers, f"{site.redis.host}:{site.redis.port}"
    api_server = f"{node.ADDRESS}:{control_plane.PORT}"
    calls, events = f"{reached['server']}:50051", f"{reached['ingest']}:50051"
    http = [f"{reached[process]}:8080" for process in ("ingest", "gateway")]
    metrics = [f"{address}:9464" for address in reached.values()]
    for namespace, may in ((NAMESPACE, [calls, events, *http]), (_MONITORING, metrics), (_ELSEWHERE, [])):
        _must_reach(site, namespace, {each: each in may for each in (calls, events, *http, *metrics)})
    everything = (kafka, redis, api_server, calls, events)
    for process, may in (
        # Also itself.
        ("ingest", {kafka, redis, events}),
        ("worker", {kafka, redis}),
        ("openedx", {kafka, events}),
        ("gateway", {calls, events}),
    ):
        found = _reached_from(site, pods[process], everything)
        must(found == may, f"{pods[process].name} reaches {sorted(found)}, not {sorted(may)}")
    return ""


def _must_reach(site: Site, namespace: str, wanted: dict[str, bool]) -> None:
    """Fail unless a pod of a namespace reaches exactly the addresses that are wanted."""
    site.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    said = site.run_pod("reaches", ["python", "-c", _TRY, json.dumps(wanted)], namespace=namespace)
    wrong: dict[str, Any] = json.loads(said.splitlines()[-1])
    must(not wrong, f"of {wanted}, a pod of the namespace {namespace} reaches otherwise: {wrong}")


def _reached_from(site: Site, pod: Pod, addresses: tuple[str, ...]) -> set[str]:
    """Those of the addresses that a pod of the release reaches."""
    # Envoy's image has no Python.
    program = ["bash", "-c", _TRY_BASH, "bash"] if pod.process == "gateway" else ["python", "-c", _TRY_ONCE]
    said = site.cluster.kubectl("exec", "-n", NAMESPACE, pod.name, "--", *program, *addresses)
    return set(said.split())
