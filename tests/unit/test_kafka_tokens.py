"""Tokens for Kafka, from commands and from OAuth 2.0 servers."""

from __future__ import annotations

import base64
import shlex
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.common.kafka.tokens import ClientCredentials, RenewedTokens, Token, TokenCommand, TokenError
from services.common.secrets import SecretError


class Timer:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def counted(lifetime_s: float | None) -> tuple[RenewedTokens, Timer]:
    timer, numbers = Timer(), iter(range(100))
    return RenewedTokens(lambda: Token(f"token-{next(numbers)}", lifetime_s), timer), timer


def test_a_token_is_kept_for_most_of_its_lifetime_and_then_renewed():
    tokens, timer = counted(lifetime_s=60.0)
    assert [tokens.token(), tokens.token()] == ["token-0", "token-0"]
    timer.now_s += 47.9
    assert tokens.token() == "token-0"
    timer.now_s += 0.2
    assert tokens.token() == "token-1"


def test_a_token_whose_lifetime_is_not_known_is_asked_for_each_time():
    tokens, _ = counted(lifetime_s=None)
    assert [tokens.token(), tokens.token()] == ["token-0", "token-1"]


def test_after_a_failure_the_next_caller_asks_again():
    answers = iter([TokenError("down"), Token("token", 60.0)])

    def fetch():
        answer = next(answers)
        if isinstance(answer, TokenError):
            raise answer
        return answer

    tokens = RenewedTokens(fetch, Timer())
    with pytest.raises(TokenError):
        tokens.token()
    assert tokens.token() == "token"


def test_callers_of_several_threads_get_one_token():
    asked, begun = [], threading.Event()

    def fetch():
        asked.append(1)
        begun.wait(5.0)
        return Token("token", 60.0)

    tokens, got = RenewedTokens(fetch, Timer()), []
    threads = [threading.Thread(target=lambda: got.append(tokens.token())) for _ in range(4)]
    for thread in threads:
        thread.start()
    begun.set()
    for thread in threads:
        thread.join()
    assert (got, len(asked)) == (["token"] * 4, 1)


def command(code: str) -> TokenCommand:
    return TokenCommand(shlex.join([sys.executable, "-c", code]))


@pytest.mark.parametrize(
    ("printed", "token"),
    [
        ("abc.def.ghi", Token("abc.def.ghi")),
        ('{"access_token": "abc", "expires_in": 3600, "token_type": "Bearer"}', Token("abc", 3600.0)),
        ('{"access_token": "abc"}', Token("abc")),
    ],
)
def test_a_command_prints_a_token_or_the_answer_of_a_token_server(printed, token):
    assert command(f"print({printed!r})").fetch() == token


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit('no role')", "ended with 1: no role"),
        ("", "gave no token"),
        ("print('two words')", "gave no token"),
        ("print('a\\x01b')", "gave no token"),
        ("print('{\"token\": 1}')", "no answer with an access_token"),
    ],
)
def test_a_command_that_gives_no_token_is_named_with_what_it_said(code, said):
    with pytest.raises(TokenError, match="CAIRN_KAFKA_TOKEN_COMMAND") as error:
        command(code).fetch()
    assert said in str(error.value)


def test_a_command_that_does_not_exist_is_named():
    with pytest.raises(TokenError, match=r"\(no-such-program\) could not be run"):
        TokenCommand("no-such-program --password secret").fetch()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("no-such-program --password secret", "'no-such-program', and there is no such program"),
        ("echo 'x", "not quoted as for a shell"),
        ("  ", "names no program"),
    ],
)
def test_a_command_that_cannot_run_is_found_before_it_is_needed(command, said):
    for ask in (TokenCommand(command).check, TokenCommand(command).fetch):
        with pytest.raises(TokenError) as error:
            ask()
        assert "secret" not in str(error.value)
    with pytest.raises(TokenError, match=said):
        TokenCommand(command).check()


def test_a_program_that_exists_is_found_without_running_it():
    TokenCommand(f"{sys.executable} -c 'raise SystemExit(1)'").check()


class TokenServer(ThreadingHTTPServer):
    """Answers every request alike, and keeps the last one."""

    status, body = 200, '{"access_token": "abc", "expires_in": 300}'
    form: dict[str, list[str]]
    login: str


class _Handler(BaseHTTPRequestHandler):
    server: TokenServer

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.form = urllib.parse.parse_qs(body)
        self.server.login = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.body.encode())

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[TokenServer]:
    with TokenServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def credentials(server, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("se:cr/et\n")
    return ClientCredentials(f"http://127.0.0.1:{server.server_port}/token", "cairn worker", secret, scope="kafka")


def test_a_token_server_is_asked_with_the_clients_encoded_credentials(server, credentials):
    assert credentials.fetch() == Token("abc", 300.0)
    assert server.form == {"grant_type": ["client_credentials"], "scope": ["kafka"]}
    # RFC 6749, section 2.3.1 and appendix B.
    assert server.login == "cairn+worker:se%3Acr%2Fet"


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, '{"error": "invalid_client"}', "answered 401.*invalid_client.*CAIRN_KAFKA_CLIENT_ID"),
        (200, "<html>", "no answer with an access_token"),
        (200, "[]", "no answer with an access_token"),
        (200, '{"access_token": ""}', "gave no token"),
        (200, '{"access_token": 5}', "gave no token"),
    ],
)
def test_a_token_server_that_gives_no_token_is_named_with_what_it_said(server, credentials, status, body, said):
    server.status, server.body = status, body
    with pytest.raises(TokenError, match=f"(?s)the token server http://127.0.0.1.*{said}") as error:
        credentials.fetch()
    assert "se:cr/et" not in str(error.value)


def test_a_token_server_that_cannot_be_reached_is_named(tmp_path):
    (tmp_path / "secret").write_text("x")
    with pytest.raises(TokenError, match=r"http://127\.0\.0\.1:1/ cannot be reached"):
        ClientCredentials("http://127.0.0.1:1/", "client", tmp_path / "secret").fetch()


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), (b" \n", "is empty"), (b"\xff", "is not text")])
def test_a_secret_that_cannot_be_read_is_named_with_its_setting(tmp_path, content, said):
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SecretError, match=f"CAIRN_KAFKA_CLIENT_SECRET_FILE={file}.*{said}"):
        ClientCredentials("http://127.0.0.1:1/", "client", file).fetch()
