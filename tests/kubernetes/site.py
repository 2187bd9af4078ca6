"""What an operator has: a cluster, and outside of it Kafka and Redis; and a platform with an API key."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.kafka.cluster import KafkaCluster
from deploy.kubernetes.cluster import Cluster
from deploy.local.stack import KAFKA_LIBRARIES
from deploy.processes import StackError, output_of
from services.common.auth.api_keys import create_api_key
from services.common.auth.tenant import ALL_SCOPES
from services.common.kafka.connection import topic_end_offsets
from services.common.kafka.envelope import LEARNER_EVENTS, Position
from services.common.kafka.topics import TopicDeclaration, ensure_topics
from services.recommender.adapters.redis.keys import position_key
from tests.faults.publishing import Platform
from tests.faults.redis_server import DurableRedis
from tests.kubernetes import images, monitoring
from tests.kubernetes.lag_metrics import LagMetrics
from tests.kubernetes.release import NAMESPACE, Release, until
from tests.kubernetes.results import must, tell

TENANT = "riverbend"
PARTITIONS = 4
# The topic of Open edX's event bus, on the same Kafka.
BUS = "analytics"
# Every process asks for little of the processor, so that all fit on one small machine.
_PROCESSES = ("ingest", "catalog", "server", "worker", "lag", "gateway", "openedx", "topics", "train", "replay")
_USER = 10001
_OWN_USER = {"runAsUser": _USER, "runAsGroup": _USER}
_ENDED_DEADLINE_S = 120.0


@dataclass
class Sent:
    """What platforms sent and what was acknowledged, with its position, by the events' ids."""

    acknowledged: dict[str, Position] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)


