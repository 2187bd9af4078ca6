"""Responses in columns: the training data of models."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

NONE = -1


@dataclass(frozen=True, eq=False)
class ResponseTable:
    """The responses of one tenant's learners, one row each, in columns.

    Rows are sorted by learner, in the order of `learners`; a learner's rows keep the order given. Ids are distinct and
    sorted, so the same responses make the same table, in whatever order learners came.

    Attributes:
        learners: learner ids; `learner` points into it.
        items: item ids; `item` points into it.
        skills: skill ids; `skill` points into it.
        resources: resource ids; `resource` points into it.
        learner: int32 per row, never decreasing.
        item: int32 per row; NONE when the response is not to an item.
        response: float32 per row, in [0, 1].
        skill_start: int64, one more than rows: the skills of row r are skill[skill_start[r]:skill_start[r + 1]].
        skill: int32, the rows' skills one after another.
        resource: int32 per row, the catalog resource it was given in; NONE when there is none.
        at_s: int64 per row, when it was given, Unix seconds; 0 when not known.
    """

    learners: tuple[str, ...]
    items: tuple[str, ...]
    skills: tuple[str, ...]
    resources: tuple[str, ...]
    learner: NDArray[np.int32]
    item: NDArray[np.int32]
    response: NDArray[np.float32]
    skill_start: NDArray[np.int64]
    skill: NDArray[np.int32]
    resource: NDArray[np.int32]
    at_s: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.response)

    def rows(self, mask: NDArray[np.bool_]) -> ResponseTable:
        """The table of some rows; ids and what points to them stay as they are."""
        counts = np.diff(self.skill_start)
        return ResponseTable(
            self.learners,
            self.items,
            self.skills,
            self.resources,
            self.learner[mask],
            self.item[mask],
            self.response[mask],
            _starts(counts[mask]),
            self.skill[np.repeat(mask, counts)],
            self.resource[mask],
            self.at_s[mask],
        )

    def of_learners(self, chosen: NDArray[np.bool_]) -> ResponseTable:
        """The table of some learners: `chosen` has one entry per learner."""
        return self.rows(chosen[self.learner])

    def as_if_only(self, chosen: NDArray[np.bool_]) -> ResponseTable:
        """The table of some learners, as if there were no others: ids that no longer occur are gone."""
        table = self.of_learners(chosen)
        learners, learner = _in_use(table.learners, table.learner)
        items, item = _in_use(table.items, table.item)
        skills, skill = _in_use(table.skills, table.skill)
        resources, resource = _in_use(table.resources, table.resource)
        return replace(
            table,
            learners=learners,
            items=items,
            skills=skills,
            resources=resources,
            learner=learner,
            item=item,
            skill=skill,
            resource=resource,
        )

    def skill_rows(self) -> NDArray[np.int64]:
        """The row each entry of `skill` belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.skill_start))


