"""Measures suggestions of skills that no resource is tagged with yet: a framework that is new to the catalog.

Nothing but the statements of the new framework's skills is known, and only these skills are suggested. Either the
tagger learns from the resources of another framework, or the skills of the data are split into five folds, and each
fold is a new framework to a tagger that learns from the resources of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from services.catalog.tagging.evaluation import (
    APPLY_PRECISION,
    BOOTSTRAP,
    FOLDS,
    SERVED,
    Floats,
    Progress,
    TaggingEvaluation,
    estimates,
)
from services.catalog.tagging.examples import Example, NotEnoughExamplesError, Statement, statements_for
from services.catalog.tagging.near_duplicates import near_duplicate_groups
from services.catalog.tagging.stacking import carried, ranks
from services.catalog.tagging.statement_ranking import WAYS_COMPARED, scores_of
from services.catalog.tagging.tagger import Assessment, fit_tagger, recalls_at, targets_of

Material = tuple[Sequence[Example], Sequence[Statement]]

_KNOWN, _NEW = "known", "new"
_PLACES = 5
_COUNTED = (
    "first_right",
    "recall_at_5",
    "confident",
    "confident_right",
    "sure",
    "applied",
    "applied_right",
    "covered",
    "one",
)
_ABOUT_CONFIDENT = (
    f"confident: tags of a confidence of at least {APPLY_PRECISION}, which would be written if what was learned from "
    "other skills were trusted; coverage is the share of resources that get one."
)
_NOTES = (
    "Only skills of the new framework count, as suggestions and as tags of the resources.",
    "auto_apply: tags that are written without a person; without examples of the framework there are none.",
    _ABOUT_CONFIDENT,
    BOOTSTRAP,
)


@dataclass(frozen=True, slots=True)
class _Trial:
    """What a tagger learns from, and the resources and skills that are new to it."""

    examples: list[Example]
    statements: list[Statement]
    hidden: list[int]
    skills: set[str]


def evaluate_new_framework(
    examples: Sequence[Example],
    statements: Sequence[Statement] = (),
    *,
    learned_from: Material | None = None,
    protocol: str,
    commit: str = "",
    seed: int = 0,
    progress: Progress = lambda _fold, _stage: None,
) -> TaggingEvaluation:
    """Run the protocol; examples without skills are ignored.

    Args:
        examples: all of the data.
        statements: statements of the skills, where known.
        learned_from: resources of another framework; None: five folds of skills.
        protocol: its name in the report.
        commit: of the code.
        seed: of the folds and of the bootstrap.
        progress: called with the fold, from 0, and the name of the stage.

    Raises:
        NotEnoughExamplesError: when there are too few examples to learn from or to measure.
    """
    tagged = [example for example in examples if example.skills]
    described = statements_for(tagged, statements)
    if len(tagged) < _PLACES or len(described) < FOLDS:
        raise NotEnoughExamplesError(
            f"there are {len(tagged)} tagged resources, and {len(described)} skills; "
            f"name a folder with at least {_PLACES} tagged resources and {FOLDS} skills"
        )
    progress(0, "near-duplicates")
    groups = near_duplicate_groups([example.own_text or example.text for example in tagged])
    trials = _of_another(tagged, described, learned_from) if learned_from else _folds(tagged, described, groups, seed)
    tallies: dict[str, list[Floats]] = {}
    rows: list[int] = []
    for fold, trial in enumerate(trials):
        for name, tally in _run(trial, tagged, seed, partial(progress, fold)).items():
            tallies.setdefault(name, []).append(tally)
        rows += trial.hidden
    models, differences = estimates(
        {name: np.concatenate(parts) for name, parts in tallies.items()}, groups[rows], seed, _measures
    )
    about = "learned from another framework" if learned_from else f"{FOLDS} folds of skills"
    return TaggingEvaluation(
        protocol=protocol,
        data=f"{len(set(rows)):,} resources in {len(set(groups[rows])):,} groups of near-duplicates, "
        f"{len(described):,} skills without examples, {about}",
        commit=commit,
        models=models,
        differences=differences,
        notes=_NOTES,
        seeds={"folds": seed, "bootstrap": seed},
    )


def _run(trial: _Trial, tagged: list[Example], seed: int, progress: Callable[[str], None]) -> dict[str, Floats]:
    """What is counted for each hidden resource, by model."""
    hidden = [tagged[row] for row in trial.hidden]
    # The tagger knows the words of the resources that wait for tags, as in a catalog.
    waiting = [replace(example, skills=()) for example in hidden]
    tagger, _ = fit_tagger([*trial.examples, *waiting], trial.statements, seed=seed, progress=progress)
    progress("the new framework")
    _, assessment = tagger.assess(hidden)
    if assessment is None:
        raise NotEnoughExamplesError("no skill is new to the tagger: the data to learn from has them all")
    targets = targets_of(hidden, [skill if skill in trial.skills else "" for skill in tagger.skills])
    applied_from = tagger.applied_from(APPLY_PRECISION)
    limits = np.array([applied_from.get(skill, np.inf) for skill in tagger.skills])
    of_ways = {way: _tally(_by_way(assessment, way), targets, limits) for way in WAYS_COMPARED}
    return {SERVED: _tally(assessment, targets, limits)} | of_ways


def _of_another(tagged: list[Example], described: list[Statement], learned_from: Material) -> Iterator[_Trial]:
    examples, statements = learned_from
    learned = [example for example in examples if example.skills]
    new = {statement.skill for statement in described}
    known = [replace(one, framework=_KNOWN) for one in statements_for(learned, statements)]
    if clashing := new & {statement.skill for statement in known}:
        raise NotEnoughExamplesError(
            f"the skill {min(clashing)!r} is in both data sets; name data of another framework to learn from"
        )
    yield _Trial(learned, [*known, *(replace(one, framework=_NEW) for one in described)], list(range(len(tagged))), new)


def _folds(tagged: list[Example], described: list[Statement], groups: NDArray[np.int64], seed: int) -> Iterator[_Trial]:
    shuffled = np.random.default_rng(seed).permutation([statement.skill for statement in described])
    for fold in range(FOLDS):
        new = set(shuffled[fold::FOLDS].tolist())
        hidden = [row for row, example in enumerate(tagged) if new & set(example.skills)]
        gone = np.isin(groups, groups[hidden])
        statements = [replace(one, framework=_NEW if one.skill in new else _KNOWN) for one in described]
        yield _Trial([tagged[row] for row in np.flatnonzero(~gone)], statements, hidden, new)


def _by_way(assessment: Assessment, way: str) -> Assessment:
    scores = scores_of(assessment.candidates, way).astype(np.float64)
    # A score is no probability: whoever uses it alone applies nothing.
    return Assessment(assessment.candidates, scores, np.zeros(len(scores)))


def _tally(assessment: Assessment, targets: scipy.sparse.csr_matrix, limits: Floats) -> Floats:
    texts = assessment.candidates.texts
    right = carried(assessment.candidates, targets)
    confident = assessment.confidences >= APPLY_PRECISION
    applied = assessment.confidences >= limits[assessment.candidates.skills]
    size = targets.shape[0]

    def per_resource(pairs: NDArray[np.bool_]) -> Floats:
        return np.bincount(texts, weights=pairs, minlength=size).astype(np.float64)

    return np.stack(
        [
            per_resource((ranks(texts, assessment.sums) == 0) & right),
            recalls_at(assessment, targets, _PLACES),
            per_resource(confident),
            per_resource(confident & right),
            (per_resource(confident) > 0).astype(np.float64),
            per_resource(applied),
            per_resource(applied & right),
            (per_resource(applied) > 0).astype(np.float64),
            np.ones(size),
        ],
        axis=1,
    )


def _measures(sums: Floats) -> dict[str, Floats]:
    of = dict(zip(_COUNTED, sums.T, strict=True))
    measures = {
        "precision_at_1": of["first_right"] / of["one"],
        "recall_at_5": of["recall_at_5"] / of["one"],
        "auto_apply_coverage": of["covered"] / of["one"],
        "confident_coverage": of["sure"] / of["one"],
    }
    for name in ("applied", "confident"):
        if (of[name] > 0).all():
            measures[f"{'auto_apply' if name == 'applied' else name}_precision"] = of[f"{name}_right"] / of[name]
    return measures