class Site:
    """Everything that the checks need.

    Attributes:
        cluster: the Kubernetes.
        release: the chart's release in it.
        kafka: a broker on the node's address.
        redis: a Redis on the node's address; its data survive a restart.
        api_key: of the platform, for everything.
        sent: what platforms sent and what was acknowledged, over all checks.
        metrics: serves the lag to the autoscaler, once a check has begun that.
    """

    def __init__(self, cluster: Cluster, directory: Path, tag: str) -> None:
        """Args: `cluster`; `directory` for files; `tag` of the images."""
        self.cluster = cluster
        self.directory = directory
        self._tag = tag
        self.release = Release(cluster, directory)
        self.kafka = KafkaCluster(directory / "kafka", cache=KAFKA_LIBRARIES, host=cluster.address)
        open_to_pods = ("--protected-mode", "no")
        self.redis = DurableRedis(directory / "redis", appendonly=True, options=open_to_pods, host=cluster.address)
        self.tenants_file = directory / "tenants.yaml"
        self.api_key = create_api_key(self.tenants_file, TENANT, "platform", ALL_SCOPES, encryption=True)
        self.sent = Sent()
        self.metrics: LagMetrics | None = None
        self._applied: dict[str, Any] | None = None

    def start(self) -> None:
        """Start Kafka and Redis, and prepare the namespace: secrets and a volume."""
        self.kafka.start()
        self.redis.start()
        # Of Open edX, which makes its own.
        bus = {name: TopicDeclaration(partitions=1) for name in (BUS, "cairn.openedx.dlt")}
        ensure_topics(self.kafka.connection, bus)
        monitoring.define(self.cluster)
        self._prepare_namespace()

    def stop(self) -> None:
        """Stop Kafka and Redis."""
        if self.metrics is not None:
            self.metrics.close()
        self.kafka.stop()
        self.redis.stop()

    def values(self, **others: Any) -> dict[str, Any]:
        """The values of the chart here, and others: a part replaces only what it names."""
        kafka = self.kafka.connection.bootstrap_servers
        processes = {name: {"resources": {"requests": {"cpu": "10m", "memory": "64Mi"}}} for name in _PROCESSES}
        here: dict[str, Any] = {
            "image": {"registry": "localhost", "tag": self._tag, "pullPolicy": "Never"},
            "kafka": {"bootstrap": kafka},
            "tls": {"insecure": True},
            "bundles": {"volume": {"existingClaim": "bundles"}},
            # A server compiles for 20 s of processor time, which only the first pod does if all share the result.
            "common": {
                "extraEnv": [{"name": "NUMBA_CACHE_DIR", "value": "/compiled"}],
                "extraVolumes": [{"name": "compiled", "persistentVolumeClaim": {"claimName": "compiled"}}],
                "extraVolumeMounts": [{"name": "compiled", "mountPath": "/compiled"}],
            },
            "networkPolicy": {
                # The node answers itself, in place of pods in kube-system.
                "dns": {"to": [{"ipBlock": {"cidr": f"{self.cluster.address}/32"}}]},
                "kafka": {"ports": [int(kafka.rpartition(":")[2])]},
                "redis": {"ports": [self.redis.port]},
            },
            **processes,
        }
        here["topics"] |= {"replicationFactor": 1, "partitions": PARTITIONS}
        # Checks that need more ask for them.
        for name in ("ingest", "server", "worker", "gateway"):
            here[name]["replicas"] = 1
        # Everything that can be switched on is.
        here["ingest"]["http"] = {"enabled": True}
        here["gateway"] |= {"enabled": True, "image": {"repository": images.ENVOY, "tag": self._tag}}
        here["openedx"] |= {"enabled": True, "apiKey": {"secretName": "cairn-openedx"}}
        here["monitoring"] = {"enabled": True}
        return merged(here, others)

    def apply(self, **others: Any) -> None:
        """Install the chart or upgrade it to `values(**others)`, and wait until everything is ready.

        Args:
            others: values.
        """
        values = self.values(**others)
        if self._applied == values:
            return
        self._applied = None
        self.release.apply(values)
        self._applied = values

    def image(self, process: str) -> str:
        """The name of the image of a process."""
        return f"localhost/cairn-{process}:{self._tag}"

    def create(self, *objects: Mapping[str, Any]) -> None:
        """Create objects in the cluster, or change them."""
        self.cluster.kubectl("apply", "-f", "-", given="\n---\n".join(json.dumps(each) for each in objects))

    def run_pod(
        self,
        name: str,
        command: Sequence[str],
        *,
        namespace: str = NAMESPACE,
        security: Mapping[str, int] = _OWN_USER,
        volumes: Sequence[Mapping[str, object]] = (),
        mounts: Sequence[Mapping[str, object]] = (),
    ) -> str:
        """What a pod says that runs a command in the server's image, once it has ended.

        Args:
            name: of the pod.
            command: the program and its arguments.
            namespace: of the pod.
            security: users and groups.
            volumes: of the pod.
            mounts: where they are.
        """
        container = {
            "name": name,
            "image": self.image("server"),
            "imagePullPolicy": "Never",
            "command": list(command),
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": list(mounts),
        }
        spec = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, **security},
            "containers": [container],
            "volumes": list(volumes),
        }
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        # A new namespace has its account a moment later.
        account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
        until(lambda: self.cluster.api.has(account), _ENDED_DEADLINE_S, f"the account of the namespace {namespace}")
        self.create(_object("v1", "Pod", name, namespace=namespace, spec=spec))
        try:
            until(
                lambda: self.cluster.api.get(path)["status"].get("phase") in ("Succeeded", "Failed"),
                _ENDED_DEADLINE_S,
                f"the end of the pod {name}",
            )
            return self.cluster.kubectl("logs", "--namespace", namespace, name)
        finally:
            self.cluster.kubectl("delete", "pod", "-n", namespace, name, "--wait=false")

    def removed(self) -> None:
        """Say that the release was changed or removed by other means than `apply`."""
        self._applied = None

    def platform(self) -> Platform:
        """A platform that sends through the Service of ingest."""
        return Platform(self.release.address("ingest"), self.api_key)

    def cairn(self, *words: str, **settings: str) -> str:
        """The output of a `cairn` command on the node."""
        return output_of(
            [sys.executable, "-m", "services.cli", *words],
            what=f"cairn {' '.join(words)}",
            environment={
                "CAIRN_KAFKA": self.kafka.connection.bootstrap_servers,
                "CAIRN_REDIS": self.redis.url,
                "CAIRN_TENANTS": str(self.tenants_file),
                "CAIRN_BUNDLES": str(self.bundles),
                "CAIRN_API_KEY": self.api_key,
                **settings,
            },
            timeout_s=300,
        )

    @property
    def bundles(self) -> Path:
        """The volume with the bundles, as seen from the node."""
        return self.directory / "bundles"

    def ends(self) -> dict[int, int]:
        """Where the partitions of the log end now."""
        return asyncio.run(topic_end_offsets(self.kafka.connection, LEARNER_EVENTS))

    def positions(self, epoch: int) -> dict[int, int]:
        """How far an epoch has come, by partition."""
        with self.redis.client() as client:
            found = {p: client.hget(position_key(epoch, p), "offset") for p in range(PARTITIONS)}
        return {partition: int(offset or 0) for partition, offset in found.items()}

    def current_epoch(self) -> int:
        """The epoch that is served."""
        with self.redis.client() as client:
            number = client.get("cairn:current-epoch")
        must(number is not None, "no epoch is served")
        return int(number)

    def wait_drained(self, deadline_s: float) -> float:
        """Return once the epoch that is served has every record, and how many seconds that took."""
        ends = self.ends()
        return until(
            lambda: self.positions(self.current_epoch()) == ends, deadline_s, "processing every record of the log"
        )

    def tell_state(self) -> None:
        """Print what the pods, their logs and the cluster's last events say."""
        try:
            for pod in self.release.pods():
                tell(f"    {pod}, {pod.restarts} restarts")
                if not pod.ready:
                    tell("        " + self.release.logs(pod.name).replace("\n", "\n        "))
            events = self.cluster.kubectl("get", "events", "--namespace", NAMESPACE, "--sort-by=.lastTimestamp")
            tell("    " + "\n    ".join(events.splitlines()[-12:]))
        except (StackError, OSError) as error:
            tell(f"    the state cannot be shown: {error}")

    def _prepare_namespace(self) -> None:
        restricted = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
        self.create(
            _object("v1", "Namespace", NAMESPACE, metadata={"labels": restricted}),
            *self._volume("bundles"),
            *self._volume("compiled"),
            self.secret("cairn-redis", {"url": self.redis.url}),
            self.secret("cairn-openedx", {"api-key": self.api_key}),
            self.secret("cairn-tenants", {"tenants.yaml": self.tenants_file.read_text(encoding="utf-8")}),
        )

    def _volume(self, name: str) -> list[dict[str, Any]]:
        """A volume that several pods write to, and its claim: a folder of the node."""
        folder = self.directory / name
        folder.mkdir()
        # Pods write to it as a user of their own.
        os.chown(folder, _USER, _USER)
        # A class of its own, so that the claim gets this volume and no other.
        same = {"storageClassName": name, "accessModes": ["ReadWriteMany"]}
        volume = {**same, "capacity": {"storage": "1Gi"}, "hostPath": {"path": str(folder)}}
        claim = {**same, "resources": {"requests": {"storage": "1Gi"}}}
        return [
            _object("v1", "PersistentVolume", name, spec=volume),
            _object("v1", "PersistentVolumeClaim", name, namespace=NAMESPACE, spec=claim),
        ]

    @staticmethod
    def secret(name: str, texts: Mapping[str, str], kind: str = "Opaque") -> dict[str, Any]:
        """A Secret of the release's namespace."""
        return _object("v1", "Secret", name, namespace=NAMESPACE, stringData=dict(texts), type=kind)


def _object(version: str, kind: str, name: str, *, namespace: str = "", **parts: Any) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **parts.pop("metadata", {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **parts}


def merged(base: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Values with others on top, as helm merges them."""
    found = copy.deepcopy(dict(base))
    for name, value in others.items():
        below = found.get(name)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        found[name] = merged(below, value) if both else value
    return found
