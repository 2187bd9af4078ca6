"""`cairn keys`: API keys of tenants, and the keys that wrap their learners' data keys."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.cli.kafka_option import KafkaOption, connection_to
from services.common.auth.api_keys import create_api_key, revoke_api_keys, rotate_api_key
from services.common.auth.encryption_keys import (
    check_encryption_key_switched,
    forget_former_encryption_key,
    prepare_encryption_key,
    set_encryption,
    switch_encryption_key,
)
from services.common.auth.tenant import ALL_SCOPES, DEFAULT_SCOPES, ApiKey, Scope
from services.common.auth.tenants_file import TenantsFileError, load_tenants
from services.common.command_line import BAD_INPUT, fail
from services.common.encryption.key_rotation import rewrap_learner_keys
from services.common.encryption.values import TenantKeyMissingError
from services.common.kafka.connection import BrokerUnavailableError, TopicMissingError


class RotationStep(StrEnum):
    """The steps of replacing an encryption key."""

    PREPARE = "prepare"
    SWITCH = "switch"
    FINISH = "finish"


class Switch(StrEnum):
    """On or off."""

    ON = "on"
    OFF = "off"


app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Create, list, rotate and revoke API keys.",
)


@app.callback()
def _keys() -> None:
    """Create, list, rotate and revoke API keys, create tenants with them, and switch their encryption.

    Running services apply every change at once. Streams that are already open continue until they end.
    """


@app.command(
    "create", epilog="Example: cairn keys create --tenant riverbend --name gradebook --scope ingest --scope recommend"
)
def create_key(
    *,
    tenant: Annotated[str, typer.Option(help="The district or platform: 1 to 63 of a-z, 0-9 and -.")],
    name: Annotated[str, typer.Option(help="What the key is for, to recognise it later.")] = "default",
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="A scope of the key; may be given several times. Default: ingest and recommend."),
    ] = None,
    encryption: Annotated[
        bool,
        typer.Option(help="If this creates the tenant: encrypt its learners' values in the log."),
    ] = True,
    tenants: Annotated[
        Path,
        typer.Option(envvar="CAIRN_TENANTS", help="The tenants file; created with mode 0600 if it does not exist."),
    ] = Path("tenants.yaml"),
) -> None:
    """Create an API key, and its tenant if it does not exist.

    The key is printed on standard output once; the file stores only its hash.
    """
    with _tenants_file(tenants):
        api_key = create_api_key(
            tenants, tenant, name, scope or DEFAULT_SCOPES, created_at=datetime.now(UTC), encryption=encryption
        )
    typer.echo(f"Key {name!r} of tenant {tenant!r} added to {tenants}; save it now, it is not stored.", err=True)
    typer.echo(api_key)


_TenantOption = Annotated[str, typer.Option(help="The tenant of the key.")]
_NameOption = Annotated[str, typer.Option(help="The key's name, or the id that `cairn keys list` shows.")]
_FileOption = Annotated[Path, typer.Option(envvar="CAIRN_TENANTS", help="The tenants file.")]


@app.command("list", epilog="Example: cairn keys list --tenant riverbend")
def list_keys(
    *,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's keys.")] = None,
    tenants: _FileOption = Path("tenants.yaml"),
) -> None:
    """List the API keys with their tenants and scopes, and when they were created and expire.

    The keys themselves are not stored, so they cannot be shown.
    """
    with _tenants_file(tenants):
        registry = load_tenants(tenants)
    if tenant is not None and registry.get(tenant) is None:
        fail(f"there is no tenant {tenant!r}; known are: {', '.join(registry.names) or 'none'}", BAD_INPUT)
    listed = [key for key in registry.api_keys if tenant in {None, key.tenant}]
    Console(highlight=False).print(_keys_table(listed, datetime.now(UTC)))


@app.command("rotate", epilog="Example: cairn keys rotate --tenant riverbend --name gradebook --overlap-h 2")
def rotate_key(
    *,
    tenant: _TenantOption,
    name: _NameOption,
    overlap_h: Annotated[
        float, typer.Option(min=0, help="How many hours the old key is still accepted; 0 refuses it at once.")
    ] = 24.0,
    tenants: _FileOption = Path("tenants.yaml"),
) -> None:
    """Replace an API key with a new one of the same name and scopes.

    The new key is printed on standard output once. The old one remains valid for `--overlap-h` hours, so that the
    platform can switch without an interruption.
    """
    with _tenants_file(tenants):
        api_key = rotate_api_key(tenants, tenant, name, now=datetime.now(UTC), overlap=timedelta(hours=overlap_h))
    old = f"the old one is accepted for another {overlap_h:g} h" if overlap_h else "the old one is refused from now on"
    typer.echo(
        f"Key {name!r} of tenant {tenant!r} rotated in {tenants}; {old}. Save it now, it is not stored.", err=True
    )
    typer.echo(api_key)


@app.command("revoke", epilog="Example: cairn keys revoke --tenant riverbend --name gradebook")
def revoke_key(*, tenant: _TenantOption, name: _NameOption, tenants: _FileOption = Path("tenants.yaml")) -> None:
    """Revoke all API keys with a name, or the one with an id. Calls with them are refused at once."""
    with _tenants_file(tenants):
        revoked = revoke_api_keys(tenants, tenant, name)
    ids = ", ".join(f"{key.name} ({key.key_id})" for key in revoked)
    typer.echo(f"Revoked {len(revoked)} key(s) of tenant {tenant!r} in {tenants}: {ids}", err=True)


@app.command("encryption", epilog="Example: cairn keys encryption on --tenant riverbend")
def encryption_switch(
    switch: Annotated[Switch, typer.Argument(help="Whether new values are encrypted.")],
    *,
    tenant: Annotated[str, typer.Option(help="The tenant.")],
    tenants: _FileOption = Path("tenants.yaml"),
) -> None:
    """Turn the encryption of a tenant's learner values in the log on or off.

    With encryption, forgetting a learner destroys the key to all of their values in the log. Only new values are
    affected: encrypted values stay readable after `off`, and plain values stay plain after `on`.
    """
    with _tenants_file(tenants):
        set_encryption(tenants, tenant, encrypt=switch is Switch.ON)
    typer.echo(f"New values of tenant {tenant!r} are {'encrypted' if switch is Switch.ON else 'plain'}.", err=True)


@app.command("rotate-encryption", epilog="Example: cairn keys rotate-encryption switch --tenant riverbend")
def rotate_encryption(
    step: Annotated[RotationStep, typer.Argument(help="The step to perform.")],
    *,
    tenant: Annotated[str, typer.Option(help="The tenant whose encryption key is replaced.")],
    kafka: KafkaOption = "127.0.0.1:9092",
    tenants: _FileOption = Path("tenants.yaml"),
) -> None:
    """Replace a tenant's encryption key, which wraps the data keys of its learners, without downtime.

    **prepare** creates the next key, which only unwraps data keys for now. **switch** makes it wrap new data keys, and
    wraps all existing ones with it; the former key still unwraps. **finish** wraps the data keys that were wrapped with
    the former key in the meantime, and removes the former key. After each step, distribute the tenants file to every
    process before the next step. Each step may be repeated. Values in the log do not change.

    Exits with 1 when Kafka cannot be reached or a data key cannot be unwrapped, with 2 when a step is out of order.
    """
    with _tenants_file(tenants):
        if step is RotationStep.PREPARE:
            prepare_encryption_key(tenants, tenant)
            _print_next_step("The next key is prepared", RotationStep.SWITCH, tenant)
            return
        if step is RotationStep.SWITCH:
            switch_encryption_key(tenants, tenant)
        else:
            check_encryption_key_switched(tenants, tenant)
        registry = load_tenants(tenants)

    def encryption_keys(name: str) -> Sequence[bytes]:
        found = registry.get(name)
        return () if found is None else found.encryption_keys

    connection = connection_to(kafka)
    try:
        count = asyncio.run(rewrap_learner_keys(connection, tenant, encryption_keys, lambda: datetime.now(UTC)))
    except (BrokerUnavailableError, TopicMissingError, TenantKeyMissingError) as error:
        fail(f"{error}. Data keys that were already wrapped stay so; run the step again", 1)
    if step is RotationStep.SWITCH:
        _print_next_step(f"The keys of {count:,} learner(s) are wrapped with the new key", RotationStep.FINISH, tenant)
        return
    with _tenants_file(tenants):
        forget_former_encryption_key(tenants, tenant)
    rest = f"The keys of {count:,} more learner(s) were wrapped"
    typer.echo(f"{rest}; the former key is removed from {tenants}.", err=True)


def _print_next_step(done: str, step: RotationStep, tenant: str) -> None:
    following = f"cairn keys rotate-encryption {step} --tenant {tenant}"
    typer.echo(f"{done}. Once every process has the current tenants file, run: {following}", err=True)


@contextmanager
def _tenants_file(path: Path) -> Iterator[None]:
    """End the command with an error message when the tenants file cannot be used."""
    try:
        yield
    except TenantsFileError as error:
        fail(str(error), BAD_INPUT)
    except OSError as error:
        fail(f"the tenants file {path} cannot be read or written: {error.strerror}. Name another with --tenants", 1)


def _keys_table(keys: Sequence[ApiKey], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("tenant", "name", "id", "scopes", "created", "expires"):
        # On a narrow terminal names are wrapped; ids and times are not.
        table.add_column(heading, no_wrap=heading in {"id", "created"}, overflow="fold")
    for key in keys:
        scopes = "all" if key.scopes == ALL_SCOPES else ", ".join(scope for scope in Scope if scope in key.scopes)
        expired = key.expires_at is not None and key.expires_at <= now
        table.add_row(
            key.tenant,
            Text(key.name),
            key.key_id,
            scopes,
            _moment(key.created_at),
            Text(_moment(key.expires_at) + (" (expired)" if expired else ""), style="dim" if expired else ""),
        )
    return table


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")
