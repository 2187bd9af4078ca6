"""Tokens for OAUTHBEARER: of an OAuth 2.0 server, for client credentials (RFC 6749, section 4.4), or of a command."""

from __future__ import annotations

import base64
import json
import shlex
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from services.common.secrets import read_secret

# A broker waits 10 s for a client that logs in, unless it is configured otherwise.
_TIMEOUT_S = 8.0
# A token is renewed after this share of its lifetime, so that it does not expire on its way.
_RENEWED_AFTER = 0.8
_LONGEST_REASON = 500


class TokenError(ConnectionError):
    """There is no token; the message says who was asked, and what came instead."""


class Token(NamedTuple):
    """A token, and how long it is valid; None: not known."""

    value: str
    expires_in_s: float | None = None


class TokenSource(Protocol):
    """Where tokens come from."""

    def token(self) -> str:
        """A token that is valid now.

        Raises:
            TokenError: when there is none.
        """
        ...


class RenewedTokens:
    """Keeps a token for most of its lifetime. One whose lifetime is not known is asked for each time."""

    def __init__(self, fetch: Callable[[], Token], timer: Callable[[], float] = time.monotonic) -> None:
        """Args: `fetch`, which returns a new token or raises TokenError; `timer`, monotonic seconds."""
        self._fetch = fetch
        self._timer = timer
        self._token = ""
        self._renew_at_s = float("-inf")
        # Clients of several threads ask at the same time.
        self._one_at_a_time = threading.Lock()

    def token(self) -> str:
        """See `TokenSource`."""
        with self._one_at_a_time:
            asked_s = self._timer()
            if asked_s >= self._renew_at_s:
                self._token, lifetime_s = self._fetch()
                self._renew_at_s = asked_s + _RENEWED_AFTER * (lifetime_s or 0.0)
            return self._token


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """Asks an OAuth 2.0 server for a token of a client.

    Attributes:
        url: the token endpoint.
        client_id: the client.
        secret_file: holds its secret.
        scope: what the token is for; empty: what the server gives without it.
    """

    url: str
    client_id: str
    secret_file: Path
    scope: str = ""

    def fetch(self) -> Token:
        """A new token.

        Raises:
            TokenError: when the server cannot be reached, refuses, or answers with something else.
            SecretError: when the secret cannot be read.
        """
        secret = read_secret("CAIRN_KAFKA_CLIENT_SECRET_FILE", self.secret_file)
        # RFC 6749, section 2.3.1: both are form-encoded before they are joined.
        login = ":".join(urllib.parse.quote_plus(part) for part in (self.client_id, secret))
        form = {"grant_type": "client_credentials"} | ({"scope": self.scope} if self.scope else {})
        request = urllib.request.Request(  # noqa: S310 - the settings allow http and https alone.
            self.url,
            data=urllib.parse.urlencode(form).encode(),
            headers={
                "Authorization": f"Basic {base64.b64encode(login.encode()).decode()}",
                "Accept": "application/json",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:  # noqa: S310 - as above.
                body = reply.read().decode()
        except urllib.error.HTTPError as error:
            said = error.read(_LONGEST_REASON).decode(errors="replace")
            raise TokenError(
                f"the token server {self.url} answered {error.code} {said.strip()}; check CAIRN_KAFKA_CLIENT_ID and "
                "the secret"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise TokenError(f"the token server {self.url} cannot be reached: {error}") from error
        return _token_in(body, f"the token server {self.url}")


@dataclass(frozen=True, slots=True)
class TokenCommand:
    """Runs a command that prints a token, or the JSON that OAuth 2.0 servers answer with.

    Attributes:
        command: program and arguments, quoted as for a shell; it runs without one.
    """

    command: str

    def check(self) -> None:
        """Look for its program, without running it.

        Raises:
            TokenError: when there is none.
        """
        program = self._arguments[0]
        if shutil.which(program) is None:
            raise TokenError(f"CAIRN_KAFKA_TOKEN_COMMAND names {program!r}, and there is no such program")

    def fetch(self) -> Token:
        """A new token.

        Raises:
            TokenError: when the command fails, takes too long, or prints no token.
        """
        arguments = self._arguments
        # Its other arguments may be secret.
        source = f"CAIRN_KAFKA_TOKEN_COMMAND ({arguments[0]})"
        try:
            ended = subprocess.run(  # noqa: S603 - the operator's own command, without a shell.
                arguments, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
            )
        except subprocess.CalledProcessError as error:
            said = str(error.stderr).strip()[-_LONGEST_REASON:]
            raise TokenError(f"{source} ended with {error.returncode}: {said or 'it said nothing'}") from error
        except subprocess.TimeoutExpired as error:
            raise TokenError(f"{source} took more than {_TIMEOUT_S:g} s") from error
        except (OSError, UnicodeDecodeError) as error:
            raise TokenError(f"{source} could not be run: {error}") from error
        printed = ended.stdout.strip()
        return _token_in(printed, source) if printed.startswith("{") else _checked(Token(printed), source)

    @property
    def _arguments(self) -> list[str]:
        try:
            arguments = shlex.split(self.command)
        except ValueError as error:
            raise TokenError(f"CAIRN_KAFKA_TOKEN_COMMAND is not quoted as for a shell: {error}") from error
        if not arguments:
            raise TokenError("CAIRN_KAFKA_TOKEN_COMMAND names no program")
        return arguments


def _token_in(body: str, source: str) -> Token:
    """The token in an answer of an OAuth 2.0 server (RFC 6749, section 5.1)."""
    try:
        answer = json.loads(body)
        lifetime_s = answer.get("expires_in")
        token = Token(answer["access_token"], None if lifetime_s is None else float(lifetime_s))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise TokenError(
            f"{source} gave no answer with an access_token, as RFC 6749 section 5.1 describes it"
        ) from error
    return _checked(token, source)


def _checked(token: Token, source: str) -> Token:
    # RFC 6750, section 2.1: what a token may consist of. Anything else would be another part of the login message.
    if (
        not isinstance(token.value, str)
        or not token.value
        or not all("!" <= character <= "~" for character in token.value)
    ):
        raise TokenError(f"{source} gave no token: expected one line of printable characters without white space")
    return token
