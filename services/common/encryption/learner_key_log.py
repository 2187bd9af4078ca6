"""Writing to the compacted topic `cairn.learner-keys`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from services.common.kafka.connection import BrokerUnavailableError, KafkaConnection, kafka_python_options
from services.common.kafka.envelope import LEARNER_KEYS, cloud_event_headers

_EVENT_TYPE = "cairn.v1.LearnerDataKey"
_LINGER_MS = 2
_TIMEOUT_MS = 10_000
_CLOSE_TIMEOUT_S = 2.0


class LearnerKeyLog:
    """Appends records, for one caller at a time."""

    def __init__(
        self,
        connection: KafkaConnection,
        clock: Callable[[], datetime],
        *,
        source: str,
        topic: str = LEARNER_KEYS,
    ) -> None:
        """Args: the cluster, the clock for the records' `ce_time` (timezone-aware), the writer's URI, and the topic."""
        self._connection = connection
        self._clock = clock
        self._source = source
        self._topic = topic
        self._producer: KafkaProducer | None = None

    async def append(self, records: Mapping[bytes, bytes | None]) -> int:
        """Write a value for each record key and return the last one's offset, once all are confirmed.

        Raises:
            BrokerUnavailableError: when one was not confirmed; some may have been written.
        """
        try:
            return await asyncio.to_thread(self._send, records)
        except KafkaError as error:
            await self.close()
            raise BrokerUnavailableError(f"the keys of learners could not be written: {error!r}") from error

    async def close(self) -> None:
        """Close the producer."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await asyncio.to_thread(producer.close, timeout=_CLOSE_TIMEOUT_S)

    def _send(self, records: Mapping[bytes, bytes | None]) -> int:
        if self._producer is None:
            options = {"bootstrap_timeout_ms": _TIMEOUT_MS // 2, "request_timeout_ms": _TIMEOUT_MS // 2}
            self._producer = KafkaProducer(
                **(kafka_python_options(self._connection) | options),
                client_id="cairn-learner-keys",
                acks="all",
                enable_idempotence=True,
                allow_auto_create_topics=False,
                linger_ms=_LINGER_MS,
                max_block_ms=_TIMEOUT_MS // 2,
                delivery_timeout_ms=_TIMEOUT_MS,
                metrics_enabled=False,
            )
        headers = cloud_event_headers(
            event_id=str(uuid.uuid4()), source=self._source, event_type=_EVENT_TYPE, time=self._clock()
        )
        sent: list[Any] = [
            self._producer.send(self._topic, key=key, value=value, headers=headers, partition=0)
            for key, value in records.items()
        ]
        self._producer.flush(_TIMEOUT_MS / 1000)
        # No further waiting: a record that is not confirmed by now raises.
        return max(int(future.get(timeout=0).offset) for future in sent)
