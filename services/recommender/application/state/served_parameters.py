"""Keeps the memory of served parameters up to date, and begins an epoch with them after the state store was lost."""

from __future__ import annotations

import structlog

from services.recommender.application.ports.epochs import EpochMeta
from services.recommender.application.ports.served_parameters import ServedParameters, ServedParametersMemory
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID

_log = structlog.get_logger(__name__)


def served_by(meta: EpochMeta) -> ServedParameters:
    """The parameters of an epoch."""
    return ServedParameters(meta.parameters_id, meta.parameters_bundle, topic_of(meta.log_identity))


def topic_of(log_identity: str) -> str:
    """The id of the topic in a log's identity."""
    return log_identity.partition("/")[0]


class RememberServed:
    """Remembers the parameters of the current epoch whenever they change."""

    def __init__(self, memory: ServedParametersMemory) -> None:
        """Args: `memory`, outside the state store."""
        self._memory = memory
        self._written: ServedParameters | None = None
        self._problem = ""

    async def first(self, log_identity: str) -> ServedParameters:
        """The parameters for an epoch that is begun without another: those last served from this log, or the priors.

        Raises:
            ServedParametersUnknownError: when it cannot be found out which were served.
        """
        served = await self._memory.read()
        priors = ServedParameters(PRIOR_PARAMETERS_ID, "", topic_of(log_identity))
        if served is None or served.topic != priors.topic:
            if served is not None and served.parameters_bundle:
                _log.warning(
                    "the first epoch begins with the priors: the parameters last served belong to another log; to use "
                    f"them, run cairn replay --epoch 2 --parameters {served.parameters_bundle}"
                )
            return priors
        if served.parameters_bundle:
            _log.info("the first epoch begins with the parameters last served", bundle=served.parameters_bundle)
        return served

    async def note(self, current: EpochMeta | None) -> None:
        """Remember the parameters of the current epoch. A failure is logged, and tried again at the next call."""
        if current is None or (served := served_by(current)) == self._written:
            return
        try:
            await self._memory.write(served)
        except OSError as error:
            if str(error) != self._problem:
                _log.warning(
                    "the parameters that are served cannot be remembered next to the bundles: if Redis is lost, the "
                    "rebuilt epoch begins with those remembered before, or the priors; make the store of bundles "
                    "writable for workers",
                    reason=str(error),
                )
            self._problem = str(error)
        else:
            self._written, self._problem = served, ""
