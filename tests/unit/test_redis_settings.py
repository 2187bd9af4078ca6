"""The password of Redis may be in a file, apart from its URL."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

import services
from services.common.environment import wrong_settings
from services.common.redis_pool import connection_pool
from services.common.settings import RedisSettings


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "password"
    file.write_text("s@cret/%?\n")
    return file


@pytest.mark.parametrize(
    ("url", "user"),
    [
        ("redis://one:1/2", None),
        ("rediss://cairn@one:1/2", "cairn"),
        ("redis+sentinel://cairn@one,two:1/main/2", "cairn"),
        ("unix://cairn@/run/redis.sock?db=2", "cairn"),
    ],
)
def test_the_password_of_a_file_is_that_of_redis_whatever_is_in_it(url, user, file):
    settings = RedisSettings(redis=url, redis_password_file=file)
    made = connection_pool(settings.redis_url).connection_kwargs
    assert (made.get("username"), made["password"], made["db"]) == (user, "s@cret/%?", 2)


def test_without_a_file_the_url_is_used_as_it_is():
    assert RedisSettings(redis="redis://u:p@one/3").redis_url == "redis://u:p@one/3"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://cairn:inside@one/0", r"CAIRN_REDIS='redis://one/0' cannot be used: it has a password already"),
        ("redis://:@one/0", "it has a password already: remove that, or unset CAIRN_REDIS_PASSWORD_FILE"),
        ("redis://one/0?password=inside", "it has a password already"),
        ("", "CAIRN_REDIS_PASSWORD_FILE would have no effect: set CAIRN_REDIS too"),
        ("one:6379", "begin it with one of redis://"),
    ],
)
def test_a_password_file_that_does_not_fit_the_url_is_refused(url, said, file):
    with pytest.raises(ValidationError) as refused:
        RedisSettings(redis=url, redis_password_file=file)
    message = wrong_settings(refused.value)
    assert re.search(said, message)
    assert "inside" not in message
    assert "s@cret" not in message


def test_a_password_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ValidationError, match=r"CAIRN_REDIS_PASSWORD_FILE=.*none cannot be read \(No such file"):
        RedisSettings(redis="redis://one/0", redis_password_file=tmp_path / "none")


def test_nobody_connects_with_the_url_that_lacks_the_password():
    root = Path(services.__file__).parent
    used = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if re.search(r"settings(\([^)]*\))?\.redis\b", path.read_text(encoding="utf-8"))
    }
    assert used == set()
