"""The API of a cluster in JSON, for what is read often; `kubectl` does the rest."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from deploy.kafka.certificates import Signed
from deploy.processes import StackError

_TIMEOUT_S = 10.0
_FIRST_ERROR = 400


class ApiError(StackError):
    """The API server refused a request.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        """Args: `status`, the HTTP status; `message`, the server's."""
        super().__init__(message)
        self.status = status


class Api:
    """A client of the API server. Each request is a connection of its own, so that threads can share the client."""

    def __init__(self, address: str, port: int, authority: str, client: Signed) -> None:
        """Args: `address` and `port` of the server; `authority`, the file with its certificate; `client`, who asks."""
        self._address, self._port = address, port
        self._context = ssl.create_default_context(cafile=authority)
        self._context.load_cert_chain(client.certificate, client.key)

    def get(self, path: str) -> Any:
        """What is at a path."""
        return json.loads(self._ask("GET", path))

    def has(self, path: str) -> bool:
        """Whether there is something at a path."""
        try:
            self.get(path)
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return False
        return True

    def items(self, path: str) -> list[dict[str, Any]]:
        """The items of a list."""
        found: list[dict[str, Any]] = self.get(path)["items"]
        return found

    def post(self, path: str, body: Mapping[str, object]) -> Any:
        """Create what `body` says, and return what was created."""
        return json.loads(self._ask("POST", path, body))

    def patch(self, path: str, body: Mapping[str, object]) -> Any:
        """Change the fields that `body` has; null removes one."""
        return json.loads(self._ask("PATCH", path, body))

    def ready(self) -> bool:
        """Whether the API server answers and does its work."""
        try:
            return self._ask("GET", "/readyz") == b"ok"
        except (OSError, http.client.HTTPException, ApiError):
            return False

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> bytes:
        connection = http.client.HTTPSConnection(self._address, self._port, timeout=_TIMEOUT_S, context=self._context)
        try:
            kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
            connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": kind})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status >= _FIRST_ERROR:
            raise ApiError(answer.status, f"{method} {path} was answered with {answer.status}: {content.decode()}")
        return content
