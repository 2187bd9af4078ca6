"""The laws of a list (decision 43), judged for one list at a time by what is known of the learner and the catalog.

    urgent    the most urgent gap that the answer names is served in the first three
    missed    after a wrong answer, two of the first five are about its skills or a direct prerequisite of them that is
              not mastered
    level     nothing is more than a level above the working level, unless all prerequisites are mastered or a goal
              leads there
    variety   the first five do not all serve one skill while there is another gap in scope
    mastered  a mastered skill that is not due for review does not come first while there is a gap in scope

A law applies to a list where the resources that may be given allow to keep it; that is a case. Nothing here is computed
by ranking: mastery is that of `reason_facts`, scope and reach that of `whereabouts`, both written a second time from
their documentation. From the answer come only its gap and, of each entry, the resource and the skill that it serves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from services.recommender.domain.ranking.catalog import BoolColumn
from services.recommender.evaluation.whereabouts import Whereabouts

URGENT, MISSED, LEVEL, VARIETY, MASTERED = "urgent", "missed", "level", "variety", "mastered"

LAWS = {
    URGENT: "the first three serve the most urgent gap that is named",
    MISSED: "after a wrong answer, two of the first five are about its skills or a weak prerequisite",
    LEVEL: "nothing is over a level above the working level without mastered prerequisites or a goal",
    VARIETY: "the first five do not all serve one skill while another gap is in scope",
    MASTERED: "no mastered skill that is not due comes first while a gap is in scope",
}
"""Each law in words."""

FIRST = 5
"""The laws are about this many first entries, except `level`, which is about all."""
_URGENT_WITHIN = 3
_MISSED_LEAST = 2


class Listed(NamedTuple):
    """An entry of a list: the row of its resource, and the skill that it serves, empty for none."""

    row: int
    skill: str


class Verdict(NamedTuple):
    """What a law says of a list to which it applies: whether it holds, and if not, what was found instead."""

    law: str
    holds: bool
    found: str = ""


def verdicts(where: Whereabouts, entries: Sequence[Listed], gap: str, missed: frozenset[str]) -> list[Verdict]:
    """Judge a list by every law that applies to it.

    Args:
        where: where the learner is, and what they may be given.
        entries: the list; `missed` and `variety` do not apply where fewer than five were asked for.
        gap: id of the most urgent gap, as the answer names it; empty without any.
        missed: ids of the skills of the learner's last answer, if it was wrong; else none.
    """
    found = (
        _urgent(where, entries, gap),
        _missed(where, entries, missed),
        _level(where, entries),
        _variety(where, entries, gap),
        _mastered(where, entries, gap),
    )
    return [verdict for verdict in found if verdict is not None]


def _urgent(where: Whereabouts, entries: Sequence[Listed], gap: str) -> Verdict | None:
    """Whether one of the first three is about the gap. An answer must name one where there is one."""
    if not (where.offered & where.about({gap} if gap else where.gaps)).any():
        return None
    if not gap:
        return Verdict(URGENT, holds=False, found=f"no gap is named, there are {sorted(where.gaps)}")
    first = entries[:_URGENT_WITHIN]
    return Verdict(URGENT, _count(where, first, {gap}) > 0, f"{gap} is not among {_served(first)}")


def _missed(where: Whereabouts, entries: Sequence[Listed], missed: frozenset[str]) -> Verdict | None:
    """Whether two of the first five, or as many as there are, are about what was missed."""
    wanted = missed | where.weak_prerequisites(missed)
    there = int((where.offered & where.about(wanted)).sum())
    if not missed or not there or _is_short(where, entries):
        return None
    first = entries[:FIRST]
    serving = _count(where, first, wanted)
    holds = serving >= min(_MISSED_LEAST, there)
    return Verdict(MISSED, holds, f"{serving} of {_served(first)} are about {sorted(wanted)}, there are {there}")


def _level(where: Whereabouts, entries: Sequence[Listed]) -> Verdict | None:
    """Whether everything is within reach; a case where the request also allows what is beyond it."""
    if not (where.allowed & where.beyond).any() or not where.offered.any():
        return None
    far = [where.catalog.resource_ids[entry.row] for entry in entries if where.beyond[entry.row]]
    return Verdict(LEVEL, not far, f"{far} are beyond level {where.working_levels[1]:g}")


def _variety(where: Whereabouts, entries: Sequence[Listed], gap: str) -> Verdict | None:
    """Whether the first five serve several skills; a case where the first serves one and another gap has resources."""
    first = entries[:FIRST]
    if len(first) < FIRST or not first[0].skill:
        return None
    served = first[0].skill
    others = ({*where.gaps} | ({gap} if gap else set())) - {served}
    if not (where.offered & where.about(others) & ~where.about({served})).any():
        return None
    return Verdict(VARIETY, any(entry.skill != served for entry in first), f"all serve {served}, not {sorted(others)}")


def _mastered(where: Whereabouts, entries: Sequence[Listed], gap: str) -> Verdict | None:
    """Whether something else than a mastered skill comes first; a case where there is something else and a gap."""
    if not entries or not (gap or where.gaps):
        return None
    if not (where.offered & ~where.about(where.mastered_not_due)).any():
        return None
    served = entries[0].skill
    return Verdict(MASTERED, served not in where.mastered_not_due, f"{served} is mastered, not due, and first")


def _is_short(where: Whereabouts, entries: Sequence[Listed]) -> bool:
    """Whether fewer than five were asked for: there would have been more."""
    return len(entries) < min(FIRST, int(where.offered.sum()))


def _count(where: Whereabouts, entries: Sequence[Listed], skills: set[str] | frozenset[str]) -> int:
    about: BoolColumn = where.about(skills)
    return int(about[np.array([entry.row for entry in entries], np.intp)].sum())


def _served(entries: Sequence[Listed]) -> list[str]:
    return [entry.skill for entry in entries]
