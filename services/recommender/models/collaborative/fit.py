"""Chooses the collaborative model that best predicts what a tenant's learners did next, and fits it."""

from __future__ import annotations

from services.recommender.application.ports.models import CollaborativeChoice, ModelArrays
from services.recommender.application.training.collect import Progress
from services.recommender.application.training.train import Advance, FittedCollaborative, TooFewPositivesError
from services.recommender.domain.ranking.learned import POPULAR
from services.recommender.domain.training.positives import Positives
from services.recommender.domain.training.responses import NONE, ResponseTable
from services.recommender.domain.training.splits import earlier_rows, split_work, tags_of
from services.recommender.domain.training.twins import without_twins
from services.recommender.models.collaborative.als import AlsModel
from services.recommender.models.collaborative.als_fit import AlsSettings, fit_als
from services.recommender.models.collaborative.families import FAMILIES, choose
from services.recommender.models.collaborative.neighbours import ItemItemModel
from services.recommender.models.collaborative.neighbours_fit import DENSE_RESOURCES_MOST, EaseModel, dense_memory

# Models that know similar learners, and that a bundle can hold; bpr is for comparison only.
_SERVABLE = tuple(family for family in FAMILIES if family not in ("bpr", POPULAR))
# With fewer learners, the measures of models do not differ enough.
_LEARNERS_TO_CHOOSE_BY = 20
_CHOOSING = "choosing a model"


def choose_collaborative(
    table: ResponseTable, *, seed: int, advance: Progress = lambda _step, _done, _total: None
) -> CollaborativeChoice | None:
    """Fit every family to the first four fifths of each learner's responses, and evaluate it on the rest.

    Of near-identical learners only one takes part.

    Args:
        table: a tenant's responses.
        seed: seeds the models.
        advance: progress callback: step, families done, families in total; also called with the memory that EASE needs.
    """
    table = without_twins(table.rows(table.resource != NONE))
    split = split_work(table, earlier_rows(table), tags_of(table))
    if len(split.relevant) < _LEARNERS_TO_CHOOSE_BY:
        advance(_CHOOSING, 1, 1)
        return None
    tried = 0

    def next_family(name: str) -> None:
        nonlocal tried
        if name != families[tried]:
            # Report the memory before the fit: if it runs out, the last line shows why.
            advance(name, 1, 1)
        advance(_CHOOSING, tried, len(_SERVABLE))
        tried += 1

    small = len(table.resources) <= DENSE_RESOURCES_MOST
    families = tuple(family for family in _SERVABLE if small or family != "ease")
    found = choose(split, seed=seed, families=families, advance=next_family)
    advance(_CHOOSING, len(_SERVABLE), len(_SERVABLE))
    if not found.measures:
        return None
    best = max(found.measures, key=found.measures.__getitem__)
    absent = dict(found.absent)
    if not small:
        resources = len(table.resources)
        absent["ease"] = f"over {resources:,} resources a bundle would hold {dense_memory(resources)} of weights"
    return CollaborativeChoice(best, found.settings[best], found.measures, absent, seed)


def fit_collaborative(
    positives: Positives,
    *,
    choice: CollaborativeChoice | None,
    default: AlsSettings,
    seed: int,
    advance: Advance = lambda _done, _total: None,
) -> FittedCollaborative:
    """Fit the chosen family, or alternating least squares.

    Args:
        positives: the resources of each learner.
        choice: the chosen family; None if none was chosen.
        default: settings of alternating least squares when no family was chosen.
        seed: seeds the model.
        advance: progress callback: steps done, steps in total.

    Raises:
        TooFewPositivesError: when a model would be noise.
    """
    if choice is None:
        return fit_als(positives, default, seed=seed, advance=advance)
    model = FAMILIES[choice.family].fit(positives, seed, choice.settings)
    advance(1, 1)
    return FittedCollaborative(
        _arrays(choice.family, model), {f"{choice.family}_{name}": value for name, value in choice.settings.items()}
    )


def _arrays(family: str, model: object) -> ModelArrays:
    if isinstance(model, AlsModel | EaseModel | ItemItemModel):
        return model.to_arrays()
    raise TooFewPositivesError(f"a bundle cannot hold a model of the family {family}: run cairn tune again")
