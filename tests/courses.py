"""A simulated course whose skills build on each other, and what learners answer in it.

Knowing a skill is all or nothing and takes every prerequisite, as in a knowledge structure. It is no model of Cairn's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from services.recommender.domain.training.prerequisites import SkillPairs
from services.recommender.domain.training.responses import ResponseTable, ResponseTableBuilder

# Two chains that meet, and skills that build on nothing.
COURSE: Mapping[str, Sequence[str]] = {
    "a": (), "b": (), "c": (), "d": (), "e": (), "f": ("a",), "g": ("b",), "h": ("f",), "i": ("f", "g"), "j": ("c",),
}  # fmt: skip


def taken(learners: int, *, seed: int, course: Mapping[str, Sequence[str]] = COURSE, answers: int = 8) -> ResponseTable:
    """The responses of learners who take the skills in nearly the order given, and leave out some.

    Args:
        learners: how many.
        seed: decides everything.
        course: prerequisites by skill, each skill after its prerequisites.
        answers: to each skill.
    """
    rng = np.random.default_rng(seed)
    skills = list(course)
    hardness = rng.normal(0.0, 0.5, (len(skills), 10))
    builder = ResponseTableBuilder()
    for learner in range(learners):
        ability = rng.normal()
        known: set[str] = set()
        for skill in skills:
            ready = known.issuperset(course[skill])
            if ready and rng.random() < 1.0 / (1.0 + math.exp(-0.8 - 0.8 * ability)):
                known.add(skill)
        order = np.argsort(np.arange(len(skills)) + rng.normal(0.0, 3.0, len(skills)))
        for place in order[rng.random(len(skills)) < 0.85].tolist():
            skill = skills[place]
            for item in rng.integers(10, size=answers).tolist():
                logit = (1.8 if skill in known else -1.3) + 0.5 * ability - hardness[place, item]
                right = rng.random() < 1.0 / (1.0 + math.exp(-logit))
                builder.append(learner=f"{learner:05d}", item=f"{skill}{item}", skills=[skill], response=float(right))
                if known.issuperset(course[skill]) and rng.random() < 0.1:
                    known.add(skill)
    return builder.build()


def pairs_of(pairs: Mapping[str, Sequence[float]], learners_of: str = "") -> SkillPairs:
    """What responses say about pairs of skills of one letter.

    Args:
        pairs: by their two letters: learners, slope, its error, and who knows both, the first, the second, and neither.
        learners_of: further skills that have responses.
    """
    skills = sorted({letter for pair in pairs for letter in pair} | set(learners_of))
    columns = [np.array(column) for column in zip(*pairs.values(), strict=True)] or [np.zeros(0)] * 7
    learners, slope, error, *counts = columns
    first, second = ([skills.index(pair[end]) for pair in pairs] for end in (0, 1))
    return SkillPairs(
        tuple(skills),
        dict.fromkeys(skills, 400),
        np.array(first, np.int64),
        np.array(second, np.int64),
        learners.astype(np.int64),
        slope,
        error,
        *(count.astype(np.int64) for count in counts),
    )
