"""The contents of one tenant's catalog, in the order of the ids, and changes to them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from services.catalog.domain.model import RecordKind, Resource, Rule, Skill, kind_of

Record = TypeVar("Record", Skill, Resource, Rule)


class SortedRecords(Mapping[str, Record], Generic[Record]):
    """Records by id. Iteration is in code point order of the ids."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._sorted_ids: list[str] | None = []
        self._revision = 0

    @property
    def revision(self) -> int:
        """Number of changes so far."""
        return self._revision

    def put(self, record: Record) -> None:
        """Add a record, or replace the one with its id."""
        if record.id not in self._records:
            self._sorted_ids = None
        self._records[record.id] = record
        self._revision += 1

    def remove(self, identifier: str) -> None:
        """Remove a record, if there is one."""
        if self._records.pop(identifier, None) is not None:
            self._sorted_ids = None
            self._revision += 1

    def page(self, after: str, size: int) -> list[Record]:
        """Up to `size` records whose ids follow `after`, in order. Other ids may come and go."""
        ids = self._ids()
        start = bisect_right(ids, after)
        return [self._records[identifier] for identifier in ids[start : start + size]]

    def __getitem__(self, identifier: str) -> Record:
        return self._records[identifier]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids())

    def __len__(self) -> int:
        return len(self._records)

    def _ids(self) -> list[str]:
        # Sorting lazily keeps a rebuild of 200,000 records linear.
        if self._sorted_ids is None:
            self._sorted_ids = sorted(self._records)
        return self._sorted_ids


@dataclass(frozen=True, slots=True)
class Contents:
    """One tenant's skills, resources and rules."""

    skills: SortedRecords[Skill] = field(default_factory=SortedRecords)
    resources: SortedRecords[Resource] = field(default_factory=SortedRecords)
    rules: SortedRecords[Rule] = field(default_factory=SortedRecords)

    def get(self, kind: RecordKind, identifier: str) -> Skill | Resource | Rule | None:
        """The record of a kind and id, or None."""
        match kind:
            case RecordKind.SKILL:
                return self.skills.get(identifier)
            case RecordKind.RESOURCE:
                return self.resources.get(identifier)
            case RecordKind.RULE:
                return self.rules.get(identifier)

    def put(self, record: Skill | Resource | Rule) -> None:
        """Add a record, or replace the one of its kind and id."""
        if isinstance(record, Skill):
            self.skills.put(record)
        elif isinstance(record, Resource):
            self.resources.put(record)
        else:
            self.rules.put(record)

    def remove(self, kind: RecordKind, identifier: str) -> None:
        """Remove a record, if there is one."""
        records: SortedRecords[Skill] | SortedRecords[Resource] | SortedRecords[Rule] = (
            self.skills if kind is RecordKind.SKILL else self.resources if kind is RecordKind.RESOURCE else self.rules
        )
        records.remove(identifier)


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes of one write to a tenant's catalog: first records are put, then records are removed, in this order.

    Attributes:
        put: new records; each replaces the record of its kind and id.
        removed: kind and id of each.
    """

    put: tuple[Skill | Resource | Rule, ...] = ()
    removed: tuple[tuple[RecordKind, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.put or self.removed)

    def put_of(self, kind: RecordKind) -> list[Skill | Resource | Rule]:
        """The new records of one kind, in their order."""
        return [record for record in self.put if kind_of(record) is kind]

    def removed_of(self, kind: RecordKind) -> list[str]:
        """Ids of the removed records of one kind, in their order."""
        return [identifier for removed_kind, identifier in self.removed if removed_kind is kind]
