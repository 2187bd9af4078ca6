"""A catalog prepared for ranking, once for many requests."""

from __future__ import annotations

from dataclasses import dataclass

from services.recommender.domain.learner.parameters import TenantParameters
from services.recommender.domain.learner.recall import CatalogRecall, RecallModel, index_recall_model
from services.recommender.domain.learner.success_model import CatalogSuccessModel, SuccessModel
from services.recommender.domain.ranking.candidates import InvertedIndex, build_index
from services.recommender.domain.ranking.catalog import CatalogColumns
from services.recommender.domain.ranking.features import Difficulties, difficulties_of, explains, index_success_model
from services.recommender.domain.ranking.learned import NO_RANKER, LearnedRanker, PreparedRanker, prepare_ranker


@dataclass(frozen=True)
class PreparedCatalog:
    """A catalog prepared for ranking with some parameters; made once for many requests.

    Attributes:
        catalog: the catalog.
        difficulties: how hard everything in it is.
        index: resources by skill, in the order they are picked as candidates.
        ranker: the ranker over it.
        has_steps: whether it says what comes before what: a prerequisite, or a lesson or video to begin with.
        success_model: the success model over it; None: the filter alone predicts success.
        recall: the recall model over it; None: reviews are due by the fixed formula.
    """

    catalog: CatalogColumns
    difficulties: Difficulties
    index: InvertedIndex
    ranker: PreparedRanker
    has_steps: bool
    success_model: CatalogSuccessModel | None = None
    recall: CatalogRecall | None = None


def prepare(
    catalog: CatalogColumns,
    parameters: TenantParameters,
    success_model: SuccessModel | None = None,
    ranker: LearnedRanker = NO_RANKER,
    recall_model: RecallModel | None = None,
) -> PreparedCatalog:
    """Make a catalog ready for ranking.

    Args:
        catalog: the catalog.
        parameters: the tenant's, that learners' states are folded with.
        success_model: the success model that goes with them, if any.
        ranker: the learned ranker; `NO_RANKER` where nothing was learned.
        recall_model: the recall model that goes with the parameters, if any.
    """
    difficulties = difficulties_of(catalog, parameters)
    index = build_index(catalog, difficulties)
    indexed = None if success_model is None else index_success_model(catalog, difficulties, success_model)
    has_steps = bool(len(catalog.skill_prerequisites.values)) or bool(explains(catalog.kinds).any())
    recall = (
        None
        if recall_model is None
        else index_recall_model(recall_model, catalog.slot_of_skill, difficulties.skill_logits)
    )
    return PreparedCatalog(catalog, difficulties, index, prepare_ranker(catalog, ranker), has_steps, indexed, recall)
