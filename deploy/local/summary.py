"""The figures at the end of a demo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from deploy.processes import BadInputError


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from sending an event to having a list that includes it."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What went into the system and what came out.

    Attributes:
        events_read: responses read from the file or played live.
        accepted: responses the log confirmed.
        duplicates: records skipped because an earlier one has the same source and id.
        rejected: responses that ingest refused.
        applied: records folded into a learner's state, each counted once regardless of the number of epochs.
        dlt: records that could not be applied.
        learners: distinct learners.
        resources: resources in the catalog.
        stages_s: seconds by stage.
        event_to_recommendation_ms: over the live responses.
        state_digest: of the epoch being served, after the live responses.
        replay_digest: of the whole log, folded again with the same parameters.
        mastered_share: share of the learner-skill pairs with a response that count as mastered.
    """

    events_read: int
    accepted: int
    duplicates: int
    rejected: int
    applied: int
    dlt: int
    learners: int
    resources: int
    stages_s: Mapping[str, float]
    event_to_recommendation_ms: Latency
    state_digest: str
    replay_digest: str
    mastered_share: float

    @property
    def problems(self) -> tuple[str, ...]:
        """Inconsistencies, as sentences; empty when the figures add up."""
        found = []
        dealt_with = self.applied + self.duplicates + self.dlt
        if dealt_with != self.accepted:
            found.append(
                f"{self.accepted:,} events were accepted, but {self.applied:,} applied, {self.duplicates:,} duplicates "
                f"and {self.dlt:,} dead letters make {dealt_with:,}: an event was lost or counted twice"
            )
        if self.state_digest != self.replay_digest:
            found.append(
                f"the replay of the log gives the digest {self.replay_digest}, the live state has {self.state_digest}: "
                "what was folded live is not what the log contains"
            )
        return tuple(found)

    def as_json(self) -> bytes:
        """The figures for machines."""
        return orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def check_writable(path: Path) -> None:
    """Check before a long run that its figures can be written.

    Raises:
        BadInputError: when they cannot.
    """
    if path.is_dir() or not path.resolve().parent.is_dir():
        raise BadInputError(f"{path} cannot be written: name a file in a folder that exists")
