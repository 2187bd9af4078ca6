"""`python -m deploy.evaluation`: run every protocol and write the results, for `make evaluate`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple, NoReturn

import typer

from deploy.evaluation.document import Measured, document
from deploy.evaluation.document import section as text_of
from deploy.evaluation.document import sections_of as texts_of
from services.recommender.evaluation.report import page
from services.recommender.evaluation.report import section as html_of
from services.recommender.evaluation.report import sections_of as htmls_of
from services.recommender.evaluation.results import from_json

_BAD_INPUT = 2
_CAIRN = [sys.executable, "-c", "from services.cli import main; main()"]


class Protocol(NamedTuple):
    """A protocol, its folder below the data (empty: it needs none), and what follows its name in the command.

    A protocol that learns from other data than it measures on names the other folder, too.
    """

    family: str
    name: str
    folder: str
    options: tuple[str, ...] = ()
    learned_from: str = ""

    @property
    def title(self) -> str:
        """The protocol's name in results and documents."""
        return "-".join([f"{self.family}/{self.name}", *(option.removeprefix("--") for option in self.options)])

    def command(self, data: Path) -> list[str]:
        """The command that runs it on the data in a folder; it takes `--json FILE`."""
        if self.family == "laws":
            # The district is no part of what ships, so `cairn` does not know it.
            return [sys.executable, "-m", "deploy.evaluation.laws"]
        if self.family == "prerequisites":
            # Nor is the crosswalk from the log's skills to standards.
            return [sys.executable, "-m", "deploy.evaluation.prerequisites", "--data", str(data / self.folder)]
        given = ["--data", str(data / self.folder), "--protocol", self.name] if self.folder else []
        if self.learned_from:
            given += ["--learned-from", str(data / self.learned_from)]
        return [*_CAIRN, "evaluate", self.family, *given, *self.options]


PROTOCOLS = (
    Protocol("tracing", "assistments2009-kt", "assistments2009-kt"),
    Protocol("tracing", "algebra05", "algebra05"),
    Protocol("tracing", "algebra05", "algebra05", ("--few-learners", "20")),
    Protocol("review", "algebra05", "algebra05"),
    Protocol("review", "algebra05", "algebra05", ("--time-split",)),
    Protocol("ranking", "assistments2009", "assistments2009"),
    Protocol("ranking", "assistments2009-skills", "assistments2009"),
    Protocol("ranking", "mooccubex", "mooccubex"),
    Protocol("ranking", "movielens-100k", "movielens-100k"),
    Protocol("ranking", "movielens-100k", "movielens-100k", ("--time-split",)),
    Protocol("tagging", "oatutor", "oatutor"),
    Protocol("tagging", "new-framework", "ccss", learned_from="oatutor"),
    Protocol("closed-loop", "simulated", ""),
    Protocol("mastery", "simulated", ""),
    Protocol("laws", "district", ""),
    Protocol("prerequisites", "assistments2009-ccss", "assistments2009"),
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
        bool, typer.Option("--documents-only", help="Run nothing; write the sections from the stored JSON.")
    ] = False,
    results: Annotated[Path, typer.Option(help="The folder for each protocol's JSON.")] = Path(".local/evaluation"),
) -> None:
    """Run the protocols in order and write docs/evaluation.md and docs/evaluation.html.

    Sections of protocols that did not run stay as they are, letter by letter.

    Exits with 2 when the data is missing, with 1 when a protocol fails.
    """
    chosen = [each for each in PROTOCOLS if not only or each.title in only]
    if not chosen:
        known = ", ".join(each.title for each in PROTOCOLS)
        _fail(f"--only {' '.join(only or [])}: no such protocol; choose from {known}")
    if not documents_only:
        _run(chosen, data, results)
    _write(root / "docs", {each.title: _read(results, each) for each in chosen})


def _run(chosen: Sequence[Protocol], data: Path, results: Path) -> None:
    for protocol in chosen:
        for folder in (protocol.folder, protocol.learned_from):
            if not (data / folder).is_dir():
                _fail(f"--data {data}: there is no folder {folder}, which {protocol.title} needs")
    results.mkdir(parents=True, exist_ok=True)
    for protocol in chosen:
        typer.echo(f"{protocol.title} ...", err=True)
        began_s = time.monotonic()
        file = _file(results, protocol)
        ended = subprocess.run([*protocol.command(data), "--json", str(file)], check=False)
        if ended.returncode:
            typer.echo(f"error: {protocol.title} ended with {ended.returncode}", err=True)
            raise typer.Exit(1)
        file.with_suffix(".seconds").write_text(f"{time.monotonic() - began_s:.0f}", encoding="utf-8")


def _write(docs: Path, measured: Mapping[str, Measured | None]) -> None:
    """Replace the sections of what was measured; the others stay."""
    markdown, html = docs / "evaluation.md", docs / "evaluation.html"
    texts = texts_of(markdown.read_text(encoding="utf-8")) if markdown.is_file() else {}
    htmls = htmls_of(html.read_text(encoding="utf-8")) if html.is_file() else {}
    for title, each in measured.items():
        if each is not None:
            texts[title], htmls[title] = text_of(each), html_of(each.evaluation)
    titles = [each.title for each in PROTOCOLS]
    markdown.write_text(document(texts[title] for title in titles if title in texts), encoding="utf-8")
    html.write_text(page("Cairn: evaluation", [htmls[title] for title in titles if title in htmls]), encoding="utf-8")
    typer.echo(
        f"docs/evaluation.md and docs/evaluation.html contain {sum(title in texts for title in titles)} of "
        f"{len(titles)} protocols"
    )


def _read(results: Path, protocol: Protocol) -> Measured | None:
    file = _file(results, protocol)
    if not file.is_file():
        return None
    return Measured(
        evaluation=from_json(file.read_bytes()),
        on=datetime.fromtimestamp(file.stat().st_mtime, UTC).date(),
        elapsed_s=float(file.with_suffix(".seconds").read_text(encoding="utf-8")),
    )


def _file(results: Path, protocol: Protocol) -> Path:
    return results / f"{protocol.title.replace('/', '-', 1)}.json"


def _fail(message: str) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(_BAD_INPUT)


if __name__ == "__main__":
    app()
