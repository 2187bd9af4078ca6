"""Evaluates how well learner models predict each response of unseen learners."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from services.recommender.domain.training.metrics import CALIBRATION_BINS, calibration_bins
from services.recommender.domain.training.responses import ResponseTable
from services.recommender.evaluation.data import (
    has_responses,
    has_tracing_split,
    read_responses,
    read_tracing_table,
)
from services.recommender.evaluation.intervals import (
    Draws,
    Estimate,
    Floats,
    compared,
    estimate,
    of_forecasts,
)
from services.recommender.evaluation.new_items import NewItems, check_new_items, predict_new_items
from services.recommender.evaluation.results import SERVED, Evaluation, Reliability
from services.recommender.evaluation.tables import DataUnusableError
from services.recommender.evaluation.twins import NO_TWINS, Twins, find_twins
from services.recommender.models.tracing.baselines import (
    Constant,
    Elo,
    Filter,
    Rasch,
    Served,
    TracingModel,
)
from services.recommender.models.tracing.bkt import KnowledgeTracing
from services.recommender.models.tracing.logistic import LogisticOnCounts

DRAWS = 200
SEED = 1
# The models that are fitted again without some items.
_FOR_NEW_ITEMS = ("constant", "best_lr", "filter", SERVED)
# Slices of the data by the number of earlier attempts at the skills of a response: first, and one past the last.
_ATTEMPTS = {"attempt 1": (0, 1), "attempts 2-5": (1, 5), "attempts 6+": (5, np.inf)}

_NEW_ITEMS = "new items"

_NO_AUC = (
    "There is no AUC: in the data or in a resample of the learners, all responses are right or all are wrong. More "
    "learners with both are needed."
)

Advance = Callable[[str, int, int], None]


@dataclass(frozen=True)
class TracingSplit:
    """Responses to fit and to evaluate models on: of different learners, in tables with the same ids.

    Attributes:
        train: to fit on.
        test: to evaluate on.
        description: the data and the split in words.
        twins: how many learners were left out.
        whole: the responses of all of these learners; None: not known.
    """

    train: ResponseTable
    test: ResponseTable
    description: str
    twins: Twins = NO_TWINS
    whole: ResponseTable | None = None


def split_learners(folder: Path, *, keep_twins: bool = False) -> TracingSplit:
    """Read the split of `train.tsv` and `test.tsv`, if the folder has them; otherwise split by learner.

    Args:
        folder: holds the files.
        keep_twins: keep near-identical learners.

    Raises:
        DataUnusableError: when a file is missing or malformed.
    """
    split = given_split if has_tracing_split(folder) else split_by_learner
    return split(folder, keep_twins=keep_twins)


def given_split(folder: Path, *, keep_twins: bool = False) -> TracingSplit:
    """Read the split of `train.tsv` and `test.tsv`.

    Args:
        folder: holds the files.
        keep_twins: keep near-identical learners.

    Raises:
        DataUnusableError: when a file is missing or malformed, or a learner is in both.
    """
    table, (train, test) = read_tracing_table(folder, ("train.tsv", "test.tsv"))
    if both := {*train.values()} & {*test.values()}:
        raise DataUnusableError(f"{folder}: {len(both)} learners are in both train.tsv and test.tsv")
    return _split(
        table, frozenset(train.values()), f"{folder.name}: learners split as in the files", keep_twins=keep_twins
    )


def split_by_learner(folder: Path, *, keep_twins: bool = False) -> TracingSplit:
    """Read `responses.csv` or `responses.tsv`: 70 % of the learners to fit on, 30 % to evaluate on, drawn with seed 1.

    Args:
        folder: holds the files.
        keep_twins: keep near-identical learners.

    Raises:
        DataUnusableError: when a file is missing or malformed.
    """
    if has_responses(folder):
        table = read_responses(folder)
        learners = {learner: learner for learner in table.learners}
    else:
        table, (learners,) = read_tracing_table(folder, ("responses.tsv",))
    # This puts numeric ids of different lengths in numeric order.
    ids = sorted(learners, key=lambda identifier: (len(identifier), identifier))
    chosen = np.random.default_rng(SEED).permutation(len(ids))[: int(0.7 * len(ids))]
    train = frozenset(learners[ids[number]] for number in chosen)
    return _split(
        table,
        train,
        f"{folder.name}: 70 % of the learners for fitting, 30 % for evaluation, seed {SEED}",
        keep_twins=keep_twins,
    )


def evaluate_tracing(
    protocol: str, split: TracingSplit, *, commit: str = "", advance: Advance = lambda *_: None
) -> Evaluation:
    """Fit every model on some learners, and evaluate it on the others.

    Args:
        protocol: its name.
        split: the data.
        commit: of the code.
        advance: progress callback: the current model, models done, models in total.
    """
    models = tracing_models()
    steps = len(models) + len(_FOR_NEW_ITEMS)
    chances: dict[str, Floats] = {}
    elapsed_s: dict[str, float] = {}
    # One thread: sums keep the same order, and no time goes into synchronising threads on a busy machine.
    with threadpool_limits(1):
        for number, (name, model) in enumerate(models.items()):
            advance(name, number, steps)
            started_s = time.perf_counter()
            model.fit(split.train)
            chances[name] = model.predict(split.test)
            elapsed_s[name] = round(time.perf_counter() - started_s, 3)
        new_items = predict_new_items(
            split.train,
            split.test,
            {name: models[name] for name in _FOR_NEW_ITEMS},
            seed=SEED,
            advance=lambda name: advance(f"{name}, new items", len(models) + _FOR_NEW_ITEMS.index(name), steps),
        )
    advance("intervals", steps, steps)
    everything = np.ones(len(split.test), np.bool_)
    values = _measured(split.test, chances, everything)
    slices = _slices(split.test, chances, new_items)
    return Evaluation(
        protocol=protocol,
        data=f"{split.description}; fitted on {_described(split.train)}, evaluated on {_described(split.test)}",
        commit=commit,
        models=_estimates(values),
        differences=compared(values, SERVED),
        slices=slices,
        reliability={name: _reliability(split.test, chance) for name, chance in chances.items()},
        checks=(check_new_items(slices[_NEW_ITEMS]),) if _NEW_ITEMS in slices else (),
        twins=split.twins._asdict(),
        notes=(
            split.twins.note,
            "Each response is one row; measures are pooled over rows.",
            "Parameters of items and skills stay as fitted during the evaluation.",
            f"Intervals are central 95 % of {DRAWS} bootstrap resamples of learners; differences use the same ones.",
            *(() if "auc" in values[SERVED] else (_NO_AUC,)),
        ),
        seeds={"bootstrap": SEED, "held-out learners": SEED, "new items": SEED},
        elapsed_s=elapsed_s,
    )


def tracing_models() -> Mapping[str, TracingModel]:
    """Return every learner model by name; `cairn` is the served model, `filter` lacks its success model."""
    return {
        "constant": Constant(),
        "elo": Elo(seed=SEED),
        "elo_multi_concept": Elo(seed=SEED, per_skill=True),
        "rasch_online": Rasch(),
        "bkt": KnowledgeTracing(),
        "pfa": LogisticOnCounts(),
        "best_lr": LogisticOnCounts(best=True),
        "filter": Filter(seed=SEED),
        SERVED: Served(seed=SEED),
    }


def _slices(
    table: ResponseTable, chances: Mapping[str, Floats], new_items: NewItems | None
) -> dict[str, dict[str, dict[str, Estimate]]]:
    attempts = prior_attempts(table)
    parts = {name: (attempts >= low) & (attempts < high) for name, (low, high) in _ATTEMPTS.items()}
    slices = {name: _estimates(_measured(table, chances, rows)) for name, rows in parts.items() if rows.any()}
    if new_items is not None:
        slices[_NEW_ITEMS] = _estimates(_measured(table, new_items.chances, new_items.rows))
    return slices


def prior_attempts(table: ResponseTable) -> NDArray[np.float64]:
    """Return how often the learner of each response met its skills before, as a mean over the skills."""
    attempts = np.zeros(len(table))
    counts: dict[tuple[int, int], int] = {}
    rows = table.skill_rows()
    shares = 1.0 / np.maximum(np.diff(table.skill_start), 1)
    for row, learner, skill in zip(rows.tolist(), table.learner[rows].tolist(), table.skill.tolist(), strict=True):
        met = counts.get((learner, skill), 0)
        attempts[row] += shares[row] * met
        counts[learner, skill] = met + 1
    return attempts


def _measured(
    table: ResponseTable, chances: Mapping[str, Floats], rows: NDArray[np.bool_]
) -> dict[str, dict[str, Floats]]:
    _, learner = np.unique(table.learner[rows], return_inverse=True)
    draws = Draws.of(int(learner.max()) + 1, draws=DRAWS, seed=SEED)
    outcome = table.response[rows].astype(np.float64)
    measured = {name: of_forecasts(learner, outcome, chance[rows], draws) for name, chance in chances.items()}
    # With right or with wrong responses only, as a draw of few learners may have, there is no AUC.
    return {
        name: {measure: drawn for measure, drawn in measures.items() if not np.isnan(drawn).any()}
        for name, measures in measured.items()
    }


def _estimates(values: Mapping[str, Mapping[str, Floats]]) -> dict[str, dict[str, Estimate]]:
    return {
        name: {measure: estimate(drawn) for measure, drawn in measures.items()} for name, measures in values.items()
    }


def _reliability(table: ResponseTable, chance: Floats) -> Reliability:
    which = calibration_bins(chance)
    responses = np.bincount(which, minlength=CALIBRATION_BINS)
    used = responses > 0
    predicted = np.bincount(which, weights=chance, minlength=CALIBRATION_BINS)[used] / responses[used]
    observed = np.bincount(which, weights=table.response, minlength=CALIBRATION_BINS)[used] / responses[used]
    return Reliability(predicted.round(4).tolist(), observed.round(4).tolist(), responses[used].tolist())


def _split(table: ResponseTable, train: frozenset[str], description: str, *, keep_twins: bool) -> TracingSplit:
    """Split by learner. Twins are left out last, so that the others stay on the side they are on with twins.

    Raises:
        DataUnusableError: when no learner is on one side.
    """
    chosen = np.array([learner in train for learner in table.learners], np.bool_)
    kept, twins = find_twins(table, graded=True, keep=keep_twins)
    described = f"{description}{twins.described}"
    to_fit, to_evaluate = chosen & kept, ~chosen & kept
    if not to_fit.any() or not to_evaluate.any():
        raise DataUnusableError(
            f"{described}: {to_fit.sum()} learners are left to fit on, and {to_evaluate.sum()} to evaluate on; add "
            "learners until both have one"
        )
    return TracingSplit(
        table.of_learners(to_fit), table.of_learners(to_evaluate), described, twins, table.of_learners(kept)
    )


def _described(table: ResponseTable) -> str:
    return f"{len(table):,} responses of {len(np.unique(table.learner)):,} learners"
