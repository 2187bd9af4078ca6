"""`python -m deploy.contracts`: check the contracts and generate their documents (`make lint`, `make contracts`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from deploy.contracts.api_reference import api_reference
from deploy.contracts.asyncapi import asyncapi_document
from deploy.contracts.baseline import baseline_text, read_baseline
from deploy.contracts.compatibility import breaks_between
from deploy.contracts.openapi import openapi_document
from deploy.contracts.source import ContractError, compile_protos, read_contracts
from services.common.kafka.topics import TopicsFileError, load_declarations

_BAD_INPUT = 2
_PROTOS = Path("protos")
_BASELINE = Path("protos/baseline/cairn.v1.txtpb")
_TOPICS = Path("deploy/topics.yaml")

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)

Root = Annotated[Path, typer.Option(help="The checkout.")]


@app.callback()
def _describe() -> None:
    """Compare the contracts with their baseline and generate their documents."""


@app.command()
def check(*, root: Root = Path()) -> None:
    """Fail when a contract breaks the baseline, or when a generated document is out of date.

    Additions since the baseline was accepted are fine.
    """
    try:
        breaks = breaks_between(read_baseline(root / _BASELINE), compile_protos(root / _PROTOS))
        documents = _documents(root)
    except (ContractError, TopicsFileError) as error:
        _fail([str(error)], _BAD_INPUT)
    problems = [str(found) for found in breaks]
    if breaks:
        problems.append(
            f"{len(breaks)} change(s) break the contracts: add a field or an RPC next to the old one instead; "
            "if nobody depends on it yet, make contracts-accept BREAKING=yes accepts it"
        )
    problems += [
        f"{path} is out of date: run make contracts and commit the result"
        for path, text in documents.items()
        if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != text
    ]
    if problems:
        _fail(problems, 1)


@app.command()
def write(*, root: Root = Path()) -> None:
    """Write docs/api.md, docs/asyncapi.yaml and docs/openapi.yaml."""
    try:
        documents = _documents(root)
    except (ContractError, TopicsFileError) as error:
        _fail([str(error)], _BAD_INPUT)
    for path, text in documents.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


@app.command()
def accept(
    *,
    root: Root = Path(),
    breaking: Annotated[bool, typer.Option("--breaking", help="Also accept breaking changes.")] = False,
) -> None:
    """Make the current contracts the baseline, so that they are guarded from now on.

    Refuses breaking changes unless `--breaking` is given.
    """
    path = root / _BASELINE
    try:
        current = compile_protos(root / _PROTOS)
        breaks = breaks_between(read_baseline(path), current) if path.exists() else []
    except ContractError as error:
        _fail([str(error)], _BAD_INPUT)
    if breaks and not breaking:
        _fail(
            [
                *(str(found) for found in breaks),
                "nothing was accepted; if you mean to break readers of old data: make contracts-accept BREAKING=yes",
            ],
            1,
        )
    for found in breaks:
        typer.echo(f"accepted: {found}", err=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(baseline_text(current), encoding="utf-8")


def _documents(root: Path) -> dict[Path, str]:
    files = read_contracts(root / _PROTOS)
    return {
        Path("docs/api.md"): api_reference(files),
        Path("docs/asyncapi.yaml"): asyncapi_document(load_declarations(root / _TOPICS), files),
        Path("docs/openapi.yaml"): openapi_document(files),
    }


def _fail(problems: list[str], code: int) -> NoReturn:
    for problem in problems:
        typer.echo(problem, err=True)
    raise typer.Exit(code)


if __name__ == "__main__":
    app(prog_name="python -m deploy.contracts")
