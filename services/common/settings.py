"""Settings that processes share. Only a service's `bootstrap` and `__main__` read the environment, through these."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.common.environment import OptionalPath
from services.common.redis_pool import shown, with_password
from services.common.rpc.rate_limits import RateLimit
from services.common.rpc.server import ServerOptions
from services.common.rpc.slots import SlotLimits
from services.common.rpc.tls import TlsFiles
from services.common.secrets import SecretError, read_secret
from services.common.telemetry.traces import Traces, traces_to


class ProcessSettings(BaseSettings):
    """Settings of any Cairn process: `CAIRN_` and the field's name in the environment."""

    model_config = SettingsConfigDict(env_prefix="CAIRN_", extra="ignore", frozen=True)

    log_level: str = Field(default="info", description="debug, info, warning or error.")
    log_format: str = Field(
        default="json", pattern="^(json|console)$", description="json for machines, console for people."
    )
    metrics_port: int = Field(
        default=0, ge=0, le=65535, description="Port of /metrics, /livez and /readyz over plain HTTP; 0: none."
    )
    metrics_host: str = Field(default="127.0.0.1", description="Address of that port.")
    traces_endpoint: str = Field(
        default="",
        description="host:port of the OpenTelemetry collector (OTLP over gRPC) that receives traces.",
    )
    traces_share: float = Field(
        default=0.01, ge=0, le=1, description="Share of calls without a trace context for which a trace is started."
    )
    traces_insecure: bool = Field(default=False, description="Send traces in plain text.")

    def traces(self, service: str) -> Traces:
        """The process's traces."""
        return traces_to(self.traces_endpoint, service=service, share=self.traces_share, insecure=self.traces_insecure)


class RedisSettings(BaseSettings):
    """How to reach Redis."""

    model_config = SettingsConfigDict(env_prefix="CAIRN_", extra="ignore", frozen=True)

    redis: str = Field(
        default="redis://127.0.0.1:6379/0",
        description="URL of Redis 6.2 or later; ingest does without when it is empty.",
    )
    redis_password_file: OptionalPath = Field(
        default=None, description="File with the password of Redis's user, if the URL has none."
    )

    @property
    def redis_url(self) -> str:
        """CAIRN_REDIS with the password of its file."""
        if self.redis_password_file is None:
            return self.redis
        return with_password(self.redis, read_secret("CAIRN_REDIS_PASSWORD_FILE", self.redis_password_file))

    @model_validator(mode="after")
    def _password_belongs_to_the_url(self) -> Self:
        if not self.redis and self.redis_password_file is not None:
            raise ValueError("CAIRN_REDIS_PASSWORD_FILE would have no effect: set CAIRN_REDIS too, or unset it")
        try:
            _ = self.redis_url
        except SecretError:
            raise
        except ValueError as error:
            raise ValueError(f"CAIRN_REDIS={shown(self.redis)!r} cannot be used: {error}") from error
        return self


class TenantsSettings(BaseSettings):
    """Where the tenants file is, with API keys and encryption keys."""

    model_config = SettingsConfigDict(env_prefix="CAIRN_", extra="ignore", frozen=True)

    tenants: Path = Field(
        default=Path("tenants.yaml"),
        description="File of tenants, API key hashes and secrets; mode 0600, or 0440 for a group.",
    )


class ServerSettings(TenantsSettings):
    """A gRPC server: its address and its limits."""

    model_config = SettingsConfigDict(env_prefix="CAIRN_", extra="ignore", frozen=True)

    listen: str = Field(default="127.0.0.1:0", description="host:port of the gRPC server; port 0 picks a free one.")
    insecure: bool = Field(default=False, description="Listen without TLS on addresses other than loopback.")
    reflection: bool = Field(default=False, description="Serve gRPC reflection, so that grpcurl can list the methods.")
    max_message_bytes: int = Field(default=4 * 1024 * 1024, ge=1024, description="Largest request and reply.")
    max_concurrent_calls: int = Field(
        default=200,
        ge=1,
        description="Calls handled at the same time, health checks apart; more get RESOURCE_EXHAUSTED.",
    )
    tenant_concurrent_calls: int = Field(default=100, ge=1, description="Calls of a tenant handled at the same time.")
    connection_concurrent_calls: int = Field(
        default=100, ge=1, description="Calls on one connection handled at the same time; clients queue more."
    )
    body_timeout_s: float = Field(
        default=10.0,
        gt=0,
        description="How long a request may take to come once its headers have; then DEADLINE_EXCEEDED.",
    )
    address_file: OptionalPath = Field(default=None, description="File to write the address to once listening.")
    drain_s: float = Field(default=10.0, ge=0, description="How long running calls may take to finish after SIGTERM.")
    tls_certificate: OptionalPath = Field(
        default=None, description="The server's certificate chain in PEM; needs tls_key."
    )
    tls_key: OptionalPath = Field(
        default=None, validate_default=True, description="The certificate's private key in PEM, not encrypted."
    )
    tls_client_ca: OptionalPath = Field(
        default=None, description="Authorities in PEM; only clients with a certificate from one of them may connect."
    )
    tenant_calls_per_s: float = Field(
        default=2_000,
        ge=0,
        description="Sustained calls per second of a tenant to this process; large requests count as several. "
        "0: no limit.",
    )
    tenant_calls_burst: int = Field(default=4_000, ge=1, description="Calls a tenant may make at once after a pause.")

    @field_validator("tls_key")
    @classmethod
    def _with_a_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if (info.data.get("tls_certificate") is None) != (value is None):
            raise ValueError("CAIRN_TLS_CERTIFICATE and CAIRN_TLS_KEY belong together: set both or neither")
        return value

    @field_validator("tls_client_ca")
    @classmethod
    def _only_with_tls(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("tls_certificate") is None:
            raise ValueError("client certificates need TLS: set CAIRN_TLS_CERTIFICATE too")
        return value

    @property
    def server_options(self) -> ServerOptions:
        """The options of the gRPC server."""
        limit = RateLimit(self.tenant_calls_per_s, self.tenant_calls_burst) if self.tenant_calls_per_s else None
        tls = None
        if self.tls_certificate is not None and self.tls_key is not None:
            tls = TlsFiles(self.tls_certificate, self.tls_key, self.tls_client_ca)
        return ServerOptions(
            listen=self.listen,
            insecure=self.insecure,
            reflection=self.reflection,
            max_message_bytes=self.max_message_bytes,
            slots=SlotLimits(self.max_concurrent_calls, self.tenant_concurrent_calls, self.connection_concurrent_calls),
            body_timeout_s=self.body_timeout_s,
            drain_s=self.drain_s,
            tls=tls,
            rate_limit=limit,
        )


def leave_room_for_calls(streams: int, info: ValidationInfo, *, what: str) -> int:
    """The limit on streams, checked to leave room for other calls.

    Args:
        streams: the limit.
        info: the other settings.
        what: the name of the streams.

    Raises:
        ValueError: when it does not.
    """
    calls = info.data.get("max_concurrent_calls")
    if calls is not None and streams >= calls:
        raise ValueError(
            f"{what} count as calls, and CAIRN_MAX_CONCURRENT_CALLS={calls} leaves no room for other calls: "
            f"allow fewer {what} or more calls"
        )
    return streams
