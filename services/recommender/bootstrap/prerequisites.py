"""Wires `cairn catalog prerequisites`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

from services.recommender.adapters.kafka.catalog_tags import KafkaCatalogTags
from services.recommender.adapters.kafka.training_log import KafkaTrainingLog
from services.recommender.application.operations.prerequisites import Advance, judge_catalog, logged_responses
from services.recommender.application.state.restamps import restamp_to_train_with
from services.recommender.application.training.collect import LogSpan
from services.recommender.bootstrap.environment import fold_settings
from services.recommender.bootstrap.epochs import stored_epochs
from services.recommender.bootstrap.keys import learner_keys
from services.recommender.domain.learner.restamp import Restamp
from services.recommender.domain.ranking.catalog import CatalogSkill
from services.recommender.domain.training.prerequisites import Edge, Findings
from services.recommender.domain.training.responses import ResponseTable

_SEED = 20_261_201


async def responses_of(
    environment_file: Path, tenant: str, progress: Advance
) -> tuple[ResponseTable, Sequence[CatalogSkill]]:
    """A tenant's responses with the skills that the current epoch gives them, and the skills of its catalog.

    Raises:
        SettingsError: when a setting is invalid.
        EpochUnusableError: when the store has lost the skills with which the current epoch stamps events again.
        StateUnavailableError: when Redis cannot be read.
        BrokerUnavailableError: when the log or the catalog cannot be read.
        TopicMissingError: when a topic does not exist.
        KeysMissingError: when keys of learners are lost.
        TenantKeyMissingError: when values are encrypted and the tenant's key is unknown.
        TenantWithoutEventsError: when the log has no response of the tenant.
    """
    settings = fold_settings(environment_file)

    async def restamp_of(span: LogSpan) -> Restamp | None:
        async with stored_epochs(settings.redis_url) as epochs:
            found = await restamp_to_train_with(epochs, span.log_identity, span.end_offsets)
        return None if found is None else found[1]

    log = KafkaTrainingLog(
        settings.connection, learner_keys(settings.connection, settings.tenants), restamp_of=restamp_of
    )
    return await logged_responses(log, KafkaCatalogTags(settings.connection), tenant, progress)


def judged(
    table: ResponseTable,
    skills: Sequence[CatalogSkill],
    *,
    rejected: Collection[Edge] = (),
    rate: float,
    advance: Callable[[int, int | None], None],
) -> Findings:
    """What responses say about the prerequisites of some skills, and which are proposed."""
    # The fitting libraries take a second to load.
    from services.recommender.models.tracing.skill_pairs import fit_skill_pairs  # noqa: PLC0415

    fit = partial(fit_skill_pairs, seed=_SEED)
    return judge_catalog(table, skills, fit, rejected=rejected, rate=rate, advance=advance)
