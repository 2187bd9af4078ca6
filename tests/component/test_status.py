"""`cairn status` on in-memory ports."""

from __future__ import annotations

import io
import time

import orjson
from rich.console import Console

from services.common.kafka.envelope import Position
from services.recommender.application.operations.dead_letter_counts import DeadLetterCounts
from services.recommender.application.operations.dead_letters import FiledLetter
from services.recommender.application.operations.status import DEAD_LETTER_AGENT, LEARNER_KEYS_PART, Health, ReadStatus
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.ports.learners import PartitionProgress, StateUnavailableError
from services.recommender.application.ports.log import DeadLetter
from services.recommender.application.ports.models import BundleUnreadableError
from services.recommender.application.ports.quarantine import Quarantine, QuarantinedLearner
from services.recommender.entrypoints.status_report import print_status, status_as_json

LOG = "0d9b3c1e-0000-0000-0000-000000000000/2"
ALL_SERVING = {"ingest": "127.0.0.1:1", "server": "127.0.0.1:2"}


class Log:
    def __init__(self, ends=None, error=None):
        self._ends, self._error = ends, error

    async def identity(self):
        if self._error:
            raise self._error
        return LOG

    async def end_offsets(self):
        return self._ends


class Epochs:
    def __init__(self, current, progress, error=None, log=LOG):
        self._current, self._progress, self._error, self._log = current, progress, error, log
        self.quarantined = {}

    async def current_epoch(self):
        if self._error:
            raise self._error
        return self._current

    async def epochs(self):
        return [EpochMeta(epoch, EpochStatus.LIVE, "priors-1", "", self._log, {}) for epoch in self._progress]

    async def progress(self, epoch):
        return self._progress[epoch]

    async def quarantine(self, epoch):
        return Quarantine(1, self.quarantined.get(epoch, {}))


class Bundles:
    def __init__(self, latest=None, error=None):
        self._latest, self._error = latest, error

    def latest_id(self):
        if self._error:
            raise self._error
        return self._latest


class Probe:
    def __init__(self, agent=Health.UNKNOWN, keys=Health.UNKNOWN, **others):
        self._parts, self._others = {DEAD_LETTER_AGENT: agent, LEARNER_KEYS_PART: keys}, others

    async def health(self, address, part=""):
        return self._parts[part] if part else self._others.get(address, Health.SERVING)


class Letters:
    def __init__(self, counts=None, error=None):
        self._counts, self._error = counts or DeadLetterCounts(), error

    async def count(self):
        if self._error:
            raise self._error
        return self._counts


def reader(log=None, epochs=None, letters=None, bundles=None, probe=None):
    return ReadStatus(
        log or Log({0: 10, 1: 5}),
        epochs or Epochs(1, {1: {0: PartitionProgress(10, 9, 1, 0), 1: PartitionProgress(5, 4, 0, 1)}}),
        letters or Letters(),
        bundles or Bundles("b1"),
        probe or Probe(),
    )


async def test_a_healthy_system_has_no_problems():
    status = await reader()(ALL_SERVING)

    assert status.problems == ()
    assert status.bundle == "b1"
    assert status.current is not None
    assert (status.current.lag, status.current.applied, status.current.duplicates) == (0, 13, 1)
    assert status.current.dead_lettered == 1


async def test_quarantined_learners_are_a_problem_with_the_remedy_and_their_records_are_counted():
    epochs = Epochs(2, {2: {0: PartitionProgress(10, 7, 1, 0, quarantined=2)}})
    epochs.quarantined[2] = {f"riverbend/{name}".encode(): QuarantinedLearner(0, 8, 1, "short") for name in "ABCDEFG"}
    status = await reader(log=Log({0: 10}), epochs=epochs)({})
    (problem,) = status.problems
    assert "epoch 2 has 7 learner(s) in quarantine" in problem
    assert "riverbend/A, riverbend/B" in problem
    assert "riverbend/F" not in problem
    assert "cairn learner repair --all --epoch 2" in problem
    assert status.current.partitions[0].quarantined == 2
    assert orjson.loads(status_as_json(status))["epochs"][0]["quarantined"] == 2
    (total,) = [line.split() for line in printed(status).splitlines() if line.split()[:1] == ["all"]]
    assert total == ["all", "0", "7", "1", "0", "0", "0", "0", "2"]
    assert "rantine" in printed(status)
    assert "rantine" not in printed(await reader()({}))


async def test_lag_is_the_number_of_records_after_the_positions():
    status = await reader(log=Log({0: 12, 1: 6}))({})

    assert [partition.lag for partition in status.current.partitions] == [2, 1]
    assert status.current.lag == 3


async def test_a_partition_that_is_new_to_the_epoch_lags_by_all_its_records():
    status = await reader(log=Log({0: 10, 1: 5, 2: 7}))({})

    assert status.current.partitions[2].lag == 7


async def test_every_epoch_is_listed_and_one_is_current():
    epochs = Epochs(2, {1: {0: PartitionProgress(4, 4, 0, 0)}, 2: {0: PartitionProgress(10, 10, 0, 0)}})

    status = await reader(log=Log({0: 10}), epochs=epochs)({})

    assert [(report.meta.epoch, report.current, report.lag) for report in status.epochs] == [
        (1, False, 6),
        (2, True, 0),
    ]


