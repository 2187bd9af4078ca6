"""The state store is chosen by the scheme of its URL."""

from __future__ import annotations

import pytest

from services.recommender.adapters.redis.state_store import RedisStateStore
from services.recommender.application.ports.state_store import StateUrlInvalidError
from services.recommender.bootstrap.stores import state_store


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:6379/0", "rediss://user:secret@redis.example/1", "unix:///tmp/redis"]
)
async def test_redis_has_three_schemes(url):
    store = state_store(url)
    assert isinstance(store, RedisStateStore)
    await store.aclose()


@pytest.mark.parametrize("url", ["postgres://user:secret@host/db", "redis:secret@host", "127.0.0.1:6379", ""])
def test_an_unknown_scheme_is_refused_with_the_known_ones_and_without_a_password(url):
    with pytest.raises(StateUrlInvalidError, match=r"CAIRN_REDIS=.*redis://, rediss://, unix://") as refused:
        state_store(url)
    assert "secret" not in str(refused.value)


def test_an_unusable_redis_url_is_refused_with_the_reason():
    with pytest.raises(StateUrlInvalidError, match=r"CAIRN_REDIS='redis://host:port/0'.*[Pp]ort"):
        state_store("redis://host:port/0")
