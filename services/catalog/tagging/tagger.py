"""The tagger: learns from tagged resources, and suggests skills for others with calibrated confidences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from services.catalog.tagging.examples import (
    Example,
    NotEnoughExamplesError,
    Statement,
    statements_for,
    with_equivalents,
)
from services.catalog.tagging.near_duplicates import near_duplicate_groups
from services.catalog.tagging.precision import PrecisionCurve, precision_curve
from services.catalog.tagging.scores import WAYS, Scorer, fit_scorer
from services.catalog.tagging.stacking import (
    Candidates,
    Mean,
    Stacker,
    Weights,
    candidates_of,
    carried,
    fit_stacker,
    joined,
    ranks,
)
from services.catalog.tagging.statement_ranking import candidates_by_statement, fit_statement_ranker
from services.catalog.tagging.vectors import TextVectors

EXAMPLES_MIN = 20
GROUPS_MIN = 10
MEMORY_BYTES_MAX = 3 * 1024**3
# How often `fit_tagger` reports progress.
STAGES = 4
_FLOAT_BYTES = 4
_BATCH_TEXTS = 2_048

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A skill that a resource may be about, with its confidence, above 0 and below 1."""

    skill: str
    confidence: float


@dataclass(frozen=True, slots=True)
class AppliedCurve:
    """What tags of some skills were worth on held-out resources. Only these tell which may be written without a person.

    Attributes:
        framework: of the skills.
        with_examples: whether the skills have examples, apart from the resource's near-duplicates.
        curve: precision, recall and coverage by confidence.
    """

    framework: str
    with_examples: bool
    curve: PrecisionCurve


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The training data of a tagger, and its quality on held-out groups.

    Attributes:
        examples: number of tagged resources in the training data.
        examples_left_out: number of others that did not fit into memory.
        groups: number of groups of near-duplicates.
        examples_per_skill: number of examples by skill; 0 for a skill with a statement only.
        recall_at_5: mean share of a resource's skills among the first five suggestions.
        curve: precision, recall and coverage by confidence.
        applied: the same for the skills of each framework with examples, apart by whether a skill has any.
        seed: of the folds.
    """

    examples: int
    examples_left_out: int
    groups: int
    examples_per_skill: dict[str, int]
    recall_at_5: float
    curve: PrecisionCurve
    applied: tuple[AppliedCurve, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Assessment:
    """The tagger's candidates for some texts.

    Attributes:
        candidates: pairs of text and skill.
        sums: logits, which order the skills of a text.
        confidences: the probability that each pair is right.
    """

    candidates: Candidates
    sums: NDArray[np.float64]
    confidences: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The tagger's candidates for its own examples, with their groups held out.

    Attributes:
        assessment: of the examples' texts.
        targets: (examples, skills), 1 where the example carries the skill.
        groups: of each example.
    """

    assessment: Assessment
    targets: scipy.sparse.csr_matrix
    groups: NDArray[np.int64]


class SkillTagger:
    """A fitted tagger; immutable."""

    def __init__(
        self,
        skills: Sequence[str],
        frameworks: Sequence[str],
        vectors: TextVectors,
        scorer: Scorer,
        stacker: Stacker[Mean],
        ranker: Stacker[Weights] | None,
        card: ModelCard,
    ) -> None:
        """Use `fit_tagger` or `load_tagger`.

        Each skill has its framework. The ranker is for frameworks without examples; None: there are none.
        """
        self.skills = tuple(skills)
        self.frameworks = tuple(frameworks)
        self.vectors = vectors
        self.scorer = scorer
        self.stacker = stacker
        self.ranker = ranker
        self.card = card
        self._known = _known(self.frameworks, scorer.targets)

    def suggest(self, resources: Sequence[Example], limit: int = 5) -> list[list[Suggestion]]:
        """The most likely skills of each resource, most likely first.

        Args:
            resources: their own skills are ignored.
            limit: the most suggestions for each.
        """
        suggestions: list[list[Suggestion]] = []
        for start in range(0, len(resources), _BATCH_TEXTS):
            suggestions += self._suggest(resources[start : start + _BATCH_TEXTS], limit)
        return suggestions

    def assess(self, resources: Sequence[Example]) -> tuple[Assessment, Assessment | None]:
        """All candidates of the resources: of frameworks with examples, and of the others; memory grows with them."""
        vectors = self.vectors.transform([resource.text for resource in resources])
        known, new = [], []
        for block in self.scorer.score(vectors, [resource.context for resource in resources]):
            known.append(candidates_of([block], self._known))
            if self.ranker:
                new.append(candidates_by_statement([block], ~self._known))
        return _assessment(self.stacker, joined(known)), _assessment(self.ranker, joined(new)) if self.ranker else None

    def applied_from(self, precision: float) -> dict[str, float]:
        """From which confidence on at least this share of a skill's tags is right; absent: from none on.

        Held-out resources say this of skills of the same framework, and apart of those with and without examples.
        """
        levels = {(one.framework, one.with_examples): one.curve.supporting(precision) for one in self.card.applied}
        found = {
            skill: levels.get((framework, self.card.examples_per_skill[skill] > 0))
            for skill, framework in zip(self.skills, self.frameworks, strict=True)
        }
        return {skill: level.confidence for skill, level in found.items() if level}

    def _suggest(self, resources: Sequence[Example], limit: int) -> list[list[Suggestion]]:
        suggestions: list[list[Suggestion]] = [[] for _ in resources]
        for assessment in filter(None, self.assess(resources)):
            candidates = assessment.candidates
            place = ranks(candidates.texts, assessment.sums)
            for pair in np.lexsort((place, candidates.texts)):
                if place[pair] < limit:
                    suggestion = Suggestion(self.skills[candidates.skills[pair]], float(assessment.confidences[pair]))
                    suggestions[candidates.texts[pair]].append(suggestion)
        return [sorted(found, key=lambda one: -one.confidence)[:limit] for found in suggestions]


