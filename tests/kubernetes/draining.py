"""A node is drained."""

from __future__ import annotations

from deploy.kubernetes import node
from deploy.kubernetes.api import ApiError
from tests.kubernetes.load import OverHttp, account, answers_of, load, reading
from tests.kubernetes.release import NAMESPACE, READY_DEADLINE_S, until
from tests.kubernetes.results import check, must
from tests.kubernetes.site import Site

_TOO_MANY_REQUESTS = 429
_GONE_DEADLINE_S = 90.0


@check(
    "drain", "while a node is drained, one pod of a process leaves and the next only once another has taken its place"
)
def drain(site: Site) -> str:
    two = {"replicas": 2}
    processes = ("ingest", "server", "worker", "gateway")
    site.apply(**dict.fromkeys(processes, two))
    with load(site, per_s=500) as sent, reading(site) as readers, OverHttp(site) as callers:
        sent.wait_acknowledged(500)
        site.cluster.kubectl("cordon", node.NAME)
        try:
            for process in processes:
                first, second = site.release.pods(process)
                must(_evict(site, first.name), f"{first.name} could not be evicted")
                must(not _evict(site, second.name), f"{second.name} was evicted too, against the budget")
        finally:
            site.cluster.kubectl("uncordon", node.NAME)
        for process in processes:
            site.release.wait_ready(process, 2)
            oldest = min(site.release.pods(process), key=lambda pod: pod.created)
            until(lambda pod=oldest: _evict(site, pod.name), READY_DEADLINE_S, f"the eviction of {oldest.name}")
            site.release.wait_ready(process, 2)
        sent.stop()
        answers = sent.answers + answers_of(readers)
        over_http = callers.answers("ingest") + callers.answers("gateway")
    figures = account(site)
    must(set(answers) == {"OK"}, f"calls were answered {dict(answers)}")
    must(set(over_http) == {"200"}, f"requests over HTTP were answered {dict(over_http)}")
    return f"{answers['OK']} calls and {over_http['200']} requests over HTTP were answered; {figures}"


def _evict(site: Site, pod: str) -> bool:
    """Ask for the eviction of a pod as `kubectl drain` does, and return whether its budget allowed it."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NAMESPACE}}
    try:
        site.cluster.api.post(f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction", eviction)
    except ApiError as error:
        if error.status != _TOO_MANY_REQUESTS:
            raise
        return False
    return True
