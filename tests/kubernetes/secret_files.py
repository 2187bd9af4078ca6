"""The tenants file from a Secret, with the owners and modes that Kubernetes gives it."""

from __future__ import annotations

from tests.kubernetes.release import NAMESPACE
from tests.kubernetes.results import check, must
from tests.kubernetes.site import Site

_FILE = "/etc/cairn/tenants.yaml"


@check(
    "secret-mode", "the processes read a tenants file that Kubernetes mounts for the pod's group, and for nobody else"
)
def secret_mode(site: Site) -> str:
    site.apply()
    found = set()
    for process in ("ingest", "catalog", "server", "worker"):
        pod = site.release.pods(process)[0].name
        found.add(site.cluster.kubectl("exec", "-n", NAMESPACE, pod, "--", "python", "-c", _STAT, _FILE).strip())
    must(found == {"440 0:10001"}, f"the tenants files have the modes and owners {sorted(found)}")
    return "mode 440, root's, group 10001"


@check("secret-group-zero", "without fsGroup, a process of group 0 reads the file")
def secret_group_zero(site: Site) -> str:
    said = _run(site, "group-zero", mode=0o440, security={"runAsUser": 10001, "runAsGroup": 0})
    must("tenants: riverbend" in said, f"it said: {said}")
    return ""


@check("secret-not-readable", "without fsGroup, a process of another group says that it cannot read the file")
def secret_not_readable(site: Site) -> str:
    said = _run(site, "not-readable", mode=0o440, security={"runAsUser": 10001, "runAsGroup": 10001})
    must("Permission denied" in said and _FILE in said, f"it said: {said}")
    return ""


@check("secret-open", "a file that every user can read, as Kubernetes mounts it by default, is refused with the remedy")
def secret_open(site: Site) -> str:
    security = {"runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001}
    said = _run(site, "open-to-all", mode=0o644, security=security)
    must("every user can read it" in said and "0440" in said, f"it said: {said}")
    return ""


_STAT = (
    "import os, sys; found = os.stat(sys.argv[1]); print(f'{found.st_mode & 0o777:o} {found.st_uid}:{found.st_gid}')"
)
_LOAD = (
    "import sys; from pathlib import Path; from services.common.auth.tenants_file import load_tenants; "
    "print('tenants:', *load_tenants(Path(sys.argv[1])).names)"
)


def _run(site: Site, name: str, *, mode: int, security: dict[str, int]) -> str:
    """What a pod says that reads the tenants file from a Secret as the processes do."""
    return site.run_pod(
        name,
        ["python", "-c", _LOAD, _FILE],
        security=security,
        mounts=[{"name": "files", "mountPath": "/etc/cairn", "readOnly": True}],
        volumes=[{"name": "files", "secret": {"secretName": "cairn-tenants", "defaultMode": mode}}],
    )
