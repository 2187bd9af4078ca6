"""Settings that a server reads from its environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.common.rpc.rate_limits import RateLimit
from services.common.rpc.tls import TlsFiles
from services.common.settings import ServerSettings


def test_by_default_there_is_neither_a_rate_limit_nor_tls():
    options = ServerSettings().server_options
    assert options.rate_limit is None
    assert options.tls is None
    assert options.insecure is False


def test_every_setting_of_the_server_reaches_it(monkeypatch):
    settings = {
        "LISTEN": "127.0.0.1:5",
        "INSECURE": "true",
        "REFLECTION": "true",
        "MAX_MESSAGE_BYTES": "2048",
        "MAX_CONCURRENT_CALLS": "7",
        "DRAIN_S": "3",
        "TENANT_CALLS_PER_S": "20",
        "TENANT_CALLS_BURST": "40",
        "TLS_CERTIFICATE": "server.pem",
        "TLS_KEY": "server.key",
        "TLS_CLIENT_CA": "clients.pem",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"CAIRN_{name}", value)
    options = ServerSettings().server_options
    assert (options.listen, options.insecure, options.reflection) == ("127.0.0.1:5", True, True)
    assert (options.max_message_bytes, options.max_concurrent_calls, options.drain_s) == (2048, 7, 3)
    assert options.rate_limit == RateLimit(20, 40)
    assert options.tls == TlsFiles(Path("server.pem"), Path("server.key"), Path("clients.pem"))


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        ({"tls_certificate": "a.pem"}, "tls_key", "CAIRN_TLS_CERTIFICATE and CAIRN_TLS_KEY belong together"),
        ({"tls_key": "a.key"}, "tls_key", "CAIRN_TLS_CERTIFICATE and CAIRN_TLS_KEY belong together"),
        ({"tls_client_ca": "a.pem"}, "tls_client_ca", "set CAIRN_TLS_CERTIFICATE too"),
    ],
)
def test_an_incomplete_tls_configuration_names_the_wrong_setting(given, field, said):
    with pytest.raises(ValidationError) as refused:
        ServerSettings(**given)
    (problem,) = refused.value.errors()
    assert problem["loc"] == (field,)
    assert said in problem["msg"]
