"""`cairn evaluate tagging`: measure the skill tagger on a data set."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from threadpoolctl import threadpool_limits

from services.catalog.tagging.data_files import DataUnusableError, read_examples
from services.catalog.tagging.evaluation import FOLDS, SERVED, STAGES, Estimate, TaggingEvaluation, evaluate
from services.catalog.tagging.examples import NotEnoughExamplesError
from services.catalog.tagging.new_framework import evaluate_new_framework
from services.catalog.tagging.scores import THREADS
from services.common.command_line import BAD_INPUT, fail
from services.common.commit import commit_of_code

# Protocols by name: whether the text includes its context. Published figures have the name of their data set.
_PROTOCOLS = {"tagged": True, "tagged-text": False, "oatutor": True, "oatutor-text": False, "new-framework": True}
_NEW_FRAMEWORK = "new-framework"
_FAMILY = "tagging"
# What libraries take.
_LARGEST_SEED = 2**32 - 1

app = typer.Typer(rich_markup_mode="markdown", add_completion=False)


_Data = Annotated[
    Path,
    typer.Option(
        help="Folder with resources.jsonl, problems.jsonl or coherence.json, plain or gzip.",
        exists=True,
        file_okay=False,
    ),
]
_ProtocolName = Annotated[str, typer.Option(help="tagged, tagged-text or new-framework, or the name of a data set.")]
_LearnedFrom = Annotated[
    Path | None,
    typer.Option(
        help="For new-framework: folder with resources of another framework to learn from.",
        exists=True,
        file_okay=False,
        show_default=False,
    ),
]


@app.command(
    "tagging", epilog="Example: cairn evaluate tagging --data data/oatutor --protocol tagged --json tagging.json"
)
def tagging(
    *,
    data: _Data,
    protocol: _ProtocolName = "tagged",
    learned_from: _LearnedFrom = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the figures to this file.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=_LARGEST_SEED, help="Seed of the folds and of the bootstrap.")] = 0,
) -> None:
    """Measure the skill tagger on resources held out from training.

    Five folds, split by groups of near-duplicates (cosine of TF-IDF vectors at least .85), so that no copy of a
    held-out text is in the training data; everything is fitted inside the fold. Baselines: the nearest neighbour, the
    ridge alone, and the most frequent skills.

    Protocol `tagged` reads `resources.jsonl` with `id`, `text`, `skills` and, if known, `context` on each line, and
    `skills.jsonl` with `id` and `statement`; `tagged-text` reads no context. Or the files of OATutor: problems with
    course and lesson as context, title, text, steps and choices. Published figures have the names oatutor and
    oatutor-text.

    Protocol `new-framework` measures suggestions of skills of which nothing but the statements is known. The tagger
    learns from `--learned-from`, or, without it, from the resources of the other four of five folds of skills.
    """
    name = protocol.removeprefix(f"{_FAMILY}/")
    name = "tagged" if name == _FAMILY else name
    if name not in _PROTOCOLS:
        fail(f"--protocol {protocol} is not known; choose one of {', '.join(_PROTOCOLS)}", BAD_INPUT)
    if json_file and not json_file.parent.is_dir():
        fail(f"--json {json_file}: the folder {json_file.parent} does not exist; create it first", BAD_INPUT)
    if json_file and json_file.is_dir():
        fail(f"--json {json_file} is a folder; name a file in it", BAD_INPUT)
    if learned_from and name != _NEW_FRAMEWORK:
        fail(f"--learned-from is for --protocol {_NEW_FRAMEWORK}, not {name}: leave it out", BAD_INPUT)
    begun_s = time.monotonic()
    try:
        examples, statements = read_examples(data, with_context=_PROTOCOLS[name])
        measure = evaluate
        if name == _NEW_FRAMEWORK:
            material = read_examples(learned_from, with_context=True) if learned_from else None
            measure = partial(evaluate_new_framework, learned_from=material)
        # With another number of threads sums are split elsewhere, and the last digits differ.
        with _Bar() as bar, threadpool_limits(THREADS, "blas"):
            evaluation = measure(
                examples,
                statements,
                protocol=f"{_FAMILY}/{name}",
                commit=commit_of_code(),
                seed=seed,
                progress=bar.show,
            )
    except (DataUnusableError, NotEnoughExamplesError) as error:
        fail(str(error), BAD_INPUT)
    _print(evaluation, time.monotonic() - begun_s)
    if json_file:
        try:
            json_file.write_bytes(evaluation.as_json())
        except OSError as error:
            fail(f"--json {json_file} cannot be written: {error}", BAD_INPUT)


class _Bar:
    """Progress on stderr: a bar on a terminal, a line per fold elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        columns = (
            TextColumn("fold {task.fields[fold]} of " + str(FOLDS)),
            BarColumn(),
            TextColumn("{task.description}"),
        )
        self._progress = Progress(
            *columns, TimeElapsedColumn(), console=self._console, transient=True, disable=not self._console.is_terminal
        )
        self._task = self._progress.add_task("", total=STAGES, fold=1)
        self._fold = -1

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, fold: int, stage: str) -> None:
        """Show the next stage."""
        self._progress.update(self._task, advance=1, description=stage, fold=fold + 1)
        if not self._console.is_terminal and fold != self._fold:
            self._console.print(f"fold {fold + 1} of {FOLDS}")
        self._fold = fold


def _print(evaluation: TaggingEvaluation, elapsed_s: float) -> None:
    console = Console(highlight=False)
    console.print(f"{evaluation.protocol}: {evaluation.data}", soft_wrap=True)
    console.print(_table(evaluation.models), "")
    console.print(f"{SERVED} minus the other, on the same bootstrap samples")
    console.print(_table(evaluation.differences))
    for note in evaluation.notes:
        console.print(f"- {note}", soft_wrap=True)
    console.print(f"commit {evaluation.commit or 'not known'}, {elapsed_s:.0f} s")


def _table(models: Mapping[str, Mapping[str, Estimate]]) -> Table:
    # Measures are rows and models columns, so that the table fits 80 columns.
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in models:
        table.add_column(name, justify="right")
    for measure in dict.fromkeys(measure for measures in models.values() for measure in measures):
        values = [measures.get(measure) for measures in models.values()]
        table.add_row(measure, *(f"{value.mean:.3f}" if value else "" for value in values))
        intervals = (f"{value.low:.3f} {value.high:.3f}" if value else "" for value in values)
        table.add_row("", *intervals, style="dim")
    return table
