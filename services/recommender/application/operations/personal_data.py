"""Everything that is stored about one learner, as plain data to hand to the learner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from services.common.kafka.envelope import record_key
from services.recommender.application.ports.learners import FoldStore
from services.recommender.domain.learner import packed_strings as names
from services.recommender.domain.learner.events import VOIDED
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.history import HistoryStep, history_of
from services.recommender.domain.learner.journal import JournalEntry, corrections_of, entries_of
from services.recommender.domain.learner.parameters import TracingParameters
from services.recommender.domain.learner.record import FINGERPRINT_BYTES, LearnerRecord
from services.recommender.domain.learner.state import LearnerState, decode_state, encode_state

Plain = dict[str, object]


@dataclass(frozen=True, slots=True)
class HeldRecord:
    """A record of the learner in a topic.

    Attributes:
        topic: the topic.
        partition: its partition.
        offset: its offset.
        headers: its headers, as text.
        content: its value as plain data; None: no longer readable.
    """

    topic: str
    partition: int
    offset: int
    headers: Plain
    content: object | None


class LearnerRecords(Protocol):
    """The records of one learner, in any partition. Every call may raise ConnectionError or LookupError."""

    async def of(self, key: bytes) -> Sequence[HeldRecord]:
        """Every record of the learner, in the order of topics, partitions and offsets."""
        ...


class PersonalData:
    """What is stored about a learner in one epoch and in the log."""

    def __init__(self, store: FoldStore, parameters: TracingParameters, records: LearnerRecords) -> None:
        """Args: the epoch's store, the parameters it was folded with, and the log."""
        self._store = store
        self._parameters = parameters
        self._records = records

    async def history(self, tenant: str, learner: str) -> tuple[HistoryStep, ...]:
        """The recent events of a learner (a pseudonym), and what each of them changed."""
        stored = await self._stored(tenant, learner)
        return history_of(LearnerFold(self._parameters), tenant, stored, self._parameters.for_tenant(tenant))

    async def everything(self, tenant: str, learner: str) -> Plain:
        """Everything stored about a learner (a pseudonym)."""
        stored = await self._stored(tenant, learner)
        records = await self._records.of(record_key(tenant, learner))
        skills = [] if stored.state is None else [name.decode() for name in names.split(stored.state.skill_names)]
        return {
            "tenant": tenant,
            "learner": learner,
            "state": None if stored.state is None else _state(decode_state(encode_state(stored.state))),
            "journal": [_entry(entry, skills) for entry in entries_of(stored.journal)],
            "journal_starts_from": _state(decode_state(stored.checkpoint)) if stored.checkpoint else None,
            "corrections_waiting": [
                {"target_fingerprint": target.hex(), "voided": response == VOIDED, "response": max(response, 0.0)}
                for target, response in corrections_of(stored.journal)
            ],
            "events_seen": [
                stored.seen[at : at + FINGERPRINT_BYTES].hex() for at in range(0, len(stored.seen), FINGERPRINT_BYTES)
            ],
            "records": [
                {
                    "topic": record.topic,
                    "partition": record.partition,
                    "offset": record.offset,
                    "headers": record.headers,
                    "value": record.content,
                    "readable": record.content is not None,
                }
                for record in records
            ],
        }

    async def _stored(self, tenant: str, learner: str) -> LearnerRecord:
        _, (stored,) = await self._store.read([], [record_key(tenant, learner)])
        return stored


def _state(state: LearnerState) -> Plain:
    fields = state.skill_records.dtype.names or ()
    return {
        "ability": {"mean": state.mean, "variance": state.variance},
        "responses": state.responses,
        "events_applied": state.applied,
        "last_at": _moment(state.last_at_s),
        "skills": [
            {"skill": name, **{field: record[field].item() for field in fields}}
            for name, record in zip(state.skill_names, state.skill_records, strict=True)
        ],
        "resources": [
            {"resource": recent.resource, "kind": recent.kind.name.lower(), "at": _moment(recent.at_s)}
            for recent in state.resources
        ],
        "recent_items": [{"item_code": code, "response": response} for code, response in state.recent_items.tolist()],
        "dismissed": list(state.dismissals),
        "preferences": {
            "goals": list(state.preferences.goals),
            "interests": list(state.preferences.interests),
            "formats": list(state.preferences.formats),
            "pace": state.preferences.pace.name.lower(),
        },
    }


def _entry(entry: JournalEntry, skills: Sequence[str]) -> Plain:
    return {
        "event_fingerprint": entry.fingerprint.hex(),
        "at": _moment(entry.at_s),
        "interaction": None if entry.interaction is None else entry.interaction.name.lower(),
        "item": entry.item,
        "resource": entry.resource,
        "grain": entry.grain.name.lower(),
        "skills": [skills[slot] for slot in entry.slots],
        "response": entry.response,
        "evidence": entry.evidence,
        "voided": entry.voided,
    }


def _moment(at_s: int) -> str | None:
    return datetime.fromtimestamp(at_s, UTC).isoformat() if at_s else None
