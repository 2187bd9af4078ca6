"""What an import would change: records compared with those that the service has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import typer

from cairn.v1 import catalog_pb2_grpc
from services.catalog.cli.calls import Kind, listed
from services.catalog.cli.resource_files import Plan
from services.catalog.domain.model import Resource, Skill
from services.common.rpc.calls import Metadata

_SHOWN = 20
_EVERYTHING = 1_000_000_000


def show_differences(
    stub: catalog_pb2_grpc.CatalogServiceStub,
    metadata: Metadata,
    skills: Sequence[Skill],
    resources: Sequence[Resource],
    timeout_s: float,
    plan: Plan | None = None,
) -> None:
    """Print which records an import would add, change, retire and delete."""
    retired = {*plan.retired} if plan else set()
    for kind, records in ((Kind.SKILL, skills), (Kind.RESOURCE, resources)):
        if records:
            stored = {each.id: each for each in listed(stub, metadata, kind, _EVERYTHING, timeout_s)}
            new = [each.id for each in records if each.id not in stored]
            changed = [
                f"{each.id} ({', '.join(_changed(each, stored[each.id]))})"
                for each in records
                if each.id in stored and stored[each.id] != each and each.id not in retired
            ]
            unchanged = sum(stored.get(each.id) == each for each in records)
            typer.echo(f"{kind}s: {len(new):,} new, {len(changed):,} changed, {unchanged:,} unchanged")
            _echo("new", new)
            _echo("changed", changed)
    if plan:
        typer.echo(
            f"resources that the files no longer have: {len(plan.retired):,} to retire, "
            f"{len(plan.deleted):,} to delete, {plan.kept:,} kept"
        )
        _echo("retire", plan.retired)
        _echo("delete", plan.deleted)
    typer.echo("nothing was written: this was a dry run")


def _changed(one: Skill | Resource, other: Skill | Resource) -> list[str]:
    return [field.name for field in fields(one) if getattr(one, field.name) != getattr(other, field.name)]


def _echo(word: str, shown: Sequence[str]) -> None:
    for each in shown[:_SHOWN]:
        typer.echo(f"  {word} {each}")
    if len(shown) > _SHOWN:
        typer.echo(f"  and {len(shown) - _SHOWN:,} more")
