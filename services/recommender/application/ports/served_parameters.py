"""The parameters that were last served, remembered outside the state store, which may lose everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ServedParameters:
    """The tracing parameters of the epoch that is served.

    Attributes:
        parameters_id: their id.
        parameters_bundle: the bundle they come from; empty for the priors.
        topic: the id of the topic that the epoch was folded from, without its number of partitions.
    """

    parameters_id: str
    parameters_bundle: str
    topic: str


class ServedParametersUnknownError(RuntimeError):
    """It cannot be found out which parameters were served; the message says what to do."""


class ServedParametersMemory(Protocol):
    """Remembers the parameters that are served."""

    async def read(self) -> ServedParameters | None:
        """What was last written, or None.

        Raises:
            ServedParametersUnknownError: when it cannot be read.
        """
        ...

    async def write(self, served: ServedParameters) -> None:
        """Remember these parameters instead. Raises OSError."""
        ...


class NoMemory:
    """Remembers nothing; implements ServedParametersMemory."""

    async def read(self) -> ServedParameters | None:
        """Nothing."""
        return None

    async def write(self, served: ServedParameters) -> None:
        """Forget them."""