def fit_tagger(
    examples: Sequence[Example],
    statements: Sequence[Statement] = (),
    *,
    seed: int = 0,
    memory_bytes_max: int = MEMORY_BYTES_MAX,
    progress: Progress = lambda _: None,
) -> tuple[SkillTagger, HeldOut]:
    """Fit a tagger.

    Args:
        examples: tagged resources; of those without skills only the words are used, where a framework has no examples.
        statements: statements of skills. The default is the skill's id; skills without examples can be suggested, too.
            Skills that are the same share their examples.
        seed: of the folds, and of the sample of examples when there are too many. Fitting is deterministic.
        memory_bytes_max: approximate limit. If it is exceeded, the skills with the most examples lose some.
        progress: called with the name of each stage.

    Returns:
        The tagger, and its candidates for its own examples when they are held out.

    Raises:
        NotEnoughExamplesError: when there are too few examples, or too few distinct ones, to fit or to hold out.
    """
    tagged = [example for example in with_equivalents(examples, statements) if example.skills]
    described = statements_for(tagged, statements)
    kept = within_memory(tagged, len(described), memory_bytes_max, seed)
    progress(f"{len(kept):,} examples of {len(described):,} skills: near-duplicates")
    groups = near_duplicate_groups([example.own_text or example.text for example in kept])
    if len(kept) < EXAMPLES_MIN or groups.max() + 1 < GROUPS_MIN:
        distinct = int(groups.max()) + 1 if len(groups) else 0
        raise NotEnoughExamplesError(
            f"there are {len(kept)} tagged resources, {distinct} of them different from each other; the tagger needs "
            f"{EXAMPLES_MIN} and {GROUPS_MIN}: tag more resources by hand first"
        )
    skills = [statement.skill for statement in described]
    targets = targets_of(kept, skills)
    progress("vocabulary")
    frameworks = [statement.framework for statement in described]
    known = _known(frameworks, targets)
    texts = [example.text for example in kept]
    if not known.all():
        # The examples may lack the words of a new framework and of the resources that wait for it.
        texts += [statement.text for statement, is_known in zip(described, known, strict=True) if not is_known]
        texts += [example.text for example in examples if not example.skills][: len(kept)]
    vectors, text_vectors = TextVectors.fit(texts)
    example_vectors = text_vectors.rows(0, len(kept))
    statement_vectors = vectors.transform([statement.text for statement in described])
    progress("scores, each example's group left out")
    contexts = [example.context for example in kept]
    scorer, blocks = fit_scorer(example_vectors, statement_vectors, targets, groups, contexts)
    progress("confidences on held-out folds")
    candidates = candidates_of(blocks, known)
    stacker, sums, confidences = fit_stacker(candidates, targets, groups, seed)
    held_out = HeldOut(Assessment(candidates, sums, confidences), targets, groups)
    ranker = None
    if not known.all():
        ranker = fit_statement_ranker(candidates_by_statement(blocks, known), targets, groups, seed)
    card = _card(held_out, described, len(tagged) - len(kept), seed)
    return SkillTagger(skills, frameworks, vectors, scorer, stacker, ranker, card), held_out


