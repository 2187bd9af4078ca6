"""`cairn evaluate`: the models on data (`tracing`, `ranking`), and simulated learners (`closed-loop`, `mastery`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table
from threadpoolctl import threadpool_limits

from services.common.command_line import BAD_INPUT, FAILED, fail
from services.recommender.evaluation.checkout import commit_of_checkout
from services.recommender.evaluation.closed_loop.outcomes import (
    PER_FAILURE,
    PER_HOUR,
    SHARE,
    SHARES,
    evaluate_closed_loop,
)
from services.recommender.evaluation.closed_loop.run import LEARNERS_MIN, RunSettings
from services.recommender.evaluation.instructions import instructions
from services.recommender.evaluation.intervals import Estimate
from services.recommender.evaluation.lists import RankingSplit
from services.recommender.evaluation.mastery import (
    COVERAGE_MET,
    COVERAGE_NEW,
    PRECISION,
    RECALL,
    MasteryRun,
    evaluate_mastery,
)
from services.recommender.evaluation.ranking import evaluate_ranking
from services.recommender.evaluation.report import as_html, measures_of
from services.recommender.evaluation.results import Evaluation, as_json
from services.recommender.evaluation.review import by_learner, by_time, evaluate_review
from services.recommender.evaluation.small_tenants import evaluate_small_tenants
from services.recommender.evaluation.splits import split_interactions, split_sequences
from services.recommender.evaluation.tables import DataUnusableError
from services.recommender.evaluation.tracing import (
    TracingSplit,
    evaluate_tracing,
    given_split,
    split_by_learner,
    split_learners,
)

Advance = Callable[[str, int, int], None]
Split = TypeVar("Split")

# Protocols by the shape of their data; the others name the data set that a figure is published for.
_TRACING: Mapping[str, Callable[..., TracingSplit]] = {
    "sequences": split_learners,
    "assistments2009-kt": given_split,
    "algebra05": split_by_learner,
}
_RANKING: Mapping[str, Callable[..., RankingSplit]] = {
    "sequences": split_sequences,
    "interactions": split_interactions,
    "assistments2009": split_sequences,
    "assistments2009-skills": partial(split_sequences, skills=True),
    "mooccubex": split_interactions,
    "movielens-100k": split_interactions,
}

# What libraries take.
_LARGEST_SEED = 2**32 - 1

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")

KeepTwins = Annotated[
    bool,
    typer.Option(
        "--keep-twins", help="Keep learners that are near-identical to another one; figures then come out too good."
    ),
]
Data = Annotated[Path, typer.Option(help="The folder with the protocol's files.", exists=True, file_okay=False)]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write the measures to this file, as JSON.", show_default=False)
]
HtmlFile = Annotated[
    Path | None, typer.Option("--html", help="Write a report with plots to this file.", show_default=False)
]


@app.callback()
def _evaluate() -> None:
    """Evaluate the models on public data, and policies with simulated learners."""


@app.command("tracing", epilog="Example: cairn evaluate tracing --data data/algebra05 --protocol sequences")
def tracing(
    *,
    data: Data,
    protocol: Annotated[str, typer.Option(help="sequences, or the name of a data set.")],
    few_learners: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Fit to this many learners only, drawn ten times, as if the tenant had no more.",
            show_default=False,
        ),
    ] = None,
    keep_twins: KeepTwins = False,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Measure how well the models predict the responses of unseen learners.

    Fits all models; needs neither a bundle nor a running service. Intervals are central 95 % bootstrap intervals over
    learners. Some models are fitted a second time without one item in ten, and predict those as new items.

    Protocol `sequences`: fitted on the learners of train.tsv and evaluated on those of test.tsv, or on 70 and 30 % of
    the learners of responses.tsv; these files need q_mat.npz, items by skills. Or 70 and 30 % of responses.csv with
    learner, item, skills, correct, time. Published figures have the names assistments2009-kt and algebra05.

    Files may be gzip or Parquet. `correct` is true, false or a score from 0 to 1; a time is Unix seconds or ISO 8601.
    """
    split = _chosen(protocol, "tracing", _TRACING)
    _check_folders(json_file, html_file)
    with _progress() as advance, _data_is_usable(), threadpool_limits(1, user_api="blas"):
        name, read, commit = f"tracing/{_short(protocol)}", split(data, keep_twins=keep_twins), commit_of_checkout()
        evaluation = (
            evaluate_tracing(name, read, commit=commit, advance=advance)
            if few_learners is None
            else evaluate_small_tenants(
                f"{name}-few-learners-{few_learners}", read, learners=few_learners, commit=commit, advance=advance
            )
        )
    _write(evaluation, json_file, html_file, shown=("auc", "log_loss", "rmse", "ece"))


