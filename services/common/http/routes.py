"""What a server does for which path: the table that its entries are given in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from services.common.auth.tenant import Tenant


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that was admitted, with its body.

    Attributes:
        request: its headers, path and query; the body was read already.
        tenant: whose API key it has.
        body: the body, decompressed; empty when it has none.
    """

    request: Request
    tenant: Tenant
    body: bytes

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters, in lower case; empty when there is none."""
        return self.request.headers.get("content-type", "").partition(";")[0].strip().lower()


Handler = Callable[[Admitted], Awaitable[Response]]
"""Answers a request. Raises RequestRefusedError."""


def _no_headers(_request: Request) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Route:
    """What is done for a path.

    Attributes:
        path: as Starlette reads it: `/things/{name}`.
        methods: the HTTP methods; others are answered with 405.
        handle: answers a request.
        policy: the gRPC method of the contracts, `package.Service/Method`, whose scope, audit and rate apply.
        headers: the headers that every answer has, a refusal too; from the request.
    """

    path: str
    methods: tuple[str, ...]
    handle: Handler
    policy: str
    headers: Callable[[Request], Mapping[str, str]] = _no_headers


@dataclass(frozen=True, slots=True)
class OpenRoute:
    """What is answered to anybody, without an API key: facts about the server.

    Attributes:
        path: as for Route.
        answer: makes the answer; from the request, whose body is not read.
    """

    path: str
    answer: Callable[[Request], Response]