async def test_without_the_broker_the_rest_is_still_shown_and_lag_is_unknown():
    away = ConnectionError("Kafka at x cannot be reached")
    status = await reader(log=Log(error=away), letters=Letters(error=away))(ALL_SERVING)

    assert status.problems == ("Kafka at x cannot be reached",)
    assert status.current.lag is None
    assert status.current.applied == 13
    assert [process.health for process in status.processes] == [Health.SERVING, Health.SERVING]


async def test_without_redis_the_rest_is_still_shown():
    status = await reader(epochs=Epochs(None, {}, StateUnavailableError("Redis at x cannot be reached")))({})

    assert status.problems == ("Redis at x cannot be reached",)
    assert status.log_identity == LOG
    assert not status.state_readable
    assert status.epochs == ()


async def test_no_current_epoch_is_a_problem_with_a_remedy():
    status = await reader(epochs=Epochs(None, {}))({})

    assert "cairn epoch switch" in status.problems[0]
    assert status.state_readable


async def test_an_epoch_of_another_log_is_a_problem_that_names_it():
    status = await reader(epochs=Epochs(1, {1: {}}, log="other/2"))({})

    assert len(status.problems) == 1
    assert "epoch 1" in status.problems[0]
    assert "cairn replay" in status.problems[0]


async def test_a_process_that_does_not_serve_is_named_with_its_address():
    probe = Probe(**{"127.0.0.1:1": Health.AWAY, "127.0.0.1:2": Health.NOT_SERVING})

    status = await reader(probe=probe)(ALL_SERVING)

    assert status.problems == ("ingest at 127.0.0.1:1 cannot be reached", "server at 127.0.0.1:2 is not serving")


async def test_a_worker_that_waits_for_keys_of_learners_is_named_with_the_remedy():
    status = await reader(probe=Probe(keys=Health.NOT_SERVING))({"worker": "127.0.0.1:1"})

    (problem,) = status.problems
    assert problem.startswith("worker at 127.0.0.1:1 waits for keys of learners")
    assert "Restore that topic" in problem


async def test_a_store_of_bundles_that_cannot_be_read_is_a_problem():
    status = await reader(bundles=Bundles(error=BundleUnreadableError("the bundle b1 is incomplete")))({})

    assert status.problems == ("the bundle b1 is incomplete",)
    assert status.bundle == ""


async def test_a_process_without_an_address_is_not_checked():
    status = await reader()({"worker": ""})

    assert status.processes == ()


def letters_of(tenant, *, code, ages_s):
    counts, now_s = DeadLetterCounts(), time.time()
    for offset, age_s in enumerate(ages_s):
        letter = DeadLetter(0, offset, f"{tenant}/L".encode(), b"", (), code, "why")
        counts.add(Position(0, offset), FiledLetter(letter), now_s - age_s)
    return Letters(counts)


def printed(status, width=120):
    console = Console(file=io.StringIO(), width=width)
    print_status(console, status, kafka="k", redis="r")
    return console.file.getvalue()


async def test_no_figure_or_heading_is_cut_off_in_a_terminal_of_80_columns():
    epochs = Epochs(1, {1: {0: PartitionProgress(987_654, 950_000, 37_654, 0)}})
    lines = printed(await reader(log=Log({0: 987_654}), epochs=epochs)({}), width=80).splitlines()
    (row,) = [line.split() for line in lines if line.split()[:1] == ["0"]]
    assert row == ["0", "987,654", "987,654", "0", "950,000", "37,654", "0", "0", "0", "0"]
    (headings,) = [line.split() for line in lines if "position" in line]
    assert headings == [
        "partition",
        "position",
        "end",
        "lag",
        "applied",
        "duplicates",
        "conflicts",
        "letters",
        "erased",
        "lost",
    ]


async def test_dead_letters_are_shown_by_reason_and_tenant_with_the_age_of_the_oldest_and_the_newest():
    status = await reader(letters=letters_of("north", code="field", ages_s=[3 * 86_400 + 60, 7_300, 90.5]))({})

    (group,) = orjson.loads(status_as_json(status))["dead_letters"]
    assert (group["reason"], group["tenant"], group["letters"]) == ("field", "north", 3)
    assert group["by_age"] == {"hour": 1, "day": 1, "week": 1, "older": 0}
    assert group["oldest_at"] < group["newest_at"]
    (row,) = [line.split() for line in printed(status).splitlines() if line.startswith("field")]
    assert row == ["field", "north", "3", "3", "d", "1", "min"]
    assert "dead letters, not replayed; see: cairn dlt list\n" in printed(status)
    assert status.problems == ()


async def test_without_dead_letters_none_are_shown():
    status = await reader()({})

    assert orjson.loads(status_as_json(status))["dead_letters"] == []
    assert "not replayed" not in printed(status)


async def test_a_dead_letter_topic_that_cannot_be_read_is_a_problem():
    status = await reader(letters=Letters(error=LookupError("the topic x does not exist")))({})

    assert status.problems == ("the topic x does not exist",)
    assert orjson.loads(status_as_json(status))["dead_letters"] is None


async def test_an_agent_that_no_longer_counts_dead_letters_is_a_problem_of_its_worker_which_still_serves():
    status = await reader(probe=Probe(agent=Health.NOT_SERVING))({"worker": "127.0.0.1:3"})

    assert [process.health for process in status.processes] == [Health.SERVING]
    (problem,) = status.problems
    assert problem.startswith("worker at 127.0.0.1:3 no longer counts dead letters")


async def test_a_worker_that_does_not_count_dead_letters_at_all_has_no_problem():
    status = await reader(probe=Probe(agent=Health.UNKNOWN))({"worker": "127.0.0.1:3"})

    assert status.problems == ()
