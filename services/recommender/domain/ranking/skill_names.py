"""The name of a skill in a sentence: short, and never cut in the middle of a phrase.

Frameworks state skills in up to some hundred words. A sentence about a learner names the skill by the whole statement
if that is short, else by a short beginning of it that ends where its author ended a thought. Where there is none,
longer ones will do: a code says nothing to most people. Only then it is the code, and without one the id.
"""

from __future__ import annotations

import re

_SHORT_CHARACTERS = 90
NAME_CHARACTERS = 240
"""The longest statement, or beginning of one, that is a name."""
_LEAST_CHARACTERS = 12

# A full stop, a semicolon or a colon ends a thought. "e.g." does not, nor does the end of a character entity.
_STOPS = re.compile(r"&#?\w+;|\b(?:e\.g|i\.e|vs|etc)\.|[.;:](?=\s)")
# A comma does before these words if it is the first one: after another comma it may be part of a series.
_CLAUSES = re.compile(
    r",(?=\s(?:and|but|so|by|for example|e\.g\.|such as|including|using|with|because|based on|"
    r"explaining|knowing|recogni[sz]ing|seeing|showing|understanding|given|in order to|as in)\b)",
    re.IGNORECASE,
)
# After such a word a phrase goes on, whatever the punctuation.
_GOES_ON = re.compile(r"(?:\b(?:a|an|and|as|at|by|for|from|in|of|on|or|than|that|the|to|with)|[.,(])$", re.IGNORECASE)


def name_for_people(skill_id: str, statement: str, code: str) -> str:
    """The name of a skill in sentences.

    Args:
        skill_id: its id.
        statement: what its framework says it is; may be empty.
        code: its code in the framework; may be empty.
    """
    whole = " ".join(statement.split())
    if not whole:
        return code or " ".join(skill_id.split())
    for most in (_SHORT_CHARACTERS, NAME_CHARACTERS):
        if name := whole if len(whole) <= most else _first_thought(whole, most):
            return name
    return code or skill_id


def name_in_framework(skill_id: str, code: str, framework: str) -> str:
    """A skill as one of a framework's: its code, else its id, and the framework's name if there is one."""
    name = code or " ".join(skill_id.split())
    return f"{name} ({framework})" if framework else name


def _first_thought(statement: str, most: int) -> str:
    """The beginning that is a whole thought; empty when there is none of at most `most` characters."""
    stops = (found.start() for found in _STOPS.finditer(statement) if len(found.group()) == 1)
    end = next(stops, len(statement))
    if end > most:
        end = statement.find(",")
        if end < 0 or _CLAUSES.match(statement, end) is None:
            return ""
    thought = statement[:end].rstrip()
    whole = thought.count("(") == thought.count(")") and _GOES_ON.search(thought) is None
    return thought if whole and _LEAST_CHARACTERS <= end <= most else ""
