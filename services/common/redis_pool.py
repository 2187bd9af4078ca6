"""Connections to Redis by URL: one server, or the primary that Sentinels name.

redis://[[user]:password@]host[:port][/database]             one server; `rediss` with TLS
unix://[[user]:password@]/path/to/redis.sock[?db=database]   one server, on this machine
redis+sentinel://[[user]:password@]host[:port][,host[:port]...]/name[/database]
                                                             the primary of that name; `rediss+sentinel` with TLS

Options follow after a `?`, as redis-py names them: `ssl_ca_certs=/etc/ca.pem`, and `ssl_certfile` and `ssl_keyfile` for
a client certificate. User and password are those of Redis; Sentinels that want a login get `sentinel_username` and
`sentinel_password` among the options.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

import redis.asyncio
import redis.exceptions
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.connection import HiredisRespSerializer

from services.common.certificates import Named, handshake_problem, load_authorities, load_chain

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")

_BEGIN = f"begin it with one of {', '.join(f'{name}://' for name in SCHEMES)}"
_SENTINEL = "+sentinel"
_AUTHORITIES = "ssl_ca_certs of CAIRN_REDIS (without it, the system's list)"
_SENTINEL_PORT = 26_379
_SERIALIZER = HiredisRespSerializer()


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
        raise ValueError(_BEGIN)
    if scheme.endswith(_SENTINEL):
        pool = _pool_of_primary(url, options)
    else:
        if scheme != "unix":
            _check_database(urlsplit(url).path.removeprefix("/"))
        pool = redis.asyncio.ConnectionPool.from_url(url, **options)
    _check_options(pool)
    _improve_connections_of(pool)
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


def with_password(url: str, password: str) -> str:
    """A URL with the password of Redis's user.

    Raises:
        ValueError: when it has one already, or is no URL.
    """
    if "://" not in url:
        raise ValueError(_BEGIN)
    parts = urlsplit(url)
    if parts.password is not None or "password" in parse_qs(parts.query):
        raise ValueError("it has a password already: remove that, or unset CAIRN_REDIS_PASSWORD_FILE")
    login, _, hosts = parts.netloc.rpartition("@")
    return url.replace(f"://{parts.netloc}", f"://{login}:{quote(password, safe='')}@{hosts}", 1)


def unreachable(error: BaseException) -> str:
    """What is wrong when Redis does not answer, and what to check.

    Args:
        error: of redis-py, or of a connection that it opened.
    """
    if isinstance(error, MasterNotFoundError):
        # Its own message describes clients, and not what they failed with.
        return (
            "no Sentinel of CAIRN_REDIS names a primary of that name: check that they run there, their login, the "
            f"name, and with TLS that they are trusted by {_AUTHORITIES}"
        )
    # A timeout of asyncio says nothing.
    said = str(error).rstrip(".") or "it took too long"
    server = re.search(r"connecting to (\S+?)\.(?:\s|$)", said)
    if problem := handshake_problem(error, server[1] if server else "Redis", _AUTHORITIES):
        return f"Redis cannot be reached: {problem}"
    return (
        f"Redis did not answer: {said}; check that it runs, that CAIRN_REDIS names it, its memory limit, and with "
        "rediss:// that it speaks TLS there, and whether it wants a client certificate"
    )


class _Connection:
    """Packs commands quickly, and passes on the cancellations that redis-py drops.

    It sends with `asyncio.wait_for`, which before Python 3.12 drops one that comes when all is sent. A loop that uses
    Redis would go on for ever, and its process would not end.
    """

    def pack_command(self, *args: Any) -> list[bytes]:
        # As redis-py does where it blocks. In Python, a command of hundreds of arguments takes four times as long.
        packed: list[bytes] = _SERIALIZER.pack(*args)
        return packed

    async def send_packed_command(self, *args: Any, **options: Any) -> None:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        before = task.cancelling()
        await cast("Any", super()).send_packed_command(*args, **options)
        if task.cancelling() > before:
            # The reply must not be taken for that of the next command.
            await cast("Any", self).disconnect(nowait=True)
            raise asyncio.CancelledError


def _improve_connections_of(pool: redis.asyncio.ConnectionPool) -> None:
    kind = pool.connection_class
    pool.connection_class = type(kind.__name__, (_Connection, kind), {})


def _check_database(text: str) -> None:
    # redis-py takes any other text for database 0, and 1/2 for 12.
    if text and not text.isdecimal():
        raise ValueError(f"{text!r} is not the number of a database")


def _check_options(pool: redis.asyncio.ConnectionPool) -> None:
    try:
        cast("Any", pool).make_connection()
    except redis.exceptions.RedisError as error:
        raise ValueError(f"{error}") from error
    except TypeError as error:
        # Its message names the option.
        raise ValueError(f"redis-py does not know one of its options: {error}; TLS options need rediss://") from error
    # redis-py reads the files at the first connection, and says no more than OpenSSL does.
    given, context = pool.connection_kwargs, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authorities := given.get("ssl_ca_certs"):
        load_authorities(context, Named("ssl_ca_certs", Path(authorities)))
    certificate, key = given.get("ssl_certfile"), given.get("ssl_keyfile")
    if certificate:
        chain, key_of_it = Named("ssl_certfile", Path(certificate)), Named("ssl_keyfile", Path(key or certificate))
        load_chain(context, chain, key_of_it, given.get("ssl_password", ""))
    elif key:
        raise ValueError(f"ssl_keyfile={key} needs ssl_certfile: name the certificate too")


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
    for sentinel in sentinels.sentinels:
        _improve_connections_of(sentinel.connection_pool)
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
