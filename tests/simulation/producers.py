"""What producers send: events of learners, some of them late, repeated, contradictory or damaged."""

from __future__ import annotations

import random
from typing import Any

from services.common.kafka.partitioner import partition_of
from tests.simulation import sent_events
from tests.simulation.log import PARTITIONS, SimulatedLog
from tests.simulation.sent_events import ENCRYPTED, INTERACTIONS, LEARNERS, Encoded


class Producers:
    """Producers, and ingest behind them, which encrypts the values of some learners."""

    def __init__(self, log: SimulatedLog, rng: random.Random) -> None:
        self.log = log
        self._rng = rng
        self._sent: list[Encoded] = []
        self._responses: list[tuple[int, int]] = []
        self._events = 0

    def publish(self, events: int, gap: int = 0) -> None:
        """Producers append new events, the first of them behind a gap in the offsets."""
        for number in range(events):
            self._respond(self._rng.randrange(LEARNERS), skip=gap if number == 0 else 0)

    def cram(self, events: int) -> None:
        """One learner answers more often than a journal can hold."""
        learner = self._rng.randrange(LEARNERS)
        for _ in range(events):
            self._respond(learner)

    def make_up_skills(self, events: int) -> None:
        """One learner answers, each time on 16 skills that nobody has met; 130 times are more than a learner keeps."""
        learner = self._rng.randrange(LEARNERS)
        for _ in range(events):
            number = self._next_number()
            self._responses.append((number, learner))
            self._send(sent_events.response_on_new_skills(number, learner))

    def correct(self, events: int) -> None:
        """Recent and old responses are corrected, some of them twice."""
        for number, learner in self._rng.choices(self._responses, k=events) if self._responses else ():
            response = self._rng.choice((None, 0.0, 0.5, 1.0))
            self._send(sent_events.correction(self._next_number(), number, learner, response))

    def correct_early(self) -> None:
        """A correction arrives before its target, which comes some events later or never."""
        learner, waiting = self._rng.randrange(LEARNERS), self._rng.choice((0, 2, 90))
        number = self._next_number()
        self._send(sent_events.correction(self._next_number(), number, learner, 0.5))
        for _ in range(waiting):
            self._respond(learner)
        if self._rng.random() < 0.8:
            self._responses.append((number, learner))
            self._send(sent_events.response(number, learner))

    def interact(self, events: int) -> None:
        """Learners open, complete and dismiss resources."""
        for _ in range(events):
            kind = self._rng.choice(INTERACTIONS)
            self._send(sent_events.interaction(self._next_number(), self._rng.randrange(LEARNERS), kind))

    def erase(self) -> None:
        """A learner is erased."""
        self._erase(self._rng.randrange(LEARNERS))

    def erase_and_resend(self, events: int) -> None:
        """A learner is erased, and a producer that does not know of it sends some of the learner's events again."""
        if self._responses:
            _, learner = self._rng.choice(self._responses)
            before = [number for number, other in self._responses if other == learner]
            self._erase(learner)
            for number in self._rng.choices(before, k=events):
                self._send(sent_events.response(number, learner))

    def reuse_ids(self, events: int) -> None:
        """Learners' events come under ids that others of their events have, most of them of another kind."""
        for number, learner in self._rng.choices(self._responses, k=events) if self._responses else ():
            target, _ = self._rng.choice(self._responses)
            kind = self._rng.choices(("correction", "interaction", "response", "erasure"), (8, 4, 4, 1))[0]
            if kind == "correction":
                self._send(sent_events.correction(number, target, learner, self._rng.choice((None, 0.0, 1.0))))
            elif kind == "interaction":
                # A response then comes under the id of an interaction.
                used = self._rng.choice((number, self._next_number()))
                self._send(sent_events.interaction(used, learner, self._rng.choice(INTERACTIONS)))
                self._send(sent_events.response(used, learner))
            elif kind == "response":
                self._send(sent_events.other_response(number, learner))
            elif learner not in ENCRYPTED:
                self._send(sent_events.erasure(number, learner))

    def resend(self, events: int) -> None:
        """Producers resend early and late events."""
        for made in self._rng.choices(self._sent, k=events) if self._sent else ():
            self._append(*made)

    def poison(self) -> None:
        """A record arrives that cannot be decoded."""
        key, _, headers = sent_events.response(0, self._rng.randrange(LEARNERS))
        self._append(key, b"\xff\xff\xff", headers)

    def _forget_sent(self) -> None:
        """What was sent is not sent again, and not corrected."""
        self._sent.clear()
        self._responses.clear()

    def _next_number(self) -> int:
        self._events += 1
        return self._events

    def _respond(self, learner: int, *, skip: int = 0) -> None:
        number = self._next_number()
        self._responses.append((number, learner))
        self._send(sent_events.response(number, learner), skip=skip)

    def _send(self, made: Encoded, *, skip: int = 0) -> None:
        self._sent.append(made)
        self._append(*made, skip=skip)

    def _erase(self, learner: int) -> None:
        made = sent_events.erasure(self._next_number(), learner)
        if learner not in ENCRYPTED:
            self._send(made)
        elif not self.log.keys.incomplete:
            self.log.keys.destroy(made[0])
            self.log.append(partition_of(made[0], PARTITIONS), *made)

    def _append(self, key: bytes, value: bytes, headers: Any, *, skip: int = 0) -> None:
        if key in sent_events.encrypted_keys():
            if self.log.keys.incomplete:
                # Ingest refuses it.
                return
            value, more = self.log.keys.seal(key, value)
            headers = (*headers, *more)
        self.log.append(partition_of(key, PARTITIONS), key, value, headers, skip=skip)
