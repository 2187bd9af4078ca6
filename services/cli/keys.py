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

from services.common.auth.api_keys import create_api_key, revoke_api_keys, rotate_api_key
from services.common.auth.encryption_keys import (
    check_encryption_key_switched,
    forget_former_encryption_key,
    prepare_encryption_key,
    set_encryption,
    switch_encryption_key,
)
from services.common.auth.tenant import ALL_SCOPES, ApiKey, Scope
from services.common.auth.tenants_file import TenantsFileError, load_tenants
from services.common.command_line import BAD_INPUT, fail
from services.common.encryption.key_rotation import rewrap_learner_keys
from services.common.encryption.values import TenantKeyMissingError
from services.common.kafka.connection import BrokerUnavailableError, KafkaConnection, TopicMissingError


class RotationStep(StrEnum):
    """What is done of replacing an encryption key."""

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

    Services that run take up every change at once; a stream that is open stays open until it ends.
    """


@app.command(
    "create", epilog="Example: cairn keys create --tenant riverbend --name gradebook --scope ingest --scope recommend"
)
def create_key(
    *,
    tenant: Annotated[str, typer.Option(help="The district or platform: 1 to 63 of a-z, 0-9 and -.")],
    name: Annotated[str, typer.Option(help="What the key is for, to recognise it by later.")] = "default",
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What the key may be used for; repeat it for several. Default: everything."),
    ] = None,
    encryption: Annotated[
        bool,
        typer.Option(help="Encrypt the learners' values in the log, for a tenant that is made with its first key."),
    ] = True,
    tenants: Annotated[
        Path, typer.Option(envvar="CAIRN_TENANTS", help="The tenants file; made, mode 0600, when there is none.")
    ] = Path("tenants.yaml"),
) -> None:
    """Create an API key for a tenant, and the tenant with it.

    The key is printed on standard output this once; the file keeps its hash.
    """
    with _tenants_file(tenants):
        api_key = create_api_key(
            tenants, tenant, name, scope or (), created_at=datetime.now(UTC), encryption=encryption
        )
    typer.echo(f"Key {name!r} of tenant {tenant!r} added to {tenants}; keep it, it is not stored.", err=True)
    typer.echo(api_key)


_TenantOption = Annotated[str, typer.Option(help="The tenant whose key it is.")]
_NameOption = Annotated[str, typer.Option(help="The key's name, or its id as `cairn keys list` shows it.")]
_FileOption = Annotated[Path, typer.Option(envvar="CAIRN_TENANTS", help="The tenants file.")]


@app.command("list", epilog="Example: cairn keys list --tenant riverbend")
def list_keys(
    *,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's keys.")] = None,
    tenants: _FileOption = Path("tenants.yaml"),
) -> None:
    """List the API keys: whose they are, what they may be used for, when they were created and when they expire.

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
    """Replace an API key by a fresh one of the same name and scopes.

    The fresh key is printed on standard output this once. The old one goes on working for `--overlap-h` hours, so that
    the platform can be changed over without a gap.
    """
    with _tenants_file(tenants):
        api_key = rotate_api_key(tenants, tenant, name, now=datetime.now(UTC), overlap=timedelta(hours=overlap_h))
    old = f"the old one is accepted for another {overlap_h:g} h" if overlap_h else "the old one is refused from now on"
    typer.echo(f"Key {name!r} of tenant {tenant!r} rotated in {tenants}; {old}. Keep it, it is not stored.", err=True)
    typer.echo(api_key)


@app.command("revoke", epilog="Example: cairn keys revoke --tenant riverbend --name gradebook")
def revoke_key(*, tenant: _TenantOption, name: _NameOption, tenants: _FileOption = Path("tenants.yaml")) -> None:
    """Revoke the API keys of a name, or the one of an id: calls with them are refused at once."""
    with _tenants_file(tenants):
        revoked = revoke_api_keys(tenants, tenant, name)
    ids = ", ".join(f"{key.name} ({key.key_id})" for key in revoked)
    typer.echo(f"Revoked {len(revoked)} key(s) of tenant {tenant!r} in {tenants}: {ids}", err=True)