@app.command("review", epilog="Example: cairn evaluate review --data data/algebra05 --protocol sequences --time-split")
def review(
    *,
    data: Data,
    protocol: Annotated[str, typer.Option(help="sequences, or the name of a data set.")],
    time_split: Annotated[
        bool,
        typer.Option("--time-split", help="Fit on the first 80 % of the responses in time, not on other learners."),
    ] = False,
    keep_twins: KeepTwins = False,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Measure how well it is predicted what learners still know on a later day.

    A response counts if each of its skills was practised before, last at least 8 hours ago. Models: what decides when
    a review is due, the fixed formula of tenants without a recall model, FSRS, a logistic regression on skills,
    successes and failures, and the models of chances. Files as of `tracing`, with times; they are read and split in the
    same way. Published figures have the name algebra05.
    """
    split = _chosen(protocol, "review", _TRACING)
    name = f"review/{_short(protocol)}{'-time-split' if time_split else ''}"
    _check_folders(json_file, html_file)
    with _progress() as advance, _data_is_usable(), threadpool_limits(1, user_api="blas"):
        found = (by_time if time_split else by_learner)(data, split(data, keep_twins=keep_twins))
        evaluation = evaluate_review(name, found, commit=commit_of_checkout(), advance=advance)
    _write(evaluation, json_file, html_file, shown=("log_loss", "auc", "rmse", "ece"))


@app.command("ranking", epilog="Example: cairn evaluate ranking --data data/assistments2009 --protocol sequences")
def ranking(
    *,
    data: Data,
    protocol: Annotated[str, typer.Option(help="sequences or interactions, or the name of a data set.")],
    skills: Annotated[
        bool, typer.Option("--skills", help="Rank skills instead of resources; needs the protocol sequences.")
    ] = False,
    time_split: Annotated[
        bool, typer.Option("--time-split", help="Split at one time for all learners: the first 80 % of the data.")
    ] = False,
    keep_twins: KeepTwins = False,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Measure how well rankings predict what learners work on next.

    Every resource is ranked. Fits all models; needs neither a bundle nor a running service. Intervals are central 95 %
    bootstrap intervals over learners.

    Protocol `sequences`, for responses (interactions.csv or responses.csv): the first 80 % of each learner's, and the
    rest. Protocol `interactions`, for work without outcomes: train.txt and test.txt (or .csv) if they exist, else a
    random 75 % of each learner's in a file *.inter or interactions.csv. resources.csv adds skills to resources,
    groups.csv measures each group of learners. Published figures have the names assistments2009,
    assistments2009-skills, mooccubex and movielens-100k.

    Files may be gzip or Parquet. `correct` is true, false or a score from 0 to 1; a time is Unix seconds or ISO 8601.
    """
    split = _chosen(protocol, "ranking", _RANKING)
    name = f"ranking/{_short(protocol)}"
    if skills:
        if split is not split_sequences:
            fail(f"error: --skills does not go with --protocol {protocol}; it needs responses", BAD_INPUT)
        split, name = partial(split, skills=True), f"{name}-skills"
    if time_split:
        split, name = partial(split, time_split=True), f"{name}-time-split"
    _check_folders(json_file, html_file)
    with _progress() as advance, _data_is_usable(), threadpool_limits(1, user_api="blas"):
        evaluation = evaluate_ranking(
            name, split(data, keep_twins=keep_twins), commit=commit_of_checkout(), advance=advance
        )
    _write(
        evaluation,
        json_file,
        html_file,
        shown=(
            "ndcg_at_5",
            "ndcg_at_5_new",
            "ndcg_at_10",
            "recall_at_50",
            "precision_at_10",
            "gap_hit_at_10",
            "gap_next_at_10",
        ),
    )
    _fail_unless_it_holds(evaluation)


@app.command("closed-loop", epilog="Example: cairn evaluate closed-loop --learners 20 --json closed-loop.json")
def closed_loop(
    *,
    learners: Annotated[int, typer.Option(min=LEARNERS_MIN, help="Simulated learners of each way of learning.")] = 40,
    steps: Annotated[int, typer.Option(min=1, help="Resources that each policy decides for each learner.")] = 42,
    seed: Annotated[int, typer.Option(min=0, max=_LARGEST_SEED, help="Decides everything that is drawn.")] = 1,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Measure how much simulated learners learn when a policy decides what they work on next.

    Learners learn in four ways, none of which is how Cairn's own model assumes: with prerequisites; with forgetting;
    by chance, with guesses and slips; and with quitting after failures. Policies: what is served by default, with and
    without a bundle; need only; next item only; as the teacher assigns; popular; random; and two references, one that
    knows how the learners learn, and an oracle that also sees what is true of each. It needs neither data nor a running
    service, and takes one to three minutes of CPU time.

    Nothing here is evidence about real learners. It guards against a policy that merely copies what was assigned. Exits
    with 1 when the simulation cannot tell policies apart: the oracle must gain at least twice what random does.
    """
    _check_folders(json_file, html_file)
    settings = RunSettings(learners=learners, steps=steps, seed=seed)
    with _progress() as advance, threadpool_limits(1, user_api="blas"):
        evaluation = evaluate_closed_loop(settings, commit=commit_of_checkout(), advance=advance)
    _write(evaluation, json_file, html_file, shown=(SHARE, PER_HOUR, PER_FAILURE), also=SHARES)
    _fail_unless_it_holds(evaluation)


@app.command("mastery", epilog="Example: cairn evaluate mastery --seed 2 --json mastery.json")
def mastery(
    *,
    learners: Annotated[
        int, typer.Option(min=50, help="Simulated learners to fit on, and as many to judge, of each way of answering.")
    ] = MasteryRun().learners,
    responses: Annotated[int, typer.Option(min=20, help="Responses of each learner.")] = MasteryRun().responses,
    seed: Annotated[int, typer.Option(min=0, max=_LARGEST_SEED, help="Decides everything that is drawn.")] = 1,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
) -> None:
    """Measure intervals and mastery with simulated learners, whose true chances are known.

    No log says what people really can do. Here they answer in five ways: as the model assumes;
    to items that differ in discrimination; learning slowly, or quickly; and guessing. It needs neither data nor a
    running service, and takes a minute of CPU time.
    """
    _check_folders(json_file, html_file)
    run = MasteryRun(learners=learners, responses=responses, seed=seed)
    with _progress() as advance:
        evaluation = evaluate_mastery(run, commit=commit_of_checkout(), advance=advance)
    _write(evaluation, json_file, html_file, shown=(COVERAGE_MET, COVERAGE_NEW, PRECISION, RECALL))
    _fail_unless_it_holds(evaluation)


def _short(protocol: str) -> str:
    return protocol.rpartition("/")[2]


def _chosen(protocol: str, family: str, known: Mapping[str, Callable[..., Split]]) -> Callable[..., Split]:
    if protocol.removeprefix(f"{family}/") not in known:
        fail(f"error: --protocol {protocol} is not known; use one of {', '.join(known)}", BAD_INPUT)
    return known[_short(protocol)]


def _check_folders(*files: Path | None) -> None:
    for file in files:
        if file is not None and not file.parent.is_dir():
            fail(f"error: {file}: the folder {file.parent} does not exist; create it first", BAD_INPUT)
        if file is not None and file.is_dir():
            fail(f"error: {file} is a folder; name a file in it", BAD_INPUT)


@contextmanager
def _data_is_usable() -> Iterator[None]:
    try:
        yield
    except DataUnusableError as error:
        fail(f"error: {error}", BAD_INPUT)


def _write(
    evaluation: Evaluation,
    json_file: Path | None,
    html_file: Path | None,
    *,
    shown: tuple[str, ...],
    also: tuple[str, ...] = (),
) -> None:
    evaluation = replace(evaluation, arithmetic=instructions())
    console = Console(highlight=False)
    console.print(f"{evaluation.protocol}: {evaluation.data}", soft_wrap=True)
    console.print(_table(evaluation.models, [each for each in measures_of(evaluation.models) if each in shown]))
    if also:
        console.print(_table(evaluation.models, also, wide=False))
    for check in evaluation.checks:
        console.print(check.described, soft_wrap=True)
    for note in evaluation.notes:
        console.print(f"- {note}", soft_wrap=True)
    if json_file is not None:
        _write_file(json_file, as_json(evaluation))
    if html_file is not None:
        _write_file(html_file, as_html(evaluation).encode())


def _write_file(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        fail(f"error: {file} cannot be written: {error.strerror or error}; name another file", BAD_INPUT)


def _fail_unless_it_holds(evaluation: Evaluation) -> None:
    failed = [check for check in evaluation.checks if check.required and not check.holds]
    if failed:
        fail("\n".join(f"error: it does not hold that {check.claim}: {check.figures}" for check in failed), FAILED)


def _table(models: Mapping[str, Mapping[str, Estimate]], measures: Sequence[str], *, wide: bool = True) -> Table:
    """One row for each model; if `wide`, the first measure with its interval."""
    table = Table()
    table.add_column("model")
    for measure in measures:
        table.add_column(measure, justify="right", overflow="fold")
    for name, values in models.items():
        table.add_row(name, *(_cell(values.get(measure), wide=wide and measure == measures[0]) for measure in measures))
    return table


def _cell(value: Estimate | None, *, wide: bool) -> str:
    if value is None:
        return ""
    return f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]" if wide else f"{value.mean:.3f}"


@contextmanager
def _progress() -> Iterator[Advance]:
    """Show a progress bar on a terminal; otherwise print a line to standard error as each model starts."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda name, done, total: typer.echo(f"{done}/{total} {name}", err=True)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ProgressBar(*columns, console=console) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda name, done, total: bar.update(task, description=name, completed=done, total=total)
