"""Pods are replaced, or killed by force, while platforms send and read."""

from __future__ import annotations

from tests.faults.unread import Unread
from tests.kubernetes.load import account, answers_of, load, reading
from tests.kubernetes.release import NAMESPACE, until
from tests.kubernetes.results import check, must
from tests.kubernetes.site import Site

_PER_S = 5_000
_SENDERS = 4
_UNREAD_MOST_S = 3.0
_REPLACED_DEADLINE_S = 120.0
_TWO = {"replicas": 2}
# docs/reliability.md, "Terms": after these a platform sends again. A connection to a pod that vanished answers nothing.
_DOCUMENTED = {"OK", "UNAVAILABLE", "DEADLINE_EXCEEDED"}


@check("rolling-workers", "a rolling update of two workers under load leaves no partition unread for 3 s")
def rolling_workers(site: Site) -> str:
    site.apply(worker=_TWO, ingest=_TWO)
    with load(site, per_s=_PER_S, senders=_SENDERS) as sent:
        sent.wait_acknowledged(2 * _PER_S)
        epoch = site.current_epoch()
        with Unread(lambda: site.positions(epoch)) as unread:
            site.release.restart("worker")
        rate = sent.stop()
    figures = account(site)
    must(
        unread.longest_s <= _UNREAD_MOST_S,
        f"partition {unread.partition} was not read for {unread.longest_s:.1f} s, at {rate:,.0f} events/s",
    )
    return f"unread for {unread.longest_s:.1f} s at most, at {rate:,.0f} events/s; {figures}"


@check("rolling-services", "a rolling update of ingest and server under load fails no call")
def rolling_services(site: Site) -> str:
    site.apply(worker=_TWO, ingest=_TWO, server=_TWO)
    with load(site, per_s=1_000) as sent, reading(site) as readers:
        sent.wait_acknowledged(1_000)
        until(lambda: answers_of(readers)["OK"] > 0, _REPLACED_DEADLINE_S, "the first answer")
        for process in ("ingest", "server"):
            site.release.restart(process)
        sent.stop()
        sends, reads = sent.answers, answers_of(readers)
    figures = account(site)
    must(set(sends) == {"OK"}, f"ingest answered {dict(sends)}")
    must(set(reads) == {"OK"}, f"the server answered {dict(reads)}")
    return f"{sends['OK']} requests and {reads['OK']} reads were answered; {figures}"


@check("forced-kill", "pods of ingest, server and worker are killed by force under load: calls fail only as documented")
def forced_kill(site: Site) -> str:
    site.apply(worker=_TWO, ingest=_TWO, server=_TWO)
    with load(site, per_s=2_000) as sent, reading(site) as readers:
        sent.wait_acknowledged(2_000)
        for process in ("worker", "ingest", "server"):
            pod = site.release.pods(process)[0].name
            reached = sent.acknowledged
            site.cluster.kubectl("delete", "pod", "-n", NAMESPACE, pod, "--grace-period=0", "--force")
            sent.wait_acknowledged(reached + 2_000)
            site.release.wait_ready(process, 2)
        sent.stop()
        sends, reads = sent.answers, answers_of(readers)
    figures = account(site, replay=True)
    for who, answers in (("ingest", sends), ("the server", reads)):
        must(set(answers) <= _DOCUMENTED, f"{who} answered {dict(answers)}")
    return f"requests: {dict(sends)}, reads: {dict(reads)}; {figures}"
