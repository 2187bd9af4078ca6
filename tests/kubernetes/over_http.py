"""Platforms that call over HTTP, through connections that they keep."""

from __future__ import annotations

import http.client
import json
import select
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

XAPI_VERSION = "1.0.3"

_TIMEOUT_S = 15.0
_PAUSE_S = 0.02
_FIRST_ANSWER = datetime(2025, 9, 1, tzinfo=UTC)


class Answer(NamedTuple):
    """An answer: its status, and what its JSON says, or its text."""

    status: int
    content: Any


class HttpClient:
    """One connection to a Service. It is kept, and opened again after it broke or the server closed it."""

    def __init__(self, address: str, api_key: str, authority: Path | None = None) -> None:
        """Args: `address` as host:port; the platform's `api_key`; `authority` of the certificate; None: plain text."""
        if authority is None:
            self._connection = http.client.HTTPConnection(address, timeout=_TIMEOUT_S)
        else:
            context = ssl.create_default_context(cafile=authority)
            self._connection = http.client.HTTPSConnection(address, timeout=_TIMEOUT_S, context=context)
        self._headers = {
            "Authorization": f"Bearer {api_key}",
            "Content-Type": "application/json",
            "X-Experience-API-Version": XAPI_VERSION,
        }

    def call(self, method: str, path: str, body: object = None) -> Answer:
        """The answer to a request.

        Raises:
            OSError: when the connection fails.
            http.client.HTTPException: when it ends without an answer.
        """
        sock = self._connection.sock
        if sock is not None and select.select([sock], [], [], 0)[0]:
            # The server has closed it since the last answer. Clients look for that before they send.
            self._connection.close()
        try:
            self._connection.request(method, path, None if body is None else json.dumps(body), self._headers)
            reply = self._connection.getresponse()
            content = reply.read().decode()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        is_json = reply.headers.get_content_type() == "application/json"
        return Answer(reply.status, json.loads(content) if is_json else content)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Caller:
    """Sends one request after the other on a thread of its own.

    Attributes:
        answers: requests by the status of their answer, or by the failure.
    """

    def __init__(self, client: HttpClient, request: Callable[[HttpClient, int], Answer]) -> None:
        """Args: `client`; `request`, which sends the request of a number."""
        self.answers: Counter[str] = Counter()
        self._client, self._request = client, request
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Stop. Safe to call again."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._client.close()

    def _run(self) -> None:
        number = 0
        while not self._stopping.wait(_PAUSE_S):
            number += 1
            try:
                said = str(self._request(self._client, number).status)
            except (OSError, http.client.HTTPException) as error:
                said = type(error).__name__
            self.answers[said] += 1


def statement(learner: str, item: str, number: int = 0) -> dict[str, Any]:
    """A right answer as an xAPI statement; `number` tells one from another."""
    return {
        "actor": {"account": {"homePage": "https://school.example.org", "name": learner}},
        "verb": {"id": "http://adlnet.gov/expapi/verbs/answered"},
        "object": {"id": f"https://school.example.org/items/{item}", "definition": {"interactionType": "numeric"}},
        "result": {"success": True},
        "timestamp": (_FIRST_ANSWER + timedelta(seconds=number)).isoformat(),
    }


def learner_of(name: str) -> str:
    """The learner id that the actor of such a statement becomes."""
    return f"https://school.example.org|{name}"
