"""Codes of standards, which publishers write in several ways: `3.MD.C.7a`, `CCSS.Math.Content.3.MD.C.7.A`, `3.MD.7`."""

from __future__ import annotations

import re

# Words with dots are no part of a code, nor are words behind an acronym, whatever follows each:
# `CCSS.Math.Content.6.RP.A.3`, `CCSS Math: 6.RP.A.3`. A word has four letters in a row: A-APR of `A-APR.B.3` is none.
_WORD = r"(?=[a-z-]*[a-z]{4})[a-z-]+"
# Words of frameworks and grades are none either: `Common Core Math 6.RP.A.3`, `Grade 3: 3.MD.7`.
_NAMES = r"(?:(?:common|core|state|standards?|for|math|mathematics)[.:\s]+|grade [k\d]{1,2}[:,\s]+)+"
_INITIALS = r"CC\.(?=[\w-]+\.)"
_PREFIX = re.compile(rf"(?=(?-i:[A-Z]{{3}}))(?:{_WORD}[.:_/\s]+)+|{_NAMES}|(?:{_WORD}\.)+|{_INITIALS}", re.IGNORECASE)
_PARTS = re.compile(r"[^\W\d_]+|\d+")
_GROUPS = re.compile(r"[^\W_]+")
_END = re.compile(r"[\s:;,]")
# Other ends of the code in front: b of `7.SP.8a, b`.
_GOES_ON = re.compile(r",\s*(?:[a-z]|\d+)\s*(?:$|,|&|and\b)")
_CLUSTERS = frozenset("abcdefghij")  # K is a grade.
# What has fewer letters and numbers may be a code of anything.
_PARTS_OF_CODE_MIN = 3


def without_prefix(text: str) -> str:
    """A code in lower case, without what publishers write in front of it."""
    text = text.strip()
    prefix = _PREFIX.match(text)
    return text[prefix.end() if prefix else 0 :].casefold()


def code_and_rest(text: str) -> tuple[str, str]:
    """The code that a text begins with, without prefix, and what follows: `7.RP.A.2: Recognize` has both."""
    bare = without_prefix(text)
    end = _END.search(bare)
    return (bare[: end.start()], bare[end.start() :]) if end else (bare, "")


def key_of(code: str) -> str:
    """The letters and numbers of a code: however they are separated, and with or without the HS of high school."""
    return ".".join(_parts(code))


def key_without_cluster(code: str) -> str:
    """The key without the letter of the cluster, which older codes do not have: of `3.MD.C.7` it is that of `3.MD.7`.

    Empty: the code has no cluster.
    """
    parts = _parts(code)
    for place in range(len(parts) - 2, 0, -1):
        if parts[place] in _CLUSTERS and parts[place - 1].isalpha() and parts[place + 1].isdecimal():
            return ".".join(parts[:place] + parts[place + 1 :]) if len(parts) > _PARTS_OF_CODE_MIN else ""
    return ""


def has_a_code(text: str) -> bool:
    """Whether a text has what looks like a code: three letters and numbers or more, with dots between.

    So has what follows a code and goes on with another end of it.
    """
    return _GOES_ON.match(text) is not None or any(_looks_like_a_code(word.strip(".,:;()")) for word in text.split())


def _looks_like_a_code(word: str) -> bool:
    kinds = {part.isalpha() for part in _PARTS.findall(word)}
    return "." in word and len(kinds) > 1 and len(_GROUPS.findall(word)) >= _PARTS_OF_CODE_MIN


def _parts(code: str) -> list[str]:
    parts = _PARTS.findall(without_prefix(code))
    if len(parts) > 1 and parts[0] == "hs" and len(parts[1]) == 1:
        return parts[1:]
    if parts and re.fullmatch("hs[a-z]", parts[0]):
        parts[0] = parts[0][2:]
    return parts
