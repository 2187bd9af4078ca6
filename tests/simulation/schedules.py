"""Schedules: sequences of events and faults as data that can be printed, minimised and replayed."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from tests.simulation.log import PARTITIONS
from tests.simulation.world import MOST_WORKERS, World

Step = tuple[str, tuple[int, ...]]

_SHORTEST, _LONGEST = 4, 16
_LAST_BLOW = 0.2


def _any_worker(rng: random.Random) -> int:
    return rng.randrange(MOST_WORKERS)


# Every kind of event and fault, its frequency and its arguments: a new kind is one line.
HAPPENINGS: dict[str, tuple[int, Callable[[random.Random], tuple[int, ...]]]] = {
    "publish": (8, lambda rng: (rng.randint(1, 40), rng.choice((0, 0, 0, 2)))),
    "resend": (4, lambda rng: (rng.randint(1, 10),)),
    "poison": (2, lambda _: ()),
    "make_up_skills": (1, lambda rng: (rng.choice((5, 30, 130)),)),
    "cram": (1, lambda rng: (rng.randint(60, 120),)),
    "correct": (4, lambda rng: (rng.randint(1, 6),)),
    "correct_early": (2, lambda _: ()),
    "interact": (2, lambda rng: (rng.randint(1, 8),)),
    "erase": (1, lambda _: ()),
    "erase_and_resend": (2, lambda rng: (rng.randint(1, 6),)),
    "reuse_ids": (3, lambda rng: (rng.randint(1, 6),)),
    "run": (8, lambda rng: (rng.choice((5, 20, 50, 200, 1_000, 3_000)),)),
    "kill": (6, lambda rng: (_any_worker(rng), rng.randrange(120))),
    "terminate": (2, lambda rng: (_any_worker(rng),)),
    "stop": (3, lambda rng: (_any_worker(rng), rng.randrange(60), rng.choice((100, 1_000, 4_000, 8_000)))),
    "scale": (3, lambda rng: (rng.randint(1, MOST_WORKERS),)),
    "rebuild": (2, lambda _: ()),
    "kill_rebuild": (1, lambda rng: (rng.randrange(120),)),
    "lose_writes": (4, lambda rng: (rng.choice((1, 2, 3, 5, 10, 30, 100)),)),
    "flush": (1, lambda _: ()),
    "redis_away": (2, lambda rng: (rng.choice((10, 500, 3_000)),)),
    "damage": (2, lambda _: ()),
    "repair": (2, lambda _: ()),
    "commit_ahead": (2, lambda _: ()),
    "forget_commits": (1, lambda _: ()),
    "shrink": (
        2,
        lambda rng: (rng.randrange(PARTITIONS), rng.choice((1, 2, 5, 20, 60)), rng.choice((0, 0, 3, 30, 120))),
    ),
    "lose_keys": (2, lambda rng: (rng.choice((0, 1, 2)), rng.choice((0, 1)))),
    "recreate": (1, lambda rng: (rng.choice((0, 5, 60)),)),
}


@dataclass(frozen=True)
class Schedule:
    """The steps, and the seed of all remaining choices."""

    seed: int
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        lines = [f"    world.{name}({', '.join(map(str, arguments))})" for name, arguments in self.steps]
        return "\n".join((f"    world = World({self.seed})", *lines, "    world.heal()", "    world.check()"))


@dataclass(frozen=True)
class Outcome:
    """The result of a schedule.

    Attributes:
        error: the violated invariant; None: every invariant holds.
        failures: number of times a worker exited with an error.
        trace: what changes when anything in the run changes.
    """

    error: Exception | None
    failures: int
    trace: tuple[Any, ...]


def schedule_of(seed: int) -> Schedule:
    """The schedule for a seed."""
    rng = random.Random(seed)
    names = list(HAPPENINGS)
    weights = [HAPPENINGS[name][0] for name in names]
    chosen = rng.choices(names, weights, k=rng.randint(_SHORTEST, _LONGEST))
    if rng.random() < _LAST_BLOW:
        # When everything was folded and nothing more arrives, a loss is not found by accident.
        chosen += ["run", "run", "lose_writes"]
    return Schedule(seed, (("publish", (20, 0)), *((name, HAPPENINGS[name][1](rng)) for name in chosen)))


def outcome_of(schedule: Schedule) -> Outcome:
    """Run a schedule, heal the world, and check the invariants."""
    world = World(schedule.seed)
    error = None
    try:
        for name, arguments in schedule.steps:
            getattr(world, name)(*arguments)
        world.heal()
        world.check()
    except Exception as broken:  # noqa: BLE001 - whatever it is, it is the outcome.
        error = broken
    finally:
        world.close()
    return Outcome(error, len(world.cluster.failures), world.trace)


def shortest(schedule: Schedule) -> Schedule:
    """A schedule that fails like this one and from which no single step can be removed."""
    kind = type(outcome_of(schedule).error)
    index = 0
    while index < len(schedule.steps):
        shorter = Schedule(schedule.seed, schedule.steps[:index] + schedule.steps[index + 1 :])
        if type(outcome_of(shorter).error) is kind:
            schedule, index = shorter, 0
        else:
            index += 1
    return schedule


def failing(seeds: Sequence[int]) -> tuple[Schedule, Exception] | None:
    """The first failing schedule, minimised, and its error; None if none fails."""
    for seed in seeds:
        schedule = schedule_of(seed)
        if outcome_of(schedule).error is not None:
            found = shortest(schedule)
            error = outcome_of(found).error
            assert error is not None
            return found, error
    return None


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the logs: thousands of crashes are intended."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            # Raised for a service that is killed while it starts.
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            yield
    finally:
        logging.disable(logging.NOTSET)
        structlog.configure(**before)
