"""URLs of Redis: one server, or the primary that Sentinels name."""

from __future__ import annotations

import pytest
import redis.asyncio
import redis.exceptions

from deploy.kafka.certificates import Authority
from services.common.redis_pool import connection_pool, shown


def of_sentinels(pool):
    return [
        (kwargs["host"], kwargs["port"])
        for kwargs in (each.connection_pool.connection_kwargs for each in pool.sentinel_manager.sentinels)
    ]


def test_sentinels_name_and_database_are_read_from_the_url():
    pool = connection_pool("redis+sentinel://cairn:s%40cret@one,two:5000,[::1]:6000/main/3", protocol=2)
    assert of_sentinels(pool) == [("one", 26379), ("two", 5000), ("::1", 6000)]
    assert pool.service_name == "main"
    made = pool.connection_kwargs
    assert (made["username"], made["password"], made["db"], made["protocol"]) == ("cairn", "s@cret", 3, 2)
    assert not {"host", "port"} & made.keys()


def test_sentinels_get_a_login_of_their_own_and_none_of_redis():
    pool = connection_pool("redis+sentinel://user:secret@one/main?sentinel_username=s&sentinel_password=p%26q")
    (sentinel,) = pool.sentinel_manager.sentinels
    made = sentinel.connection_pool.connection_kwargs
    assert (made["username"], made["password"]) == ("s", "p&q")
    pool = connection_pool("redis+sentinel://user:secret@one/main")
    made = pool.sentinel_manager.sentinels[0].connection_pool.connection_kwargs
    assert (made.get("username"), made.get("password")) == (None, None)


def test_with_tls_the_primary_and_the_sentinels_are_verified_by_the_same_authorities(tmp_path):
    ca = Authority(tmp_path / "authority").certificate
    pool = connection_pool(f"rediss+sentinel://one/main?ssl_ca_certs={ca}", socket_timeout=1.0)
    (sentinel,) = pool.sentinel_manager.sentinels
    for each in (pool, sentinel.connection_pool):
        assert "SSL" in each.connection_class.__name__
        assert each.connection_kwargs["ssl_ca_certs"] == str(ca)
        assert each.connection_kwargs["socket_timeout"] == 1.0


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://one", "begin it with one of redis://, rediss://, unix://, redis\\+sentinel://"),
        ("redis+sentinel://one", "name the primary"),
        ("redis+sentinel:///main", "not the host of a Sentinel"),
        ("redis+sentinel://one,/main", "not the host of a Sentinel"),
        ("redis+sentinel://one:port/main", "port"),
        ("redis+sentinel://one/main?nonsense", "nonsense|bad query"),
        ("redis://one/?nosuch=1", "does not know.*nosuch"),
        ("redis+sentinel://one/main?sentinel_passwrd=1", "does not know.*sentinel_passwrd"),
        ("redis://one?ssl_ca_certs=pyproject.toml", "ssl_ca_certs.*rediss://"),
        ("rediss://one?ssl_ca_certs=/no/ca.pem", r"ssl_ca_certs=/no/ca.pem cannot be read \(No such file.*give a file"),
        ("rediss://one?ssl_ca_certs=pyproject.toml", "ssl_ca_certs=pyproject.toml holds no certificate"),
        ("rediss://one?ssl_certfile=pyproject.toml", "ssl_certfile=pyproject.toml holds no certificate"),
        ("rediss://one?ssl_keyfile=pyproject.toml", "ssl_keyfile=pyproject.toml needs ssl_certfile"),
        ("rediss://one?ssl_cert_reqs=all", "Invalid SSL Certificate Requirements Flag: all"),
        ("redis://one/abc", "'abc' is not the number of a database"),
        ("redis+sentinel://one/main/abc", "'abc' is not the number of a database"),
        ("redis+sentinel://one/main/1/2", "'1/2' is not the number of a database"),
    ],
)
def test_a_url_that_names_no_redis_is_refused(url, said):
    with pytest.raises(ValueError, match=said):
        connection_pool(url)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis://user:pa@ss@host:1/2?password=secret", "redis://host:1/2"),
        ("redis+sentinel://one,two/main?sentinel_password=secret", "redis+sentinel://one,two/main"),
        ("user:secret@host", "host"),
        ("nowhere", "nowhere"),
        ("redis://user:a://b@host", "redis://host"),
        ("redis://user:se?cret@host", "redis://..."),
        ("redis://host/0?password=se@cret", "redis://..."),
        ("redis://user:se/cret@host/1", "redis://host/1"),
    ],
)
def test_what_is_shown_of_a_url_holds_no_secret(url, text):
    assert shown(url) == text


@pytest.mark.parametrize(
    "command",
    [
        ("CONFIG GET", "save"),
        ("SET", "né", b"\0\r\n\xff", "EX", 60),
        ("ZADD", b"key", 1.5, "a", -1e300, memoryview(b"b"), 0.1, bytearray(b"c")),
        ("EVALSHA", "f" * 40, 1, "key", b"x" * 70_000, "", *range(500)),
    ],
)
def test_commands_are_packed_as_by_redis_py(command):
    connection = connection_pool("redis://one", protocol=2).make_connection()
    assert b"".join(connection.pack_command(*command)) == b"".join(redis.asyncio.Connection().pack_command(*command))


def test_what_no_command_may_hold_is_refused():
    connection = connection_pool("redis://one", protocol=2).make_connection()
    with pytest.raises(redis.exceptions.DataError):
        connection.pack_command("SET", "key", None)
