"""The rows of an export of events: only the tenant's own records, none of which is lost without being counted."""

from __future__ import annotations

from types import SimpleNamespace

from services.common.kafka.connection import SpanPart
from services.common.kafka.envelope import record_key
from services.recommender.adapters.kafka import event_rows
from tests.learner_events import message, pseudonym


class PlainKeys:
    """Keys of a log without encryption, which note whose records they were given."""

    def __init__(self):
        self.loaded = []

    async def load_keys(self, records):
        self.loaded += [record.key for record in records]

    def decrypt(self, _key, value, _headers):
        return value

    async def close(self):
        pass


async def test_an_export_has_only_the_tenant_s_own_records_and_loads_no_keys_of_others(monkeypatch):
    values = [
        message(0).SerializeToString(),
        message(1, tenant="lakeside").SerializeToString(),
        b"\xff\xff",
        message(3, tenant="riverbend-2").SerializeToString(),
        message(4).SerializeToString(),
        b"not of any tenant",
    ]
    tenants = ["riverbend", "lakeside", "riverbend", "riverbend-2", "riverbend", None]
    keys = [None if tenant is None else record_key(tenant, pseudonym("ada")) for tenant in tenants]
    records = [
        SimpleNamespace(key=key, value=value, headers=(), partition=0, offset=offset)
        for offset, (key, value) in enumerate(zip(keys, values, strict=True))
    ]

    async def topic_span(_connection, _topic):
        return {0: (0, len(records))}

    async def read_span(_connection, _topic, span, *, stalled_s):
        assert span == {0: (0, len(records))}
        yield SpanPart(records[:3], 3)
        yield SpanPart(records[3:], len(records))

    monkeypatch.setattr(event_rows, "topic_span", topic_span)
    monkeypatch.setattr(event_rows, "read_span", read_span)
    of_learners = PlainKeys()
    log = event_rows.KafkaEventRows(None, of_learners)
    assert await log.total() == len(records)
    batches = [batch async for batch in log.batches("riverbend")]
    rows = [(row["tenant"], row["event_id"], row["offset"]) for batch in batches for row in batch.rows]
    assert rows == [("riverbend", "event-0", 0), ("riverbend", "event-4", 4)]
    assert (batches[-1].offsets, batches[-1].erased, batches[-1].unreadable) == (6, 0, 1)
    assert set(of_learners.loaded) == {keys[0]}
