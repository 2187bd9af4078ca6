"""Workers are scaled by the lag, and an epoch is switched while they are."""

from __future__ import annotations

import time

from deploy.kafka.certificates import Authority
from deploy.kubernetes import node
from tests.kubernetes.lag_metrics import LagMetrics, lag_records
from tests.kubernetes.load import account, load
from tests.kubernetes.release import NAMESPACE, until
from tests.kubernetes.results import check, must
from tests.kubernetes.site import PARTITIONS, Site

_EVENTS = 200_000
_SCALED_DEADLINE_S = 300.0
_DRAINED_DEADLINE_S = 300.0
_JOB_DEADLINE_S = 300.0
_AUTOSCALED = {
    "replicas": 1,
    "autoscaling": {"kind": "hpa", "minReplicas": 1, "recordsPerWorker": 20_000, "scaleDownAfterS": 10},
}


@check(
    "autoscaling", "the autoscaler starts four workers for 200,000 events by the exporter's lag, and one is left after"
)
def autoscaling(site: Site) -> str:
    _serve_metrics(site)
    site.apply(worker=_AUTOSCALED, ingest={"replicas": 2})
    workers = f"deployment/{site.release.object_name('worker')}"
    # An autoscaler leaves a process alone that somebody scaled to nothing.
    site.cluster.kubectl("scale", "-n", NAMESPACE, workers, "--replicas=0")
    site.removed()
    with load(site, events=_EVENTS, per_s=1e6, senders=3) as sent:
        sent.finish()
    must(
        sum(site.ends().values()) - sum(site.positions(site.current_epoch()).values()) >= _EVENTS, "events were folded"
    )
    # No pod starts before four are wanted, so that fewer are not enough however fast this machine is.
    site.cluster.kubectl("cordon", node.NAME)
    try:
        begun_s = time.monotonic()
        site.cluster.kubectl("scale", "-n", NAMESPACE, workers, "--replicas=1")
        until(lambda: _wanted(site) == PARTITIONS, _SCALED_DEADLINE_S, "four workers wanted")
        up_s = time.monotonic() - begun_s
    finally:
        site.cluster.kubectl("uncordon", node.NAME)
    site.wait_drained(_DRAINED_DEADLINE_S)
    drained_s = time.monotonic() - begun_s
    until(lambda: _wanted(site) == 1, _SCALED_DEADLINE_S, "one worker wanted")
    site.release.wait_ready("worker", 1)
    down_s = time.monotonic() - begun_s
    figures = account(site, replay=True)
    return f"four after {up_s:.0f} s, drained after {drained_s:.0f} s, one after {down_s:.0f} s; {figures}"


@check("epoch-switch", "a replay job makes a new epoch and switches to it under load; scaling goes on by the new epoch")
def epoch_switch(site: Site) -> str:
    _serve_metrics(site)
    scaled = {**_AUTOSCALED, "autoscaling": {**_AUTOSCALED["autoscaling"], "minReplicas": 3}}
    site.apply(worker=scaled, ingest={"replicas": 2})
    site.release.wait_ready("worker", 3)
    before = site.current_epoch()
    with load(site, per_s=500) as sent:
        sent.wait_acknowledged(500)
        site.cluster.kubectl("create", "job", "-n", NAMESPACE, "--from=cronjob/cairn-replay", "replay-now")
        try:
            seconds = until(lambda: _succeeded(site, "replay-now"), _JOB_DEADLINE_S, "the end of the replay")
        finally:
            site.cluster.kubectl("delete", "job", "-n", NAMESPACE, "replay-now", "--wait=false")
        sent.stop()
    after = site.current_epoch()
    must(after > before, f"epoch {before} was served before, and {after} is now")
    figures = account(site, replay=True)
    until(lambda: _lag_seen(site) == 0, _SCALED_DEADLINE_S, "a lag of 0 that the autoscaler sees")
    return f"epoch {before} -> {after} in {seconds:.0f} s; {figures}"


def _serve_metrics(site: Site) -> None:
    """Serve the lag as an external metric from now on."""
    if site.metrics is not None:
        return

    def read() -> float:
        return lag_records(f"http://{site.release.pods('lag')[0].address}:9464/metrics")

    site.metrics = LagMetrics(read)
    site.metrics.start(Authority(site.directory / "metrics").sign("metrics"))
    site.metrics.register(site.cluster)


def _lag_seen(site: Site) -> int | None:
    """The lag by which the autoscaler scales, and None while it does not scale."""
    path = f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers/{site.release.object_name('worker')}"
    status = site.cluster.api.get(path)["status"]
    scales = any(each["type"] == "ScalingActive" and each["status"] == "True" for each in status.get("conditions", []))
    found = [each["external"]["current"] for each in status.get("currentMetrics") or () if "external" in each]
    return int(found[0]["averageValue"]) if scales and found else None


def _wanted(site: Site) -> int:
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{site.release.object_name('worker')}/scale"
    return int(site.cluster.api.get(path)["spec"].get("replicas", 0))


def _succeeded(site: Site, job: str) -> bool:
    status = site.cluster.api.get(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{job}")["status"]
    must(not status.get("failed"), f"the job {job} failed: {status}")
    return bool(status.get("succeeded"))
