"""Renders the chart as `helm template` does, with the values of a matrix of installations."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from helm_python.chart import Chart

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "cairn"
NEEDED: Mapping[str, Any] = {"kafka": {"bootstrap": "kafka:9092"}, "tls": {"insecure": True}}

# Values on top of those that are needed.
MATRIX: Mapping[str, Mapping[str, Any]] = {
    "what is needed": {},
    "TLS": {"tls": {"secretName": "cairn-tls", "insecure": False}},
    "mutual TLS": {"tls": {"secretName": "cairn-tls", "insecure": False, "clientCa": {"secretName": "clients"}}},
    "gateway": {"gateway": {"enabled": True}, "ingest": {"http": {"enabled": True}}},
    "gateway to TLS": {
        "tls": {"secretName": "cairn-tls", "insecure": False},
        "gateway": {"enabled": True, "ca": {"secretName": "cairn-tls"}, "service": {"type": "LoadBalancer"}},
    },
    "HPA": {
        "ingest": {"autoscaling": {"enabled": True}},
        "server": {"autoscaling": {"enabled": True}},
        "worker": {"autoscaling": {"kind": "hpa", "hpa": {"labels": {"release": "cairn"}}}},
    },
    "KEDA": {"worker": {"autoscaling": {"kind": "keda", "keda": {"authentication": "prometheus"}}}},
    "monitoring": {"monitoring": {"enabled": True, "labels": {"release": "prometheus"}}},
    "Kafka with TLS and users": {
        "kafka": {
            "security": "sasl_tls",
            "ca": {"secretName": "kafka"},
            "username": "cairn",
            "password": {"secretName": "kafka"},
        },
        "ingest": {"kafka": {"username": "ingest", "password": {"secretName": "kafka-ingest"}}},
    },
    "Kafka with client certificates": {
        "kafka": {"security": "tls", "ca": {"secretName": "kafka"}, "certificate": {"secretName": "kafka-client"}}
    },
    "Kafka with client credentials": {
        "kafka": {
            "security": "sasl_tls",
            "mechanism": "OAUTHBEARER",
            "token": {
                "url": "https://login.example.org/token",
                "clientId": "cairn",
                "clientSecret": {"secretName": "kafka"},
                "scope": "kafka",
            },
        }
    },
    "Kafka with a token command": {
        "kafka": {"security": "sasl_tls", "mechanism": "OAUTHBEARER", "token": {"command": "python -c pass"}},
        "serviceAccount": {"create": False, "name": "with-an-identity"},
    },
    "bundles in a bucket": {
        "bundles": {"url": "s3://district/cairn"},
        "common": {"extraEnv": [{"name": "AWS_REGION", "value": "eu-central-1"}]},
        "networkPolicy": {"extraEgress": [{"ports": [{"port": 443}]}]},
    },
    "bundles on a claim": {"bundles": {"volume": {"existingClaim": "models"}}},
    "Redis without a password": {"redis": {"url": "redis://redis:6379/0"}},
    "Redis with a password in a file": {
        "redis": {"url": "rediss://cairn@redis:6379/0", "password": {"secretName": "redis"}}
    },
    "Redis with an authority": {"redis": {"ca": {"secretName": "redis-ca"}}},
    "traces": {"traces": {"endpoint": "collector:4317", "share": 0.5, "insecure": True}},
    "settings": {
        "worker": {"settings": {"CAIRN_CACHE_MB": 512, "CAIRN_STUCK_AFTER_S": 2.5, "CAIRN_ALLOW_EVICTION": True}},
        "server": {"settings": {"CAIRN_MAX_MESSAGE_BYTES": 8388608, "CAIRN_LOG_FORMAT": "console"}},
        "replay": {"settings": {"CAIRN_BATCH_RECORDS": 10000}},
    },
    "placement": {
        "common": {
            "podLabels": {"team": "learning"},
            "podAnnotations": {"example.org/a": "b"},
            "nodeSelector": {"disk": "fast"},
            "tolerations": [{"key": "dedicated", "operator": "Exists"}],
            "affinity": {"podAntiAffinity": {}},
            "priorityClassName": "high",
            "extraVolumes": [{"name": "taggers", "configMap": {"name": "taggers"}}],
            "extraVolumeMounts": [{"name": "taggers", "mountPath": "/taggers", "readOnly": True}],
        },
        "worker": {"priorityClassName": "higher", "tmpSize": "512Mi"},
        "image": {"registry": "registry.example.org", "pullSecrets": ["registry"]},
        "catalog": {"image": {"digest": f"sha256:{64 * '0'}"}},
    },
    "on demand": {"train": {"suspend": True, "replay": False, "args": ["--tenant", "riverbend"]}},
    "Open edX": {
        "openedx": {
            "enabled": True,
            "apiKey": {"secretName": "openedx"},
            "kafka": {
                "bootstrap": "kafka.campus.example:9094",
                "security": "sasl_tls",
                "username": "cairn",
                "password": {"secretName": "openedx-kafka"},
            },
            "settings": {"CAIRN_OPENEDX_TOPICS": "prod-analytics"},
        }
    },
    "Open edX with TLS": {
        "tls": {"secretName": "cairn-tls", "insecure": False},
        "openedx": {"enabled": True, "apiKey": {"secretName": "openedx"}, "ca": {"secretName": "cairn-tls"}},
    },
    "topics from elsewhere": {"topics": {"create": False}},
    "without policies": {"networkPolicy": {"enabled": False}},
    "without pauses": {"shutdown": {"preStopS": 0, "drainS": 0}},
    "events over HTTP": {"ingest": {"http": {"enabled": True, "port": 80}}},
    "headless": {"server": {"service": {"headless": True, "annotations": {"a": "b"}}}},
}


class Container(NamedTuple):
    """A container of a pod.

    Attributes:
        where: the object and the container, for messages.
        role: the pod's role.
        pod: the pod's specification.
        container: the container.
        serves: whether it runs for ever, with probes.
    """

    where: str
    role: str
    pod: dict[str, Any]
    container: dict[str, Any]
    serves: bool


def merged(values: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Values with others on top, as Helm merges files of values."""
    result = dict(copy.deepcopy(values))
    for name, value in over.items():
        below = result.get(name)
        result[name] = merged(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return result


@cache
def chart() -> Chart:
    """The chart, loaded once."""
    return Chart.load(CHART)


def render(values: Mapping[str, Any], name: str = "cairn") -> dict[str, str]:
    """The rendered text by template.

    Args:
        values: on top of those that are needed.
        name: of the release.

    Raises:
        HelmError: when the values are refused.
    """
    return chart().render(merged(NEEDED, values), name=name, namespace="learning")


def objects(values: Mapping[str, Any], name: str = "cairn") -> list[dict[str, Any]]:
    """The rendered objects, with the arguments of `render`."""
    rendered = render(values, name)
    texts = [text for path, text in rendered.items() if path.endswith(".yaml")]
    return [one for text in texts for one in yaml.safe_load_all(text) if one]


@cache
def case(name: str) -> list[dict[str, Any]]:
    """The objects of a case of the matrix."""
    return objects(MATRIX[name])


def of_kind(kind: str, among: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The objects of a kind."""
    return [one for one in among if one["kind"] == kind]


def pod_templates(among: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each pod template with the name of the object that has it."""
    for one in among:
        where, spec = f"{one['kind']} {one['metadata']['name']}", one.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            yield where, spec["template"]


def containers(among: list[dict[str, Any]]) -> Iterator[Container]:
    """Each container of Cairn's own. The gateway is Envoy, with tests of its own."""
    for where, template in pod_templates(among):
        pod = template["spec"]
        if where.endswith("-gateway"):
            continue
        role = template["metadata"]["labels"]["app.kubernetes.io/component"]
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            yield Container(
                f"{where}, container {container['name']}", role, pod, container, where.startswith("Deployment")
            )
