"""After Redis was lost, the first epoch begins with the parameters that were served, remembered next to the bundles."""

from __future__ import annotations

import asyncio

import fsspec
import pytest

from services.recommender.adapters.files.served_parameters import ServedParametersFile
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.ports.learners import PartitionProgress
from services.recommender.application.ports.served_parameters import ServedParameters, ServedParametersUnknownError
from services.recommender.application.state.epochs import ensure_first_epoch
from services.recommender.application.state.served_parameters import RememberServed
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID
from services.recommender.entrypoints.worker import EpochServices
from tests.adapters.memory_states import MemoryStates
from tests.component.test_epochs import LOG, Log
from tests.component.test_lost_log_records import FoldsNothing

TOPIC = LOG.partition("/")[0]
TRAINED = ServedParameters("fitted-1", "b1", TOPIC)


@pytest.fixture(params=["folder", "memory://served"])
def memory(request, tmp_path):
    url = str(tmp_path / "bundles") if request.param == "folder" else request.param
    if "://" in url:
        files = fsspec.filesystem("memory")
        files.store.clear()
    return ServedParametersFile(url)


class Unwritable:
    """A store of bundles that workers may only read."""

    def __init__(self):
        self.attempts = 0

    async def read(self):
        return None

    async def write(self, _served):
        self.attempts += 1
        raise PermissionError(13, "Permission denied")


async def first_epoch(memory) -> EpochMeta:
    states = MemoryStates()
    await ensure_first_epoch(states, Log(), RememberServed(memory))
    (meta,) = await states.epochs()
    return meta


async def test_what_was_written_last_is_read(memory):
    assert await memory.read() is None
    await memory.write(TRAINED)
    await memory.write(ServedParameters("fitted-2", "b2", TOPIC))
    assert await memory.read() == ServedParameters("fitted-2", "b2", TOPIC)


async def test_a_damaged_file_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "served.json").write_text('{"parameters_id": "fitted-1"')
    with pytest.raises(ServedParametersUnknownError, match=r"served\.json .* delete it"):
        await ServedParametersFile(str(tmp_path)).read()


async def test_the_first_epoch_after_a_loss_has_the_parameters_last_served(memory):
    await memory.write(TRAINED)
    meta = await first_epoch(memory)
    assert (meta.parameters_id, meta.parameters_bundle) == ("fitted-1", "b1")


async def test_the_first_epoch_of_all_has_the_priors(memory):
    meta = await first_epoch(memory)
    assert (meta.parameters_id, meta.parameters_bundle) == (PRIOR_PARAMETERS_ID, "")


async def test_more_partitions_do_not_make_it_another_log(memory):
    await memory.write(TRAINED)
    states = MemoryStates()
    log = Log()
    log.identity = more_partitions
    await ensure_first_epoch(states, log, RememberServed(memory))
    (meta,) = await states.epochs()
    assert meta.parameters_bundle == "b1"


async def more_partitions():
    return f"{TOPIC}/64"


async def test_parameters_served_from_another_log_are_named_and_not_taken(memory, capsys):
    await memory.write(ServedParameters("fitted-1", "b1", "another-topic"))
    meta = await first_epoch(memory)
    assert meta.parameters_id == PRIOR_PARAMETERS_ID
    assert "cairn replay --epoch 2 --parameters b1" in capsys.readouterr().out


async def test_a_worker_remembers_what_is_served_each_time_it_changes(memory):
    states = MemoryStates()
    for number, (parameters_id, bundle) in enumerate([(PRIOR_PARAMETERS_ID, ""), ("fitted-1", "b1")], start=1):
        meta = EpochMeta(number, EpochStatus.LIVE, parameters_id, bundle, LOG, {})
        await states.create(meta)
        await states.fold_store(number).advance({0: (None, PartitionProgress(0, 0, 0, 0))})

    async def make_service(_meta):
        return FoldsNothing()

    await states.make_current(1)
    services = EpochServices(states, Log(), make_service, served=memory, watch_every_s=0.01)
    await services.start()
    try:
        await remembered(memory, ServedParameters(PRIOR_PARAMETERS_ID, "", TOPIC))
        await states.make_current(2)
        await remembered(memory, TRAINED)
    finally:
        await services.stop()


async def remembered(memory, served) -> None:
    async with asyncio.timeout(5):
        while await memory.read() != served:  # noqa: ASYNC110 - it is a file.
            await asyncio.sleep(0.01)


async def test_a_store_that_cannot_be_written_is_reported_once_and_tried_again(capsys):
    memory = Unwritable()
    remember = RememberServed(memory)
    meta = EpochMeta(1, EpochStatus.LIVE, "fitted-1", "b1", LOG, {})
    for _ in range(3):
        await remember.note(meta)
    assert memory.attempts == 3
    assert capsys.readouterr().out.count("cannot be remembered") == 1
