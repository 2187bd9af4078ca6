"""Names of Services in a cluster: a DNS server with the answers that pods need (RFC 1035, section 4)."""

from __future__ import annotations

import ipaddress
import socketserver
import struct
import threading
from collections.abc import Callable, Sequence

from deploy.kubernetes.api import Api, ApiError

DOMAIN = "cluster.local"
PORT = 53

_HEADER = struct.Struct("!6H")
_QUESTION_END = struct.Struct("!2H")
# A pointer to the name of the question, type A, class IN, time to live, length of the address.
_ANSWER = struct.Struct("!3HIH")
_NAME_OF_QUESTION = 0xC000 | _HEADER.size
_TYPE_A, _CLASS_IN = 1, 1
_TIME_TO_LIVE_S = 1
# A response, authoritative, that may have been asked to recurse.
_RESPONSE = 0x8580
_NO_SUCH_NAME = 3
_NOT_FOUND = 404
_ADDRESS_BYTES = 4

Resolve = Callable[[str], Sequence[str] | None]
"""The addresses of a name in lower case; None when there is no such name."""


def service_addresses(api: Api, name: str) -> Sequence[str] | None:
    """The addresses of SERVICE.NAMESPACE.svc.cluster.local: its own, or those of its ready pods if it has none."""
    service, _, rest = name.partition(".")
    namespace, _, domain = rest.partition(".")
    if domain != f"svc.{DOMAIN}":
        return None
    try:
        address = api.get(f"/api/v1/namespaces/{namespace}/services/{service}")["spec"].get("clusterIP")
    except ApiError as error:
        if error.status == _NOT_FOUND:
            return None
        raise
    if address != "None":
        return [address]
    slices = api.items(
        f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        f"?labelSelector=kubernetes.io/service-name%3D{service}"
    )
    endpoints = [endpoint for each in slices for endpoint in each["endpoints"] or ()]
    return [endpoint["addresses"][0] for endpoint in endpoints if endpoint["conditions"].get("ready")]


def reply_to(query: bytes, resolve: Resolve) -> bytes:
    """The reply to a query with one question.

    Raises:
        ValueError: when the query is malformed.
    """
    labels, at = [], _HEADER.size
    while (length := query[at]) > 0:
        labels.append(query[at + 1 : at + 1 + length].decode("ascii"))
        at += 1 + length
    end = at + 1 + _QUESTION_END.size
    question = query[_HEADER.size : end]
    kind, _ = _QUESTION_END.unpack(query[at + 1 : end])
    found = resolve(".".join(labels).lower())
    answers = [
        _ANSWER.pack(_NAME_OF_QUESTION, _TYPE_A, _CLASS_IN, _TIME_TO_LIVE_S, _ADDRESS_BYTES)
        + ipaddress.IPv4Address(address).packed
        for address in (found or ())
        if kind == _TYPE_A
    ]
    (number, *_) = _HEADER.unpack(query[: _HEADER.size])
    code = _NO_SUCH_NAME if found is None else 0
    return _HEADER.pack(number, _RESPONSE | code, 1, len(answers), 0, 0) + question + b"".join(answers)


class Names:
    """The server, on a thread that ends with this process."""

    def __init__(self, api: Api) -> None:
        """Args: `api`, which knows the Services."""
        self._api = api

    def start(self, address: str) -> None:
        """Serve at an address."""
        api = self._api

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                query, connection = self.request
                reply = reply_to(query, lambda name: service_addresses(api, name))
                connection.sendto(reply, self.client_address)

        server = socketserver.ThreadingUDPServer((address, PORT), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
