"""The log of learner events as rows for an export: assigned, without a group, from its beginning to the end seen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from services.common.encryption.learner_keys import LearnerKeys
from services.common.encryption.values import ERASED, LOST, ValueUnreadableError
from services.common.kafka.connection import KafkaConnection, read_span, topic_span
from services.common.kafka.envelope import LEARNER_EVENTS, KeyInvalidError, split_key
from services.recommender.application.operations.export import LogRows, Row
from services.recommender.wire.export import EventUnreadableError, event_row


class KafkaEventRows:
    """Implements EventRows."""

    def __init__(
        self, connection: KafkaConnection, keys: LearnerKeys, *, topic: str = LEARNER_EVENTS, stalled_s: float = 30.0
    ) -> None:
        """Args: the cluster, the decryptor of values, the topic, and how long the topic may send nothing."""
        self._connection = connection
        self._keys = keys
        self._topic = topic
        self._stalled_s = stalled_s
        self._span: dict[int, tuple[int, int]] = {}

    async def total(self) -> int:
        """See the port."""
        self._span = await topic_span(self._connection, self._topic)
        return sum(end - begin for begin, end in self._span.values())

    async def batches(self, tenant: str) -> AsyncIterator[LogRows]:
        """See the port."""
        erased = unreadable = 0
        parts = read_span(self._connection, self._topic, self._span, stalled_s=self._stalled_s)
        try:
            async with aclosing(parts):
                async for part in parts:
                    own = [record for record in part.records if _is_of(tenant, record.key)]
                    await self._keys.load_keys(own)
                    rows: list[Row] = []
                    for record in own:
                        try:
                            value = self._keys.decrypt(record.key, record.value, record.headers)
                            if value is ERASED:
                                erased += 1
                                continue
                            if value is LOST:
                                raise self._keys.missing_keys()
                            row = event_row(record.key, value, list(record.headers))
                        except (EventUnreadableError, ValueUnreadableError):
                            unreadable += 1
                            continue
                        rows.append(row | {"partition": record.partition, "offset": record.offset})
                    yield LogRows(rows, part.done, erased, unreadable)
        finally:
            await self._keys.close()


def _is_of(tenant: str, key: bytes | None) -> bool:
    try:
        return split_key(key)[0] == tenant
    except KeyInvalidError:
        return False
