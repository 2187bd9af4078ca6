"""Connections to Redis by URL: one server, or the primary that Sentinels name.

redis://[[user]:password@]host[:port][/database]             one server; `rediss` with TLS
unix://[[user]:password@]/path/to/redis.sock[?db=database]   one server, on this machine
redis+sentinel://[[user]:password@]host[:port][,host[:port]...]/name[/database]
                                                             the primary of that name; `rediss+sentinel` with TLS

Options follow after a `?`, as redis-py names them: `ssl_ca_certs=/etc/ca.pem`. User and password are those of Redis;
Sentinels that want a login get `sentinel_username` and `sentinel_password` among the options.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import redis.asyncio
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")

_SENTINEL = "+sentinel"
_FILES = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"}
_SENTINEL_PORT = 26_379


def connection_pool(url: str, **options: Any) -> redis.asyncio.ConnectionPool:
    """A pool of connections.

    Args:
        url: see the module.
        options: of each connection; those in the URL come before them.

    Raises:
        ValueError: when the URL is not such a URL.
    """
    scheme = url.partition("://")[0]
    if scheme not in SCHEMES:
        raise ValueError(f"begin it with one of {', '.join(f'{name}://' for name in SCHEMES)}")
    if scheme.endswith(_SENTINEL):
        pool = _pool_of_primary(url, options)
    else:
        if scheme != "unix":
            _check_database(urlsplit(url).path.removeprefix("/"))
        pool = redis.asyncio.ConnectionPool.from_url(url, **options)
    _check_options(pool)
    return pool


def shown(url: str) -> str:
    """A URL without what may be secret: user and password, and its options."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    address, options, _ = rest.partition("?")
    _, at, host = address.rpartition("@")
    # Of a password that is not encoded, parts may be anywhere.
    if not at and "@" in rest and options:
        host = "..."
    return f"{scheme}{separator}{host}"


def _check_database(text: str) -> None:
    # redis-py takes any other text for database 0, and 1/2 for 12.
    if text and not text.isdecimal():
        raise ValueError(f"{text!r} is not the number of a database")


def _check_options(pool: redis.asyncio.ConnectionPool) -> None:
    for name, value in pool.connection_kwargs.items():
        if name in _FILES and value is not None and not Path(value).is_file():
            raise ValueError(f"{name}={value} is not a file")
    try:
        cast("Any", pool).make_connection()
    except TypeError as error:
        # Its message names the option.
        raise ValueError(f"redis-py does not know one of its options: {error}; TLS options need rediss://") from error


def _pool_of_primary(url: str, options: dict[str, Any]) -> redis.asyncio.ConnectionPool:
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    name, _, database = parts.path.strip("/").partition("/")
    _check_database(database)
    if not name:
        raise ValueError("name the primary that the Sentinels watch: redis+sentinel://host:26379/NAME")
    given = parse_qs(parts.query, strict_parsing=bool(parts.query))
    of_sentinels = {
        key: given.pop(f"sentinel_{key}")[0] for key in ("username", "password") if f"sentinel_{key}" in given
    }
    # redis-py reads user, password, database and the other options as for any other URL, and checks them.
    plain = f"{parts.scheme.removesuffix(_SENTINEL)}://{login + '@' if login else ''}primary/{database}"
    made: Any = redis.asyncio.ConnectionPool.from_url(f"{plain}?{urlencode(given, doseq=True)}", **options)
    of_primary = {key: value for key, value in made.connection_kwargs.items() if key not in {"host", "port"}}
    shared = {key: value for key, value in of_primary.items() if key.startswith(("ssl_", "socket_", "protocol"))}
    # redis-py has no types for Sentinel.
    sentinels = cast("Any", Sentinel)(
        [_address(host) for host in hosts.split(",")],
        sentinel_kwargs=shared | of_sentinels | ({"ssl": True} if plain.startswith("rediss:") else {}),
    )
    pool: redis.asyncio.ConnectionPool = cast("Any", SentinelConnectionPool)(
        unquote(name), sentinels, ssl=plain.startswith("rediss:"), **of_primary
    )
    return pool


def _address(host: str) -> tuple[str, int]:
    """A host and port of a Sentinel; an IPv6 address is in brackets."""
    parts = urlsplit(f"//{host}")
    if not parts.hostname:
        raise ValueError(f"{host!r} is not the host of a Sentinel")
    return parts.hostname, parts.port or _SENTINEL_PORT
