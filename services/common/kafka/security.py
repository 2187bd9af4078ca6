"""How clients of Kafka know the brokers and prove who they are: TLS and SASL, with secrets that stay in files."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import aiokafka.abc
import kafka.net.sasl.oauth

from services.common.certificates import Named, handshake_problem, load_authorities, load_chain
from services.common.kafka.tokens import TokenSource
from services.common.secrets import read_secret

_CA = "CAIRN_KAFKA_CA"


class Protocol(StrEnum):
    """How connections are secured; the values are those of CAIRN_KAFKA_SECURITY."""

    PLAINTEXT = "plaintext"
    TLS = "tls"
    SASL_PLAINTEXT = "sasl_plaintext"
    SASL_TLS = "sasl_tls"

    @property
    def has_tls(self) -> bool:
        """Whether connections are encrypted and brokers are verified."""
        return self in {Protocol.TLS, Protocol.SASL_TLS}

    @property
    def has_sasl(self) -> bool:
        """Whether clients log in."""
        return self in {Protocol.SASL_PLAINTEXT, Protocol.SASL_TLS}


class Mechanism(StrEnum):
    """How clients log in, as IANA names SASL mechanisms."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"
    OAUTHBEARER = "OAUTHBEARER"


@dataclass(frozen=True, slots=True)
class KafkaTls:
    """Files in PEM for TLS to brokers.

    Attributes:
        ca: authorities that sign the brokers' certificates; None: those that the system trusts.
        certificate: the client's certificate chain, for brokers that ask for one.
        key: its private key, not encrypted.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """A context that verifies the brokers' certificates and host names.

        Raises:
            CertificateFileError: when a file cannot be used.
        """
        if self.ca is None:
            context = ssl.create_default_context()
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            load_authorities(context, Named(_CA, self.ca))
        if self.certificate is not None and self.key is not None:
            load_chain(context, Named("CAIRN_KAFKA_CERTIFICATE", self.certificate), Named("CAIRN_KAFKA_KEY", self.key))
        return context

    def problem(self, error: BaseException, server: str) -> str | None:
        """Why TLS to a broker failed, and the remedy; None: `error` has another cause."""
        authorities = "the system's list (CAIRN_KAFKA_CA is not set)" if self.ca is None else f"{_CA}={self.ca}"
        return handshake_problem(error, server, authorities)


@dataclass(frozen=True, slots=True)
class Password:
    """A user with a password.

    Attributes:
        mechanism: PLAIN or SCRAM.
        username: the user.
        file: holds the password; white space around it does not count.
    """

    mechanism: Mechanism
    username: str
    file: Path

    def read(self) -> str:
        """The password as it is now.

        Raises:
            SecretError: when the file cannot be read or is empty.
        """
        return read_secret("CAIRN_KAFKA_PASSWORD_FILE", self.file)


@dataclass(frozen=True, slots=True)
class KafkaSecurity:
    """How connections are secured.

    Attributes:
        tls: TLS; None: connections are plain text.
        login: a user with a password, or where tokens come from; None: clients do not log in.
    """

    tls: KafkaTls | None = None
    login: Password | TokenSource | None = None

    @property
    def protocol(self) -> str:
        """The protocol's name in Kafka."""
        return ("SASL_" if self.login else "") + ("SSL" if self.tls else "PLAINTEXT")

    @property
    def user(self) -> str:
        """Who connects, for messages."""
        if isinstance(self.login, Password):
            return f"the user {self.login.username!r}"
        return "the user of the token" if self.login else "clients that do not log in"

    @property
    def to_check(self) -> str:
        """What to check when the cluster cannot be reached."""
        if isinstance(self.login, Password):
            login = ["CAIRN_KAFKA_USERNAME, its password and CAIRN_KAFKA_MECHANISM"]
        else:
            login = ["that the brokers accept the token"] if self.login else []
        if self.tls:
            return " and ".join(["CAIRN_KAFKA_CA", *login])
        return " and ".join([*login, "whether it wants TLS or a login: CAIRN_KAFKA_SECURITY"])

    def check(self) -> None:
        """Read every file, as connecting would.

        Raises:
            CertificateFileError, SecretError: when one cannot be used.
        """
        if self.tls:
            self.tls.context()
        if isinstance(self.login, Password):
            self.login.read()

    def options(self, token_provider: type[AsyncTokens | BlockingTokens]) -> Mapping[str, Any]:
        """The options of a client; aiokafka and kafka-python name them alike.

        Args:
            token_provider: how the library asks for tokens.

        Raises:
            CertificateFileError, SecretError: when a file cannot be used.
        """
        options: dict[str, Any] = {"security_protocol": self.protocol}
        if self.tls:
            options["ssl_context"] = self.tls.context()
        if isinstance(self.login, Password):
            options |= {
                "sasl_mechanism": self.login.mechanism.value,
                "sasl_plain_username": self.login.username,
                "sasl_plain_password": self.login.read(),
            }
        elif self.login:
            options |= {
                "sasl_mechanism": Mechanism.OAUTHBEARER.value,
                "sasl_oauth_token_provider": token_provider(self.login),
            }
        return options


NO_SECURITY = KafkaSecurity()
"""Plain text, and nobody logs in."""


class AsyncTokens(aiokafka.abc.AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types.
    """Tokens for aiokafka."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    async def token(self) -> str:
        """A token that is valid now."""
        return await asyncio.to_thread(self._source.token)


class BlockingTokens(kafka.net.sasl.oauth.AbstractTokenProvider):  # type: ignore[misc]  # kafka-python has no types.
    """Tokens for kafka-python."""

    def __init__(self, source: TokenSource) -> None:
        super().__init__()
        self._source = source

    def token(self) -> str:
        """A token that is valid now."""
        return self._source.token()
