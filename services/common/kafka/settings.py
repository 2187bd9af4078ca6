"""Settings of everything that reaches Kafka."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.common.environment import OptionalPath
from services.common.kafka.connection import KafkaConnection
from services.common.kafka.security import KafkaSecurity, KafkaTls, Mechanism, Password, Protocol
from services.common.kafka.tokens import ClientCredentials, RenewedTokens, TokenCommand, TokenError, TokenSource
from services.common.secrets import read_secret


class KafkaSettings(BaseSettings):
    """How to reach Kafka."""

    model_config = SettingsConfigDict(env_prefix="CAIRN_", extra="ignore", frozen=True)

    kafka: str = Field(default="127.0.0.1:9092", description="Bootstrap servers, host:port, separated by commas.")
    kafka_fetch_wait_ms: int = Field(
        default=500, ge=1, description="How long a broker may hold an empty fetch; 10 for the embedded broker."
    )
    kafka_security: Protocol = Field(
        default=Protocol.PLAINTEXT,
        description="How to reach the brokers: plaintext, tls, sasl_plaintext or sasl_tls.",
    )
    kafka_ca: OptionalPath = Field(
        default=None, description="Authorities in PEM that sign the brokers' certificates; by default the system's."
    )
    kafka_certificate: OptionalPath = Field(
        default=None, description="This client's certificate chain in PEM, for brokers that ask for one."
    )
    kafka_key: OptionalPath = Field(
        default=None, description="The private key of kafka_certificate in PEM, not encrypted."
    )
    kafka_mechanism: Mechanism = Field(
        default=Mechanism.SCRAM_SHA_512,
        description="How to log in with SASL: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER.",
    )
    kafka_username: str = Field(default="", description="User for PLAIN and SCRAM.")
    kafka_password_file: OptionalPath = Field(default=None, description="File with the user's password.")
    kafka_token_url: str = Field(
        default="",
        pattern="^(https?://.+)?$",
        description="OAUTHBEARER: token endpoint that gives tokens for client credentials.",
    )
    kafka_client_id: str = Field(default="", description="OAUTHBEARER: the client's id.")
    kafka_client_secret_file: OptionalPath = Field(
        default=None, description="OAUTHBEARER: file with the client's secret."
    )
    kafka_token_scope: str = Field(default="", description="OAUTHBEARER: the scope to ask a token for.")
    kafka_token_command: str = Field(
        default="",
        description="OAUTHBEARER, instead of kafka_token_url: a command that prints a token, or JSON with "
        "access_token and expires_in.",
    )

    @property
    def connection(self) -> KafkaConnection:
        """The connection for adapters."""
        return KafkaConnection(self.kafka, self.kafka_fetch_wait_ms, self._security)

    @property
    def _security(self) -> KafkaSecurity:
        protocol = self.kafka_security
        tls = KafkaTls(self.kafka_ca, self.kafka_certificate, self.kafka_key) if protocol.has_tls else None
        return KafkaSecurity(tls, self._login if protocol.has_sasl else None)

    @property
    def _login(self) -> Password | TokenSource:
        if self.kafka_password_file is not None:
            return Password(self.kafka_mechanism, self.kafka_username, self.kafka_password_file)
        if self.kafka_client_secret_file is not None:
            client = ClientCredentials(
                self.kafka_token_url, self.kafka_client_id, self.kafka_client_secret_file, self.kafka_token_scope
            )
            return RenewedTokens(client.fetch)
        return RenewedTokens(TokenCommand(self.kafka_token_command).fetch)

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        protocol, oauth = self.kafka_security, self.kafka_mechanism is Mechanism.OAUTHBEARER
        files = ("kafka_ca", "kafka_certificate", "kafka_key")
        passwords = ("kafka_username", "kafka_password_file")
        clients = ("kafka_token_url", "kafka_client_id", "kafka_client_secret_file")
        if not protocol.has_tls:
            self._refuse(files, f"CAIRN_KAFKA_SECURITY={protocol} uses no TLS; set it to tls or sasl_tls")
        if (self.kafka_certificate is None) != (self.kafka_key is None):
            raise ValueError("CAIRN_KAFKA_CERTIFICATE and CAIRN_KAFKA_KEY belong together: set both or neither")
        tokens = (*clients, "kafka_token_scope", "kafka_token_command")
        if not protocol.has_sasl:
            no_login = f"CAIRN_KAFKA_SECURITY={protocol} does not log in; set it to sasl_tls or sasl_plaintext"
            self._refuse((*passwords, *tokens), no_login)
        elif not oauth:
            self._refuse(tokens, f"CAIRN_KAFKA_MECHANISM={self.kafka_mechanism} uses no tokens; set it to OAUTHBEARER")
            self._require(passwords, f"CAIRN_KAFKA_MECHANISM={self.kafka_mechanism}")
        else:
            self._refuse(passwords, "CAIRN_KAFKA_MECHANISM=OAUTHBEARER uses tokens; set it to SCRAM-SHA-512 or PLAIN")
            if self.kafka_token_command:
                self._refuse((*clients, "kafka_token_scope"), "CAIRN_KAFKA_TOKEN_COMMAND gives the tokens; unset one")
            else:
                self._require(clients, "CAIRN_KAFKA_MECHANISM=OAUTHBEARER without CAIRN_KAFKA_TOKEN_COMMAND")
        self._security.check()
        if self.kafka_client_secret_file is not None:
            read_secret("CAIRN_KAFKA_CLIENT_SECRET_FILE", self.kafka_client_secret_file)
        if self.kafka_token_command:
            _check_command(self.kafka_token_command)
        return self

    def _refuse(self, fields: Iterable[str], why: str) -> None:
        if given := [field for field in fields if getattr(self, field)]:
            raise ValueError(f"{_variables(given)} would have no effect: {why}")

    def _require(self, fields: Iterable[str], what: str) -> None:
        if missing := [field for field in fields if not getattr(self, field)]:
            raise ValueError(f"{what} needs {_variables(missing)}: set them")


def _variables(fields: Iterable[str]) -> str:
    return ", ".join(f"CAIRN_{field.upper()}" for field in fields)


def _check_command(command: str) -> None:
    try:
        TokenCommand(command).check()
    except TokenError as error:
        raise ValueError(f"{error}; give a program and its arguments, quoted as for a shell") from error
