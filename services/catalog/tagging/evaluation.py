"""Cross-validation of the tagger: five folds, near-duplicates never split.

The folds are split by groups of near-duplicates. Everything is fitted on the other four folds: vocabulary, scores,
stacking, calibration, and the confidence thresholds of given and applied tags. The skills and their statements are
known throughout, as they are to a catalog.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import orjson
import scipy.sparse
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from services.catalog.tagging.examples import Example, NotEnoughExamplesError, Statement, statements_for
from services.catalog.tagging.near_duplicates import near_duplicate_groups
from services.catalog.tagging.precision import precision_curve
from services.catalog.tagging.scores import WAYS
from services.catalog.tagging.stacking import carried, ranks
from services.catalog.tagging.tagger import (
    EXAMPLES_MIN,
    GROUPS_MIN,
    Assessment,
    HeldOut,
    SkillTagger,
    fit_tagger,
    recalls_at,
    targets_of,
)
from services.catalog.tagging.tagger import STAGES as FIT_STAGES

SERVED = "cairn"
FOLDS = 5
# So that the other folds have enough to learn from.
_GROUPS_MIN = math.ceil(GROUPS_MIN * FOLDS / (FOLDS - 1))
APPLY_PRECISION = 0.9
# How often `evaluate` reports progress.
STAGES = 1 + FOLDS * (FIT_STAGES + 1)
_DRAWS = 1_000
BOOTSTRAP = f"Intervals: {_DRAWS:,} bootstrap samples of groups of near-duplicates, central 95 %."
_BINS = 15
_CENTRAL_95 = (2.5, 97.5)
_ABOUT_TAGS = (
    "micro_f1: tags from the confidence on at which micro-F1 was best on held-out examples of the other folds; "
    "precision_at_1 and recall_at_5 look at the order alone."
)
_ABOUT_APPLYING = (
    f"auto_apply: tags from the confidence on at which held-out precision in the other folds was at least "
    f"{APPLY_PRECISION} with 95 % confidence, apart for skills with and without examples; coverage is the share of "
    "resources that get one, precision the share of such tags that are right in the hidden fold."
)
# The baselines, each of which is one of the scores.
_BASELINES = {"nearest neighbour": WAYS.index("nearest by words"), "ridge": WAYS.index("ridge")}
# A candidate has three features for each of the baselines' ways; the first is the score itself.
_FEATURES_PER_WAY = 3

Floats = NDArray[np.float64]
Progress = Callable[[int, str], None]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric with its central 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class TaggingEvaluation:
    """The outcome.

    Attributes:
        protocol: its name.
        data: a description of the data.
        commit: of the code; empty when not known.
        models: metrics by model; the served one is `cairn`.
        differences: `cairn` minus each other model, on the same bootstrap samples.
        notes: how to read the figures.
        seeds: by their use.
    """

    protocol: str
    data: str
    commit: str
    models: Mapping[str, Mapping[str, Estimate]]
    differences: Mapping[str, Mapping[str, Estimate]]
    notes: tuple[str, ...] = ()
    seeds: Mapping[str, int] = field(default_factory=dict)

    def as_values(self) -> dict[str, Any]:
        """The evaluation as JSON-compatible values."""
        return asdict(self)

    def as_json(self) -> bytes:
        """The evaluation as indented JSON."""
        return orjson.dumps(self.as_values(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def evaluate(
    examples: Sequence[Example],
    statements: Sequence[Statement] = (),
    *,
    protocol: str,
    commit: str = "",
    seed: int = 0,
    progress: Progress = lambda _fold, _stage: None,
) -> TaggingEvaluation:
    """Run the protocol; examples without skills are ignored.

    Args:
        examples: all of the data.
        statements: statements of the skills, where known.
        protocol: its name in the report.
        commit: of the code.
        seed: of the folds and of the bootstrap.
        progress: called with the fold, from 0, and the name of the stage.

    Raises:
        NotEnoughExamplesError: when there are too few examples for five folds.
    """
    tagged = [example for example in examples if example.skills]
    if len(tagged) < FOLDS * EXAMPLES_MIN:
        raise NotEnoughExamplesError(
            f"there are {len(tagged)} tagged resources; five folds need at least {FOLDS * EXAMPLES_MIN}"
        )
    progress(0, "near-duplicates")
    groups = near_duplicate_groups([example.own_text or example.text for example in tagged])
    if groups.max() + 1 < _GROUPS_MIN:
        raise NotEnoughExamplesError(
            f"there are {groups.max() + 1} groups of near-duplicates among the {len(tagged)} tagged resources; five "
            f"folds need at least {_GROUPS_MIN}: numbers and single letters do not tell texts apart, so add resources "
            "with other words"
        )
    described = statements_for(tagged, statements)
    tallies: dict[str, Floats] = {}
    folds = GroupKFold(FOLDS, shuffle=True, random_state=seed).split(tagged, groups=groups)
    for fold, (shown, hidden) in enumerate(folds):
        learned_from = [tagged[row] for row in shown]
        tagger, held_out = fit_tagger(learned_from, described, seed=seed, progress=partial(progress, fold))
        progress(fold, "the hidden fold")
        outcome = _Fold(tagger, held_out, [tagged[row] for row in hidden])
        for name, tally in outcome.tallies().items():
            tallies.setdefault(name, np.zeros((len(tagged), tally.shape[1])))[hidden] = tally
    skills = len(described)
    models, differences = estimates(tallies, groups, seed, _measures)
    return TaggingEvaluation(
        protocol=protocol,
        data=f"{len(tagged):,} tagged resources in {groups.max() + 1:,} groups of near-duplicates, {skills:,} skills",
        commit=commit,
        models=models,
        differences=differences,
        notes=(
            _ABOUT_TAGS,
            _ABOUT_APPLYING,
            BOOTSTRAP,
        ),
        seeds={"folds": seed, "bootstrap": seed},
    )


# What is counted for each resource, so that every metric is a ratio of sums. The served tagger's counts continue with
# its applied tags of skills without examples, those of them that are right, and its calibration bins.
_COUNTED = ("right", "given", "carried", "first_right", "recall_at_5", "applied", "applied_right", "covered", "one")


class _Fold:
    """One fold: thresholds from its training part, and results on its held-out resources."""

    def __init__(self, tagger: SkillTagger, held_out: HeldOut, hidden: Sequence[Example]) -> None:
        self._held_out = held_out
        self._hidden, _ = tagger.assess(hidden)
        applied_from = tagger.applied_from(APPLY_PRECISION)
        self._applied_from = np.array([applied_from.get(skill, np.inf) for skill in tagger.skills])
        self._targets = targets_of(hidden, tagger.skills)

    def tallies(self) -> dict[str, Floats]:
        """(resources, counted) by model; the served one also has calibration bins of its first suggestions."""
        tallies = {SERVED: self._tally(self._held_out.assessment, self._hidden, served=True)}
        for name, way in _BASELINES.items():
            tallies[name] = self._tally(_by_way(self._held_out.assessment, way), _by_way(self._hidden, way))
        tallies["majority"] = self._majority()
        return tallies

    def _tally(self, shown: Assessment, hidden: Assessment, *, served: bool = False) -> Floats:
        curve = precision_curve(
            shown.confidences,
            carried(shown.candidates, self._held_out.targets),
            shown.candidates.texts,
            self._held_out.groups,
            int(self._held_out.targets.sum()),
        )
        supported = curve.supporting(APPLY_PRECISION)
        texts = hidden.candidates.texts
        right = carried(hidden.candidates, self._targets)
        first = ranks(texts, hidden.sums) == 0
        given = hidden.confidences >= curve.best_f1().confidence
        if served:
            applied = hidden.confidences >= self._applied_from[hidden.candidates.skills]
        else:
            applied = hidden.confidences >= (supported.confidence if supported else np.inf)
        without = applied & ~hidden.candidates.with_examples
        size = self._targets.shape[0]

        def per_resource(pairs: NDArray[np.bool_]) -> Floats:
            return np.bincount(texts, weights=pairs, minlength=size).astype(np.float64)

        columns = [
            per_resource(given & right),
            per_resource(given),
            self._carried(),
            per_resource(first & right),
            recalls_at(hidden, self._targets, 5),
            per_resource(applied),
            per_resource(applied & right),
            (per_resource(applied) > 0).astype(np.float64),
            np.ones(size),
        ]
        if served:
            columns += [per_resource(without), per_resource(without & right)]
            # Every text has candidates, so it has a first suggestion.
            columns += _bins(hidden.confidences[first], right[first])
        return np.stack(columns, axis=1)

    def _majority(self) -> Floats:
        most = np.argsort(-np.asarray(self._held_out.targets.sum(axis=0)).ravel(), kind="stable")[:5]
        hits = self._targets[:, most].toarray()
        size = len(hits)
        right = hits[:, 0].astype(np.float64)
        recall = hits.sum(axis=1) / np.maximum(self._carried(), 1)
        none = np.zeros(size)
        return np.stack([right, np.ones(size), self._carried(), right, recall, none, none, none, np.ones(size)], axis=1)

    def _carried(self) -> Floats:
        return np.asarray(self._targets.sum(axis=1), dtype=np.float64).ravel()


def _by_way(assessment: Assessment, way: int) -> Assessment:
    scores = assessment.candidates.features[:, _FEATURES_PER_WAY * way].astype(np.float64)
    return Assessment(assessment.candidates, scores, scores)


def _bins(confidences: Floats, right: NDArray[np.bool_]) -> list[Floats]:
    place = np.minimum((confidences * _BINS).astype(np.int64), _BINS - 1)
    return [
        np.where(place == number, off, 0.0)
        for number in range(_BINS)
        for off in (confidences - right.astype(np.float64),)
    ]


def estimates(
    tallies: Mapping[str, Floats],
    groups: NDArray[np.int64],
    seed: int,
    measures_of: Callable[[Floats], dict[str, Floats]],
) -> tuple[dict[str, dict[str, Estimate]], dict[str, dict[str, Estimate]]]:
    """Measures by model, and the served tagger's minus each other model's, with intervals over groups.

    Args:
        tallies: (resources, counted) by model; one of them is `cairn`.
        groups: of each resource; a group is drawn as a whole.
        seed: of the samples.
        measures_of: measures of sums of counts: (samples, counted).
    """
    count = int(groups.max()) + 1
    members = scipy.sparse.csr_matrix((np.ones(len(groups)), (groups, np.arange(len(groups)))))
    rng = np.random.default_rng(seed)
    # The first row has every group once, for the metric itself.
    draws = np.vstack([np.ones(count), rng.multinomial(count, np.full(count, 1 / count), size=_DRAWS)])
    values = {name: measures_of(draws @ (members @ tally)) for name, tally in tallies.items()}
    models = {name: {measure: _estimate(drawn) for measure, drawn in of.items()} for name, of in values.items()}
    differences = {
        name: {
            measure: _estimate(values[SERVED][measure] - drawn)
            for measure, drawn in of.items()
            if measure in values[SERVED]
        }
        for name, of in values.items()
        if name != SERVED
    }
    return models, differences


def _measures(sums: Floats) -> dict[str, Floats]:
    of = dict(zip(_COUNTED, sums.T, strict=False))
    measures = {
        "micro_f1": 2 * of["right"] / (of["given"] + of["carried"]),
        "precision_at_1": of["first_right"] / of["one"],
        "recall_at_5": of["recall_at_5"] / of["one"],
        "auto_apply_coverage": of["covered"] / of["one"],
    }
    if (of["applied"] > 0).all():
        measures["auto_apply_precision"] = of["applied_right"] / of["applied"]
    if sums.shape[1] > len(_COUNTED):
        without, without_right, *bins = sums[:, len(_COUNTED) :].T
        if (without > 0).all():
            measures["auto_apply_precision_without_examples"] = without_right / without
        measures["ece"] = np.abs(np.asarray(bins)).sum(axis=0) / of["one"]
    return measures


def _estimate(drawn: Floats) -> Estimate:
    low, high = np.percentile(drawn[1:], _CENTRAL_95)
    return Estimate(float(drawn[0]), float(low), float(high))
