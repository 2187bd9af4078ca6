"""A Faust agent that takes events of the log in batches, and does nothing with them or folds them.

Run as a process: `python -m tests.benchmarks.take_agent BOOTSTRAP TOPIC EVENTS TAKE [REDIS]` prints one JSON line with
the seconds from the first batch handled to the last. With REDIS, each batch is folded into epoch 1 there, as the event
service does it: the same decoding, the same fold, the same store.
"""

from __future__ import annotations

import sys
from collections import defaultdict

from services.common.kafka.connection import KafkaConnection
from services.recommender.adapters.kafka.dead_letters import KafkaDeadLetters
from services.recommender.adapters.kafka.log import KafkaLog
from services.recommender.application.ports.served_parameters import NoMemory
from services.recommender.application.state.epochs import ensure_first_epoch
from services.recommender.application.state.fold_events import FoldEvents
from services.recommender.application.state.served_parameters import RememberServed
from services.recommender.bootstrap.stores import state_store
from services.recommender.bootstrap.worker import collect_garbage_seldom
from services.recommender.domain.learner.fold import LearnerFold, warm_up
from services.recommender.domain.learner.parameters import TracingParameters
from services.recommender.entrypoints.record_decoding import decode_batch
from tests.benchmarks.noop_agent import agent_app, raw_topic, run_and_report

_WITHIN_S = 0.2
_CACHE_BYTES = 256 * 1024 * 1024


def main() -> None:
    bootstrap, topic_name, events, take = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    app, handled = agent_app(bootstrap), 0
    fold = _Fold(KafkaConnection(bootstrap), sys.argv[5]) if sys.argv[5:] else None

    @app.agent(raw_topic(app, topic_name))
    async def take_batches(stream):
        nonlocal handled
        async for batch in stream.take_events(take, within=_WITHIN_S):
            if fold is not None:
                await fold([event.message for event in batch])
            handled += len(batch)

    run_and_report(app, events, lambda: handled)


class _Fold:
    """Folds batches as the event service does."""

    def __init__(self, connection: KafkaConnection, redis_url: str) -> None:
        self._connection, self._store = connection, state_store(redis_url)
        self._fold: FoldEvents | None = None
        self._partitions = 0
        warm_up()
        collect_garbage_seldom()

    async def __call__(self, messages):
        fold = self._fold or await self._begin()
        by_partition = defaultdict(list)
        for message in messages:
            by_partition[message.partition].append(message)
        await fold.fold([decode_batch(partition, some, self._partitions) for partition, some in by_partition.items()])

    async def _begin(self) -> FoldEvents:
        log = KafkaLog(self._connection)
        self._partitions = len(await log.end_offsets())
        await ensure_first_epoch(self._store.epochs, log, RememberServed(NoMemory()))
        meta = await self._store.epochs.get(1)
        store = self._store.fold_store(1, cache_bytes=_CACHE_BYTES, fold_id=meta.fold_id)
        self._fold = FoldEvents(store, KafkaDeadLetters(self._connection), LearnerFold(TracingParameters()))
        await self._fold.on_assigned(dict.fromkeys(range(self._partitions), 0))
        return self._fold


if __name__ == "__main__":
    main()