@app.command("encryption", epilog="Example: cairn keys encryption on --tenant riverbend")
def encryption_switch(
    switch: Annotated[Switch, typer.Argument(help="Whether new values are encrypted.")],
    *,
    tenant: Annotated[str, typer.Option(help="The tenant whose learners they are.")],
    tenants: _FileOption = Path("tenants.yaml"),
) -> None:
    """Have the values of a tenant's learners in the log encrypted from now on, or no longer.

    With encryption, forgetting a learner destroys the key to everything the log holds of them. Values that are
    encrypted stay readable after `off`; values that are plain stay so after `on`.
    """
    with _tenants_file(tenants):
        set_encryption(tenants, tenant, encrypt=switch is Switch.ON)
    typer.echo(f"New values of tenant {tenant!r} are {'encrypted' if switch is Switch.ON else 'plain'}.", err=True)


@app.command("rotate-encryption", epilog="Example: cairn keys rotate-encryption switch --tenant riverbend")
def rotate_encryption(
    step: Annotated[RotationStep, typer.Argument(help="What to do next.")],
    *,
    tenant: Annotated[str, typer.Option(help="The tenant whose encryption key is replaced.")],
    kafka: Annotated[
        str, typer.Option(envvar="CAIRN_KAFKA", help="Bootstrap servers, host:port, separated by commas.")
    ] = "127.0.0.1:9092",
    tenants: _FileOption = Path("tenants.yaml"),
) -> None:
    """Replace the key that a tenant's learners' keys are wrapped with. No value in the log changes, nothing stops.

    **prepare** makes the next key, which opens and does not wrap yet. **switch** has it wrap, and wraps every learner's
    key with it; the former one still opens. **finish** wraps what was wrapped with the former one since, and removes
    it. After each step the tenants file must reach every process before the next one; each may be run again.

    Ends with 1 when Kafka cannot be reached or a learner's key does not open, with 2 when it is not the step's turn.
    """
    with _tenants_file(tenants):
        if step is RotationStep.PREPARE:
            prepare_encryption_key(tenants, tenant)
            _say_next("The next key is prepared", RotationStep.SWITCH, tenant)
            return
        if step is RotationStep.SWITCH:
            switch_encryption_key(tenants, tenant)
        else:
            check_encryption_key_switched(tenants, tenant)
        registry = load_tenants(tenants)

    def encryption_keys(name: str) -> Sequence[bytes]:
        found = registry.get(name)
        return () if found is None else found.encryption_keys

    try:
        connection = KafkaConnection(kafka)
        count = asyncio.run(rewrap_learner_keys(connection, tenant, encryption_keys, lambda: datetime.now(UTC)))
    except (BrokerUnavailableError, TopicMissingError, TenantKeyMissingError) as error:
        fail(f"{error}. What is wrapped already stays so; run the step again", 1)
    if step is RotationStep.SWITCH:
        _say_next(f"The keys of {count:,} learner(s) are wrapped with the new one", RotationStep.FINISH, tenant)
        return
    with _tenants_file(tenants):
        forget_former_encryption_key(tenants, tenant)
    rest = f"The keys of {count:,} more learner(s) were wrapped"
    typer.echo(f"{rest}; the former key is removed from {tenants}.", err=True)


def _say_next(done: str, step: RotationStep, tenant: str) -> None:
    following = f"cairn keys rotate-encryption {step} --tenant {tenant}"
    typer.echo(f"{done}. Once every process has the tenants file as it is now: {following}", err=True)


@contextmanager
def _tenants_file(path: Path) -> Iterator[None]:
    """End the command with a sentence when the tenants file cannot be used."""
    try:
        yield
    except TenantsFileError as error:
        fail(str(error), BAD_INPUT)
    except OSError as error:
        fail(f"the tenants file {path} cannot be read or written: {error.strerror}. Name another with --tenants", 1)


def _keys_table(keys: Sequence[ApiKey], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("tenant", "name", "id", "scopes", "created", "expires"):
        # Names wrap where a terminal is narrow; ids and times stay whole.
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
