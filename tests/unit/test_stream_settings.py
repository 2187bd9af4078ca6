"""Streams count as calls: a process keeps room for other calls."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from services.ingest.settings import IngestSettings
from services.recommender.settings import RecommenderServerSettings


@pytest.mark.parametrize(
    ("settings", "field", "what"),
    [(IngestSettings, "ingest_streams", "streams"), (RecommenderServerSettings, "subscribe_streams", "subscriptions")],
)
def test_a_limit_on_streams_leaves_room_for_other_calls(settings, field, what):
    assert getattr(settings(**{field: 199}), field) == 199
    assert getattr(settings(**{field: 200, "max_concurrent_calls": 201}), field) == 200
    with pytest.raises(
        ValidationError,
        match=f"{what} count as calls, and CAIRN_MAX_CONCURRENT_CALLS=200 leaves no room for other calls",
    ):
        settings(**{field: 200})
