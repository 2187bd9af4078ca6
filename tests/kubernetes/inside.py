"""Runs the checks in a cluster, in namespaces that end with this process."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from deploy.kubernetes import isolation, programs
from deploy.kubernetes.cluster import Cluster
from deploy.processes import StackError
from tests.kubernetes import (
    draining,
    entries,
    images,
    installing,
    policies,
    probes,
    removing,
    rolling,
    scaling,
    secret_files,
    upgrading,
)
from tests.kubernetes.results import Check, Results, tell
from tests.kubernetes.site import Site

# In this order: the first installs the chart, the last removes it.
CHECKS: dict[str, Check] = {
    each.name: each
    for each in (
        installing.install,
        installing.helm_test,
        installing.first_recommendation,
        entries.xapi,
        entries.gateway,
        entries.openedx,
        secret_files.secret_mode,
        secret_files.secret_group_zero,
        secret_files.secret_not_readable,
        secret_files.secret_open,
        probes.probes,
        probes.metrics,
        probes.probes_tls,
        probes.redis_outage,
        upgrading.upgrade,
        upgrading.rollback,
        scaling.autoscaling,
        scaling.epoch_switch,
        rolling.rolling_workers,
        rolling.rolling_services,
        entries.rolling_http,
        rolling.forced_kill,
        draining.drain,
        policies.network_policies,
        removing.uninstall,
    )
}
_INTERRUPTED = 130


def main(directory: Path, within_s: float, names: Sequence[str]) -> int:
    """Run checks and return the exit code: 1 if one failed.

    Args:
        directory: with the archive of the images; for everything that is written, see `isolation.enter`.
        within_s: no check begins after this number of seconds.
        names: the checks.
    """
    begun_s = time.monotonic()
    isolation.enter(directory)
    cluster = Cluster(programs.folder(), directory)
    site = Site(cluster, directory, images.TAG)
    results = Results()
    try:
        cluster.start(tell)
        cluster.import_image(directory / "images.tar")
        tell(f"images imported after {time.monotonic() - begun_s:.1f} s")
        site.start()
        tell(f"Kafka and Redis ready after {time.monotonic() - begun_s:.1f} s")
        for number, name in enumerate(names):
            if time.monotonic() - begun_s > within_s:
                tell(f"skipped: the time is over, and these were not checked: {', '.join(names[number:])}")
                break
            cluster.check_running()
            results.run(CHECKS[name], site)
    finally:
        site.stop()
        cluster.stop()
    tell(f"in {(time.monotonic() - begun_s) / 60:.1f} minutes")
    tell(results.last_line())
    return 1 if results.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
    except StackError as error:
        tell(f"the cluster failed: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
