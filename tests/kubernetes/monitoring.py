"""The objects that the chart makes for a Prometheus that an operator runs."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.kubernetes.cluster import Cluster

_GROUP = "monitoring.coreos.com"
_SCHEMAS = Path(__file__).parents[1] / "chart" / "crds"


def define(cluster: Cluster) -> None:
    """Define the kinds of the Prometheus operator, so that the API server checks what the chart makes of them."""
    names = []
    for kind in ("PodMonitor", "PrometheusRule"):
        described = json.loads((_SCHEMAS / f"{kind}.json").read_text(encoding="utf-8"))
        plural = f"{kind.lower()}s"
        names.append(f"crd/{plural}.{_GROUP}")
        version = {"name": described["apiVersion"].partition("/")[2], "served": True, "storage": True}
        definition = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{_GROUP}"},
            "spec": {
                "group": _GROUP,
                "names": {"kind": kind, "plural": plural},
                "scope": "Namespaced",
                "versions": [version | {"schema": {"openAPIV3Schema": described["schema"]}}],
            },
        }
        # The schema is too large for the annotation in which kubectl otherwise keeps what was applied.
        cluster.kubectl("apply", "--server-side", "-f", "-", given=json.dumps(definition))
    cluster.kubectl("wait", "--for=condition=Established", *names, "--timeout=60s")
