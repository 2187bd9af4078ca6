"""The release is removed."""

from __future__ import annotations

import json
from typing import Any

from tests.kubernetes.release import NAME, NAMESPACE, until
from tests.kubernetes.results import check, must
from tests.kubernetes.site import Site

_GONE_DEADLINE_S = 120.0


@check("uninstall", "an uninstall leaves nothing of the release, and what the operator made")
def uninstall(site: Site) -> str:
    site.apply()
    kept = {"cairn-redis", "cairn-tenants"}
    site.removed()
    site.release.helm("uninstall", NAME, "--wait")
    until(lambda: not _left(site), _GONE_DEADLINE_S, lambda: f"the end of {_left(site)}")
    secrets = {each["metadata"]["name"] for each in site.cluster.api.items(f"/api/v1/namespaces/{NAMESPACE}/secrets")}
    must(secrets >= kept, f"the operator's Secrets {kept - secrets} are gone")
    must(site.bundles.is_dir(), "the volume of the bundles is gone")
    return ""


def _left(site: Site) -> list[str]:
    """Objects of the release that are still there, of every kind that the cluster has."""
    kinds = site.cluster.kubectl("api-resources", "--verbs=list", "--namespaced", "--output=name").split()
    found = site.cluster.kubectl("get", ",".join(kinds), "-n", NAMESPACE, "--ignore-not-found", "--output=json")
    items: list[dict[str, Any]] = json.loads(found)["items"] if found else []
    return [
        f"{each['kind']} {each['metadata']['name']}"
        for each in items
        if NAME in (each["metadata"].get("labels") or {}).get("app.kubernetes.io/instance", "")
        or each["metadata"]["name"].startswith("sh.helm.release")
    ]
