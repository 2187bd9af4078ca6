"""A release of the chart, and the pods of its processes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from deploy.kubernetes import programs
from deploy.kubernetes.cluster import Cluster
from deploy.processes import output_of
from tests.kubernetes.results import CheckFailedError

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "cairn"
NAMESPACE = "cairn"
NAME = "cairn"
# A server compiles for 20 s of processor time when it starts: on a busy machine for minutes.
READY_DEADLINE_S = 600.0

_POLL_S = 0.2
_HELM_DEADLINE_S = READY_DEADLINE_S + 120.0


class Release:
    """What `helm` does with the chart in one namespace."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        """Args: `cluster`; `directory` for files."""
        self.cluster = cluster
        self._directory = directory

    def helm(self, *arguments: str) -> str:
        """The output of a command.

        Raises:
            StackError: when it fails; the message is helm's.
        """
        own = {f"HELM_{name}_HOME": str(self._directory / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        return output_of(
            [programs.folder() / "helm", *arguments, "--namespace", NAMESPACE],
            what=f"helm {arguments[0]}",
            environment=self.cluster.environment | own,
            timeout_s=_HELM_DEADLINE_S,
        )

    def apply(self, values: Mapping[str, object]) -> None:
        """Install the chart with these values, or upgrade to them, and wait until everything is ready."""
        file = self._directory / "values.json"
        file.write_text(json.dumps(values), encoding="utf-8")
        waiting = ["--wait", "--timeout", f"{READY_DEADLINE_S:.0f}s"]
        self.helm("upgrade", "--install", NAME, str(CHART), "--values", str(file), *waiting)
        self.wait_settled()

    def wait_settled(self) -> None:
        """Return once no pod of an earlier revision takes calls; helm waits for the new ones only."""

        def settled() -> bool:
            path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments?labelSelector={_OF_RELEASE}"
            return all(_is_settled(each) for each in self.cluster.api.items(path))

        until(settled, READY_DEADLINE_S, "the end of the earlier pods")

    def restart(self, process: str) -> None:
        """Replace the pods of a process one after the other, as an upgrade does."""
        name = f"deployment/{self.object_name(process)}"
        self.cluster.kubectl("rollout", "restart", "-n", NAMESPACE, name)
        self.cluster.kubectl("rollout", "status", "-n", NAMESPACE, name, f"--timeout={READY_DEADLINE_S:.0f}s")
        self.wait_settled()

    def pods(self, process: str = "") -> list[Pod]:
        """The pods of a process, or of all, that are not being deleted; Jobs' pods that ended are left out."""
        selector = _OF_RELEASE
        if process:
            selector += f",app.kubernetes.io/component%3D{process}"
        found = [Pod(each) for each in self.cluster.api.items(f"{_PODS}?labelSelector={selector}")]
        return [pod for pod in found if not pod.deleted and pod.phase not in ("Succeeded", "Failed")]

    def address(self, process: str, port: str = "grpc") -> str:
        """host:port of the Service of a process; `port` is its name."""
        spec = self.cluster.api.get(f"/api/v1/namespaces/{NAMESPACE}/services/{self.object_name(process)}")["spec"]
        (number,) = (each["port"] for each in spec["ports"] if each["name"] == port)
        return f"{spec['clusterIP']}:{number}"

    @staticmethod
    def object_name(process: str) -> str:
        """The name of a process' Deployment and Service."""
        return f"{NAME}-{process}"

    def wait_ready(self, process: str, count: int, deadline_s: float = READY_DEADLINE_S) -> None:
        """Return once exactly this number of pods of a process runs, and all are ready."""

        def ready() -> bool:
            pods = self.pods(process)
            return len(pods) == count and all(pod.ready for pod in pods)

        until(ready, deadline_s, f"{count} ready pods of {process}")

    def logs(self, pod: str, lines: int = 8) -> str:
        """The last lines that a pod's process wrote."""
        return self.cluster.kubectl("logs", "--namespace", NAMESPACE, pod, f"--tail={lines}", "--all-containers")


_OF_RELEASE = f"app.kubernetes.io/instance%3D{NAME}"
_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


class Pod:
    """A pod as the API server described it."""

    def __init__(self, described: Mapping[str, Any]) -> None:
        """Args: `described`, the object."""
        self.described = described

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.described["metadata"]["name"])

    @property
    def process(self) -> str:
        """Whose pod it is: ingest, worker, ..."""
        return str(self.described["metadata"]["labels"].get("app.kubernetes.io/component", ""))

    @property
    def address(self) -> str:
        """Its IP address; empty before it has one."""
        return str(self.described["status"].get("podIP", ""))

    def port(self, name: str) -> int:
        """The number of a port of its containers."""
        ports = [port for each in self.described["spec"]["containers"] for port in each.get("ports", ())]
        return next(int(port["containerPort"]) for port in ports if port["name"] == name)

    @property
    def phase(self) -> str:
        """Pending, Running, Succeeded or Failed."""
        return str(self.described["status"].get("phase", ""))

    @property
    def deleted(self) -> bool:
        """Whether it is being deleted."""
        return "deletionTimestamp" in self.described["metadata"]

    @property
    def ready(self) -> bool:
        """Whether it gets traffic."""
        conditions = self.described["status"].get("conditions", [])
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    @property
    def restarts(self) -> int:
        """How often its containers were restarted."""
        return sum(each["restartCount"] for each in self.described["status"].get("containerStatuses", []))

    @property
    def created(self) -> datetime:
        """When it was created."""
        return datetime.fromisoformat(self.described["metadata"]["creationTimestamp"])

    def __str__(self) -> str:
        waiting = [
            state.get("reason", name)
            for each in self.described["status"].get("containerStatuses", [])
            for name, state in each["state"].items()
        ]
        return f"{self.name} {self.phase} {'ready' if self.ready else 'not ready'} {' '.join(waiting)}"


def _is_settled(deployment: Mapping[str, Any]) -> bool:
    wanted, status = deployment["spec"]["replicas"], deployment["status"]
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    return status.get("observedGeneration", 0) >= deployment["metadata"]["generation"] and set(counts) == {wanted}


def until(condition: Callable[[], bool], deadline_s: float, what: str | Callable[[], str]) -> float:
    """Wait for a condition and return how many seconds it took.

    Args:
        condition: what to wait for.
        deadline_s: when to give up.
        what: names the condition; a function is called once it did not come.

    Raises:
        CheckFailedError: when it does not come in time.
    """
    begun_s = time.monotonic()
    while not condition():
        if time.monotonic() - begun_s > deadline_s:
            name = what if isinstance(what, str) else what()
            raise CheckFailedError(f"{name} did not come within {deadline_s:g} s")
        time.sleep(_POLL_S)
    return time.monotonic() - begun_s
