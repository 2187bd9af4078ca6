"""Addresses that a server may listen on."""

from __future__ import annotations

import ipaddress

from services.common.auth.public_tenant import PublicTenantError
from services.common.auth.registry import TenantRegistry


class ListenAddressError(ValueError):
    """The server may not or cannot listen on the configured address."""


def is_loopback(address: str) -> bool:
    """Whether `host:port` is on this machine, so that other machines cannot read the traffic."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_listen_address(listen: str, *, insecure: bool, setting: str = "listen") -> None:
    """Refuse addresses that other machines can reach, unless `insecure` allows them; `setting` names the address.

    Raises:
        ListenAddressError: when `listen` is not host:port, or not loopback and `insecure` is false.
    """
    _, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit():
        raise ListenAddressError(f"{setting}={listen!r} is not host:port, for example 127.0.0.1:50051")
    if not is_loopback(listen) and not insecure:
        raise ListenAddressError(
            f"{setting}={listen!r} can be reached from other machines and there is no TLS: listen on 127.0.0.1 "
            "behind a TLS proxy, set CAIRN_TLS_CERTIFICATE and CAIRN_TLS_KEY, or set CAIRN_INSECURE=true to accept it"
        )


def check_tenants(tenants: TenantRegistry, listen: str) -> None:
    """Refuse the public tenant of `make demo`, now and from now on, where other machines can reach the address.

    Raises:
        ListenAddressError: when it is among the tenants now.
    """
    if is_loopback(listen):
        return
    try:
        tenants.refuse_public()
    except PublicTenantError as error:
        raise ListenAddressError(f"listen={listen!r} can be reached from other machines, but {error}") from error