class ResponseTableBuilder:
    """Collects responses in any order of learners, each learner's in their own order, in a few bytes per response."""

    def __init__(self) -> None:
        self._learners: dict[str, int] = {}
        self._learner_names: list[str] = []
        self._items: dict[str, int] = {}
        self._skills: dict[str, int] = {}
        self._resources: dict[str, int] = {}
        self._learner = array("i")
        self._item = array("i")
        self._response = array("f")
        self._skill_count = array("B")
        self._skill = array("i")
        self._resource = array("i")
        self._at_s = array("q")

    def __len__(self) -> int:
        return len(self._response)

    def append(
        self,
        *,
        learner: str,
        item: str,
        skills: Sequence[str],
        response: float,
        resource: str = "",
        at_s: int = 0,
    ) -> None:
        """Add a learner's next response.

        Args:
            learner: the learner's id.
            item: the item's id; empty when the response is not to an item.
            skills: the distinct skills it is evidence of, at most 255.
            response: the outcome on [0, 1].
            resource: the catalog resource it was given in; empty when there is none.
            at_s: when it was given, Unix seconds; 0 when not known.
        """
        self._learner.append(self._learners.setdefault(learner, len(self._learners)))
        self._item.append(self._items.setdefault(item, len(self._items)) if item else NONE)
        self._response.append(response)
        self._skill_count.append(len(skills))
        self._skill.extend([self._skills.setdefault(skill, len(self._skills)) for skill in skills])
        self._resource.append(self._resources.setdefault(resource, len(self._resources)) if resource else NONE)
        self._at_s.append(at_s)

    def learner_of(self, row: int) -> str:
        """The learner of a response added before."""
        if len(self._learner_names) < len(self._learners):
            self._learner_names = list(self._learners)
        return self._learner_names[self._learner[row]]

    def response_of(self, row: int) -> float:
        """The outcome of a response added before."""
        return self._response[row]

    def regrade(self, row: int, response: float) -> None:
        """Give a response added before another outcome."""
        self._response[row] = response

    def limit_skills(self, rows: NDArray[np.bool_], most: int) -> None:
        """Leave every learner with the first `most` skills that they met; responses are no evidence of later ones.

        Args:
            rows: the responses that count as meeting a skill.
            most: how many.
        """
        if len(self._skills) <= most:
            return
        counts = np.array(self._skill_count, np.uint8).astype(np.int64)
        skills = np.array(self._skill, np.int32)
        row_of_entry = np.repeat(np.arange(len(self)), counts)
        entries = np.flatnonzero(rows[row_of_entry])
        learners = np.array(self._learner, np.int64)[row_of_entry[entries]]
        pairs = learners * len(self._skills) + skills[entries]
        _, first, pair_of_entry = np.unique(pairs, return_index=True, return_inverse=True)
        order = np.lexsort((first, learners[first]))
        begins = np.flatnonzero(np.diff(learners[first][order], prepend=-1))
        met_before = np.empty(len(order), np.int64)
        met_before[order] = np.arange(len(order)) - np.repeat(begins, np.diff([*begins, len(order)]))
        refused = entries[met_before[pair_of_entry] >= most]
        counts -= np.bincount(row_of_entry[refused], minlength=len(counts))
        self._skill_count = array("B", counts.astype(np.uint8).tobytes())
        self._skill = array("i", np.delete(skills, refused).tobytes())

    def per_learner(self, values: Mapping[str, int], default: int) -> NDArray[np.int64]:
        """A value per learner number; `default` where `values` has none."""
        return np.array([values.get(learner, default) for learner in self._learners], np.int64)

    @property
    def learner_numbers(self) -> NDArray[np.int32]:
        """A number per response added so far, equal for responses of the same learner."""
        return np.array(self._learner, np.int32)

    def build(self, keep: NDArray[np.bool_] | None = None) -> ResponseTable:
        """The table of everything added, or of the responses that `keep` selects, in the order of adding."""
        counts = np.array(self._skill_count, np.uint8).astype(np.int64)
        starts = _starts(counts)
        kept = np.arange(len(self)) if keep is None else np.flatnonzero(keep)
        learners, learner = _sorted_ids(self._learners, np.array(self._learner, np.int32)[kept])
        order = np.argsort(learner, kind="stable")
        kept, learner = kept[order], learner[order]
        skill_start = _starts(counts[kept])
        # Entry e of the kept skills is as far from its row's start as before.
        within = np.arange(skill_start[-1]) - np.repeat(skill_start[:-1], counts[kept])
        entries = np.repeat(starts[:-1][kept], counts[kept]) + within
        items, item = _sorted_ids(self._items, np.array(self._item, np.int32)[kept])
        skills, skill = _sorted_ids(self._skills, np.array(self._skill, np.int32)[entries])
        resources, resource = _sorted_ids(self._resources, np.array(self._resource, np.int32)[kept])
        return ResponseTable(
            learners=learners,
            items=items,
            skills=skills,
            resources=resources,
            learner=learner,
            item=item,
            response=np.array(self._response, np.float32)[kept],
            skill_start=skill_start,
            skill=skill,
            resource=resource,
            at_s=np.array(self._at_s, np.int64)[kept],
        )


def _sorted_ids(number_of_id: dict[str, int], numbers: NDArray[np.int32]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """The ids in use, sorted, and the numbers as places among them."""
    used = np.zeros(len(number_of_id) + 1, np.bool_)
    used[numbers] = True
    ids = sorted(identifier for identifier, number in number_of_id.items() if used[number])
    # One place more than there are numbers: NONE, which is -1, is found in the last and stays NONE.
    place = np.full(len(number_of_id) + 1, NONE, np.int32)
    place[[number_of_id[identifier] for identifier in ids]] = np.arange(len(ids), dtype=np.int32)
    return tuple(ids), place[numbers]


def _in_use(ids: tuple[str, ...], numbers: NDArray[np.int32]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """The ids that occur, and the numbers as places among them."""
    used = np.unique(numbers[numbers != NONE])
    # NONE is found in the last place, as in `_sorted_ids`.
    place = np.full(len(ids) + 1, NONE, np.int32)
    place[used] = np.arange(len(used), dtype=np.int32)
    return tuple(ids[number] for number in used.tolist()), place[numbers]


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return starts
