"""Settings that a server reads from its environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.common.rpc.rate_limits import RateLimit
from services.common.rpc.slots import SlotLimits
from services.common.rpc.tls import TlsFiles
from services.common.settings import ServerSettings


def test_by_default_no_tenant_can_take_all_of_a_process_and_there_is_no_tls():
    options = ServerSettings().server_options
    assert options.rate_limit is not None
    assert options.slots.of_tenant < options.slots.calls
    assert options.tls is None
    assert options.insecure is False


def test_every_setting_of_the_server_reaches_it(monkeypatch):
    settings = {
        "LISTEN": "127.0.0.1:5",
        "INSECURE": "true",
        "REFLECTION": "true",
        "MAX_MESSAGE_BYTES": "2048",
        "MAX_CONCURRENT_CALLS": "7",
        "TENANT_CONCURRENT_CALLS": "6",
        "CONNECTION_CONCURRENT_CALLS": "5",
        "BODY_TIMEOUT_S": "4",
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
    assert (options.max_message_bytes, options.slots, options.drain_s) == (2048, SlotLimits(7, 6, 5), 3)
    assert options.body_timeout_s == 4
    assert options.rate_limit == RateLimit(20, 40)
    assert options.tls == TlsFiles(Path("server.pem"), Path("server.key"), Path("clients.pem"))


@pytest.mark.parametrize("name", ["ADDRESS_FILE", "TLS_CERTIFICATE", "TLS_KEY", "TLS_CLIENT_CA"])
def test_an_empty_variable_sets_no_path(monkeypatch, name):
    monkeypatch.setenv(f"CAIRN_{name}", "")
    assert getattr(ServerSettings(), name.lower()) is None


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
