"""`python -m deploy.evaluation`: run every protocol and write the results, for `make evaluate`."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple, NoReturn

import typer

from deploy.evaluation.document import Measured, document
from services.recommender.evaluation.report import page
from services.recommender.evaluation.results import from_json

_BAD_INPUT = 2
_CAIRN = [sys.executable, "-c", "from services.cli import main; main()"]


class Protocol(NamedTuple):
    """A protocol, and its folder below the data."""

    family: str
    name: str
    folder: str


PROTOCOLS = (
    Protocol("tracing", "assistments2009-kt", "assistments2009-kt"),
    Protocol("tracing", "algebra05", "algebra05"),
    Protocol("ranking", "assistments2009", "assistments2009"),
    Protocol("ranking", "assistments2009-skills", "assistments2009"),
    Protocol("ranking", "mooccubex", "mooccubex"),
    Protocol("ranking", "movielens-100k", "movielens-100k"),
    Protocol("tagging", "oatutor", "oatutor"),
)

app = typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False)


@app.command()
def evaluate(
    *,
    data: Annotated[Path, typer.Option(help="The folder that contains the data sets' folders.")] = Path(
        "../shared/data"
    ),
    only: Annotated[
        list[str] | None, typer.Option(help="Run only these, e.g. tracing/algebra05; the others keep their figures.")
    ] = None,
    root: Annotated[Path, typer.Option(help="The checkout.")] = Path(),
    documents_only: Annotated[
        bool, typer.Option("--documents-only", help="Run nothing; write the documents from the stored JSON.")
    ] = False,
    results: Annotated[Path, typer.Option(help="The folder for each protocol's JSON.")] = Path(".local/evaluation"),
) -> None:
    """Run the protocols in order and write docs/evaluation.md and docs/evaluation.html.

    Exits with 2 when the data is missing, with 1 when a protocol fails.
    """
    chosen = [each for each in PROTOCOLS if not only or _title(each) in only]
    if documents_only:
        chosen = []
    elif not chosen:
        _fail(f"--only {' '.join(only or [])}: no such protocol; choose from {', '.join(map(_title, PROTOCOLS))}")
    for protocol in chosen:
        if not (data / protocol.folder).is_dir():
            _fail(f"--data {data}: there is no folder {protocol.folder}, which {_title(protocol)} needs")
    results.mkdir(parents=True, exist_ok=True)
    for protocol in chosen:
        typer.echo(f"{_title(protocol)} ...", err=True)
        began_s = time.monotonic()
        command = ["evaluate", protocol.family, "--data", str(data / protocol.folder), "--protocol", protocol.name]
        file = results / f"{protocol.family}-{protocol.name}.json"
        ended = subprocess.run([*_CAIRN, *command, "--json", str(file)], check=False)
        if ended.returncode:
            typer.echo(f"error: cairn {' '.join(command)} ended with {ended.returncode}", err=True)
            raise typer.Exit(1)
        file.with_suffix(".seconds").write_text(f"{time.monotonic() - began_s:.0f}", encoding="utf-8")
    measured = [found for protocol in PROTOCOLS if (found := _read(results, protocol)) is not None]
    (root / "docs/evaluation.md").write_text(document(measured), encoding="utf-8")
    (root / "docs/evaluation.html").write_text(
        page("Cairn: evaluation", [each.evaluation for each in measured]), encoding="utf-8"
    )
    typer.echo(f"docs/evaluation.md and docs/evaluation.html contain {len(measured)} of {len(PROTOCOLS)} protocols")


def _read(results: Path, protocol: Protocol) -> Measured | None:
    file = results / f"{protocol.family}-{protocol.name}.json"
    if not file.is_file():
        return None
    return Measured(
        evaluation=from_json(file.read_bytes()),
        on=datetime.fromtimestamp(file.stat().st_mtime, UTC).date(),
        elapsed_s=float(file.with_suffix(".seconds").read_text(encoding="utf-8")),
    )


def _title(protocol: Protocol) -> str:
    return f"{protocol.family}/{protocol.name}"


def _fail(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(_BAD_INPUT)


if __name__ == "__main__":
    app()
