"""Upgrade and rollback."""

from __future__ import annotations

import json

from tests.kubernetes.release import NAME, READY_DEADLINE_S
from tests.kubernetes.results import check, must
from tests.kubernetes.site import Site

_SETTING = "CAIRN_BATCH_RECORDS"


@check("upgrade", "an upgrade with a changed setting replaces the pods of its process, and no others")
def upgrade(site: Site) -> str:
    site.apply()
    before = {pod.name for pod in site.release.pods()}
    site.apply(worker={"settings": {_SETTING: 5000}})
    after = {pod.name: pod for pod in site.release.pods()}
    replaced = {pod.process for name, pod in after.items() if name not in before}
    must(replaced == {"worker"}, f"pods of {sorted(replaced)} were replaced")
    must(_setting(site) == {"5000"}, f"the workers have the setting {_setting(site)}")
    return ""


@check("rollback", "a rollback replaces them again by what was there before")
def rollback(site: Site) -> str:
    before = {pod.name for pod in site.release.pods("worker")}
    site.removed()
    site.release.helm("rollback", NAME, "--wait", "--timeout", f"{READY_DEADLINE_S:.0f}s")
    site.release.wait_settled()
    after = {pod.name for pod in site.release.pods("worker")}
    must(not before & after, f"{before & after} was not replaced")
    must(_setting(site) == {None}, f"the workers have the setting {_setting(site)}")
    revisions = json.loads(site.release.helm("history", NAME, "--output", "json"))
    return f"revision {revisions[-1]['revision']}: {revisions[-1]['description']}"


def _setting(site: Site) -> set[str | None]:
    """The value of the setting in the workers' pods."""
    return {
        next((each.get("value") for each in container["env"] if each["name"] == _SETTING), None)
        for pod in site.release.pods("worker")
        for container in pod.described["spec"]["containers"]
    }
