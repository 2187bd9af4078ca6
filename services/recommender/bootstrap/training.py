"""Wires `cairn train` and `cairn tune`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version

from services.recommender.adapters.kafka.training_log import KafkaTrainingLog
from services.recommender.application.state.restamps import restamp_to_train_with
from services.recommender.application.training.collect import LogSpan
from services.recommender.application.training.train import Trainer
from services.recommender.bootstrap.environment import training_settings
from services.recommender.bootstrap.epochs import stored_epochs
from services.recommender.bootstrap.keys import learner_keys
from services.recommender.bootstrap.stores import bundle_store
from services.recommender.domain.learner.restamp import Restamp
from services.recommender.wire.restamps import restamp_as_text

# The libraries that affect the last bits of the fitted numbers.
_LIBRARIES = ("implicit", "lightgbm", "numba", "numpy", "scipy")
_TRAINING_SEED = 20_090_910


def trainer(
    *,
    bundles: str | None = None,
    factors: int | None = None,
    accept_lost_keys: bool = False,
    announce: Callable[[str], None] = lambda _: None,
) -> Trainer:
    """Runs `cairn train`.

    Args:
        bundles: where bundles are stored, instead of the setting.
        factors: factors per resource, instead of the default; a chosen model keeps its own.
        accept_lost_keys: whether to skip records whose keys are lost.
        announce: told how events are stamped again, if they are.

    Training then also raises StateUrlInvalidError, StateUnavailableError, and EpochUnusableError when the state store
    has lost the skills of the current epoch.

    Raises:
        SettingsError: when a setting is invalid.
        BundlesUrlInvalidError: when fsspec does not know the URL.
    """
    # The fitting libraries take a second to load, and servers do not need them.
    from services.recommender.models.collaborative.als_fit import AlsSettings  # noqa: PLC0415
    from services.recommender.models.collaborative.fit import choose_collaborative, fit_collaborative  # noqa: PLC0415
    from services.recommender.models.ranker.training import train_ranker  # noqa: PLC0415
    from services.recommender.models.tracing.fit import fit_tracing  # noqa: PLC0415

    settings = training_settings()

    async def restamp_of(span: LogSpan) -> Restamp | None:
        if not settings.redis_url:
            return None
        async with stored_epochs(settings.redis_url) as epochs:
            found = await restamp_to_train_with(epochs, span.log_identity, span.end_offsets)
        if found is None:
            return None
        stamped, restamp = found
        announce(f"{restamp_as_text(stamped)}, as in the current epoch")
        return restamp

    als_settings = AlsSettings() if factors is None else AlsSettings(factors=factors)
    return Trainer(
        log=KafkaTrainingLog(
            settings.connection,
            learner_keys(settings.connection, settings.tenants),
            accept_lost_keys=accept_lost_keys,
            restamp_of=restamp_of,
        ),
        fit_tracing=partial(fit_tracing, seed=_TRAINING_SEED),
        fit_collaborative=partial(fit_collaborative, default=als_settings, seed=_TRAINING_SEED),
        choose_collaborative=partial(choose_collaborative, seed=_TRAINING_SEED),
        bundles=bundle_store(bundles or settings.bundles),
        clock=lambda: datetime.now(UTC),
        libraries={name: version(name) for name in _LIBRARIES},
        fit_ranker=partial(train_ranker, seed=_TRAINING_SEED),
    )
