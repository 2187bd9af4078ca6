"""Platforms that send and read while something is done to the cluster, and what must hold afterwards."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Self

from cairn.v1.ingest_pb2 import EventSubmission
from services.common.kafka.envelope import LEARNER_EVENTS
from tests.faults import checks
from tests.faults.log_records import read_log
from tests.faults.publishing import submissions
from tests.faults.reading import Reader
from tests.faults.results import Row, ScenarioFailedError
from tests.kubernetes.over_http import Answer, Caller, HttpClient, statement
from tests.kubernetes.release import until
from tests.kubernetes.results import CheckFailedError, must
from tests.kubernetes.site import PARTITIONS, Site

READERS_LEARNERS = [f"learner-{number}" for number in range(5)]

_ENDLESS = 1_000_000
_HTTP_CALLERS = 4
_SENT_DEADLINE_S = 300.0
_DRAINED_DEADLINE_S = 120.0
# Each load has a seed of its own, so that no event has the id of another.
_seeds = itertools.count(1)


class Load:
    """Events that several platforms send through the Service of ingest, each learner's in order.

    Attributes:
        senders: the platforms.
    """

    def __init__(self, site: Site, *, per_s: float, events: int = _ENDLESS, senders: int = 2) -> None:
        """Begin.

        Args:
            site: where.
            events: how many; by default more than any check waits for.
            per_s: at most this number a second, over all senders.
            senders: how many platforms send at the same time.
        """
        self._site = site
        self._begun_s = time.monotonic()
        self.senders = [site.platform() for _ in range(senders)]
        seed = next(_seeds)
        for place, sender in enumerate(self.senders):
            own = _share(submissions(events, seed=seed), place, senders)
            sender.begin(own, per_s=per_s / senders, per_request=500)

    @property
    def done(self) -> bool:
        """Whether everything is acknowledged."""
        return all(sender.done for sender in self.senders)

    @property
    def acknowledged(self) -> int:
        """How many events are acknowledged."""
        return sum(len(sender.acknowledged) for sender in self.senders)

    @property
    def answers(self) -> Counter[str]:
        """The calls by gRPC status."""
        return sum((sender.answers for sender in self.senders), Counter())

    def wait_acknowledged(self, events: int) -> None:
        """Return once at least this number of events are acknowledged."""
        until(lambda: self.done or self.acknowledged >= events, _SENT_DEADLINE_S, f"acknowledging {events} events")

    def finish(self) -> None:
        """Wait until everything is acknowledged."""
        until(lambda: self.done, _SENT_DEADLINE_S, "acknowledging every event")

    def stop(self) -> float:
        """Stop sending, count what was sent, and return the events a second so far."""
        seconds = time.monotonic() - self._begun_s
        for sender in self.senders:
            sender.close()
            self._site.sent.acknowledged.update(sender.acknowledged)
            self._site.sent.sent |= sender.sent
        return self.acknowledged / seconds


def _share(entries: Iterator[EventSubmission], place: int, shares: int) -> Iterator[EventSubmission]:
    """The events of every learner who belongs to one of the shares."""
    return (entry for entry in entries if zlib.crc32(entry.learner_id.encode()) % shares == place)


@contextmanager
def load(site: Site, *, per_s: float, events: int = _ENDLESS, senders: int = 2) -> Iterator[Load]:
    """A load that has been stopped when the block is left."""
    begun = Load(site, per_s=per_s, events=events, senders=senders)
    try:
        yield begun
    finally:
        begun.stop()


@contextmanager
def reading(site: Site, *, readers: int = 2) -> Iterator[list[Reader]]:
    """Platforms that read through the Service of the server without a pause."""
    found = [Reader(site.release.address("server"), site.api_key, READERS_LEARNERS) for _ in range(readers)]
    for reader in found:
        reader.start()
    try:
        yield found
    finally:
        for reader in found:
            reader.close()


class OverHttp:
    """Platforms that post statements to ingest, and others that ask the gateway for lists, each without a pause."""

    def __init__(self, site: Site) -> None:
        """Args: `site`, where."""
        self._learner, self._statements = f"caller-{next(_seeds)}", itertools.count()
        self._callers = {
            process: [
                Caller(HttpClient(site.release.address(process, "http"), site.api_key), request)
                for _ in range(_HTTP_CALLERS)
            ]
            for process, request in (("ingest", self._post), ("gateway", self._ask))
        }

    def answers(self, process: str) -> Counter[str]:
        """What ingest or the gateway answered: statuses, and failures of connections."""
        return sum((each.answers for each in self._callers[process]), Counter())

    def __enter__(self) -> Self:
        for each in self._all():
            each.start()
        until(lambda: all(each.answers for each in self._all()), _SENT_DEADLINE_S, "the first answers over HTTP")
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._all():
            each.close()

    def _all(self) -> Iterator[Caller]:
        return itertools.chain.from_iterable(self._callers.values())

    def _post(self, client: HttpClient, number: int) -> Answer:
        said = statement(self._learner, f"q{number % 50}", next(self._statements))
        return client.call("POST", "/xAPI/statements", said)

    @staticmethod
    def _ask(client: HttpClient, number: int) -> Answer:
        learner = READERS_LEARNERS[number % len(READERS_LEARNERS)]
        return client.call("POST", f"/v1/learners/{learner}:recommend", {"limit": 5})


def answers_of(readers: list[Reader]) -> Counter[str]:
    """The answers that readers got, by gRPC status."""
    return sum((reader.answers for reader in readers), Counter())


def account(site: Site, *, replay: bool = False) -> str:
    """Check that every event that was acknowledged so far, over all checks, counts once.

    Args:
        site: where.
        replay: whether also to check that the served epoch equals a replay of the log, which takes its time.

    Returns:
        What was found.
    """
    site.wait_drained(_DRAINED_DEADLINE_S)
    epoch = site.current_epoch()
    log = asyncio.run(read_log(site.kafka.connection, LEARNER_EVENTS))
    scene = SimpleNamespace(
        platform=site.sent,
        redis=site.redis,
        partitions=PARTITIONS,
        bench=SimpleNamespace(cluster=site.kafka),
        row=Row("kubernetes", 1, 0),
    )
    try:
        checks.check_acknowledged(scene, log)
        checks.check_counts(scene, epoch, log, window_exceeded=False, dead_letters=False)
    except ScenarioFailedError as error:
        raise CheckFailedError(str(error)) from error
    found = f"{scene.row.acknowledged:,} events acknowledged so far, each counted once"
    if not replay:
        return found
    with site.redis.client() as client:
        proof = 1 + max(int(key.split(b":")[1]) for key in client.scan_iter(match="cairn:*:meta", count=1_000))
    site.cairn("replay", "--epoch", str(proof), "--parameters", "same")
    served, replayed = (_digest(site, number) for number in (epoch, proof))
    site.cairn("epoch", "drop", str(proof))
    must(served == replayed, f"epoch {epoch} has the digest {served}, a replay of the log {replayed}")
    return f"{found}; digest equals a replay"


def _digest(site: Site, epoch: int) -> str:
    return str(json.loads(site.cairn("epoch", "digest", str(epoch), "--json"))["digest"])