def targets_of(examples: Sequence[Example], skills: Sequence[str]) -> scipy.sparse.csr_matrix:
    """(examples, skills), float32, 1 where the example carries the skill; skills not listed are ignored."""
    column_of = {skill: column for column, skill in enumerate(skills)}
    pairs = [
        (row, column_of[skill])
        for row, example in enumerate(examples)
        for skill in dict.fromkeys(example.skills)
        if skill in column_of
    ]
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    ones = np.ones(len(pairs), dtype=np.float32)
    return scipy.sparse.csr_matrix((ones, (rows, columns)), shape=(len(examples), len(skills)))


def recalls_at(assessment: Assessment, targets: scipy.sparse.csr_matrix, places: int) -> NDArray[np.float64]:
    """Share of each text's skills among the first `places` of its candidates; NaN where it carries none."""
    candidates = assessment.candidates
    found = carried(candidates, targets) & (ranks(candidates.texts, assessment.sums) < places)
    hits = np.bincount(candidates.texts, weights=found, minlength=targets.shape[0])
    carries = np.asarray(targets.sum(axis=1), dtype=np.float64).ravel()
    recalls = np.full(len(hits), np.nan)
    np.divide(hits, carries, out=recalls, where=carries > 0)
    return recalls


def within_memory(examples: Sequence[Example], skills: int, memory_bytes_max: int, seed: int) -> list[Example]:
    """The examples that fit into memory, in their order: all of them, or up to the same number for each skill."""
    # The kernel and its inverse share one square; the scores, the weights and the targets are examples by skills.
    per_skill_bytes = _FLOAT_BYTES * skills * (len(WAYS) + 3)
    count_max = int(
        (np.sqrt(per_skill_bytes**2 + 4 * _FLOAT_BYTES * memory_bytes_max) - per_skill_bytes) / (2 * _FLOAT_BYTES)
    )
    if len(examples) <= count_max:
        return list(examples)
    # The index of each example among those of its rarest skill, after shuffling, so that no collection comes first.
    carrying = Counter(skill for example in examples for skill in example.skills)
    seen: Counter[str] = Counter()
    places = np.empty(len(examples), dtype=np.int64)
    for row in np.random.default_rng(seed).permutation(len(examples)):
        rarest = min(examples[row].skills, key=lambda skill: (carrying[skill], skill))
        places[row] = seen[rarest]
        seen[rarest] += 1
    kept = np.sort(np.argsort(places, kind="stable")[:count_max])
    return [examples[row] for row in kept]


def _known(frameworks: Sequence[str], targets: scipy.sparse.csr_matrix) -> NDArray[np.bool_]:
    """Of each skill, whether its framework has examples."""
    counts = np.asarray(targets.sum(axis=0)).ravel()
    with_examples = {framework for framework, count in zip(frameworks, counts, strict=True) if count}
    return np.array([framework in with_examples for framework in frameworks])


def _assessment(stacker: Stacker[Mean] | Stacker[Weights], candidates: Candidates) -> Assessment:
    sums = stacker.sums(candidates)
    return Assessment(candidates, sums, stacker.confidence(sums))


def _card(held_out: HeldOut, statements: Sequence[Statement], left_out: int, seed: int) -> ModelCard:
    assessment, targets = held_out.assessment, held_out.targets
    counts = np.asarray(targets.sum(axis=0), dtype=np.int64).ravel()
    _, of_skill = np.unique([statement.framework for statement in statements], return_inverse=True)
    of_pair, with_examples = of_skill[assessment.candidates.skills], assessment.candidates.with_examples
    applied = [
        AppliedCurve(framework, having, _curve(held_out, (of_pair == number) & (with_examples == having)))
        for number, framework in enumerate(sorted({statement.framework for statement in statements}))
        for having in (True, False)
        if counts[of_skill == number].any()
    ]
    return ModelCard(
        examples=targets.shape[0],
        examples_left_out=left_out,
        groups=int(held_out.groups.max()) + 1,
        examples_per_skill={one.skill: int(count) for one, count in zip(statements, counts, strict=True)},
        recall_at_5=float(np.nanmean(recalls_at(assessment, targets, 5))),
        curve=_curve(held_out, np.ones(len(of_pair), dtype=np.bool_)),
        applied=tuple(applied),
        seed=seed,
    )


def _curve(held_out: HeldOut, pairs: NDArray[np.bool_]) -> PrecisionCurve:
    candidates = held_out.assessment.candidates
    return precision_curve(
        held_out.assessment.confidences[pairs],
        carried(candidates, held_out.targets)[pairs],
        candidates.texts[pairs],
        held_out.groups,
        int(held_out.targets.sum()),
    )
