"""The language of the project: plain, modern English and the field's standard terms.

It fails for phrases that have crept in before, in everything that people read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What not to write, and what to write instead.
PHRASES = {
    r"\banew\b": "again, from scratch",
    r"\bafresh\b": "again",
    r"\bso many\b": "N, k, a number of",
    r"\bforesee\w*|\bforesaw\b|\bforetold\b": "predict, expect",
    r"\bwishes\b": "preferences",
    r"\b(?:laid|lays?|laying) (?:down|out)\b": "add, define, prepare, index",
    r"\bword (?:of|may|can|came|comes)\b": "notification",
    r"\btold (?:by what|of|about)\b": "recognised by, notified of",
    r"\btells? (?:of|nobody)\b": "report, show",
    r"\bnobody (?:is|was) told\b": "not reported",
    r"\bbeside\b": "alongside, next to, in addition to",
    r"\bin force\b": "active",
    r"\bstand-ins?\b": "fake",
    r"\bupkeep\b": "background refresh",
    r"\bsuccess head\b": "success model",
    r"\bopener\b": "decryptor",
    r"\bhabits\b": "interaction statistics",
    r"\bstrangers\b": "suspected mistags",
    r"\btrail\b": "recent activity",
    r"\bladder\b": "parameter grid",
}

# (file, phrase): why it may stay.
EXCEPTIONS = {
    ("deploy/local/sample/", ""): "sample data: titles and texts of learning resources",
}

_SUFFIXES = {".jsonl", ".md", ".proto", ".py", ".toml", ".yaml", ".yml"}
_PLACES = ("services", "deploy", "docs", "protos", "tests", "README.md", "CHANGELOG.md", "Makefile", ".ci/run")


def files() -> Iterator[Path]:
    """Every file that people read, except generated code."""
    for place in _PLACES:
        path = ROOT / place
        found = [path] if path.is_file() else sorted(path.rglob("*"))
        for file in found:
            readable = file.suffix in _SUFFIXES or file.name in {"Makefile", "run"}
            if file.is_file() and readable and "_pb2" not in file.name:
                yield file


def lines_with(phrase: str) -> list[str]:
    """`file:line: text` of each line with the phrase, where no exception allows it."""
    pattern = re.compile(phrase, re.IGNORECASE)
    found = []
    for file in files():
        name = file.relative_to(ROOT).as_posix()
        if any(name.startswith(start) and allowed in {"", phrase} for start, allowed in EXCEPTIONS):
            continue
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if pattern.search(line.replace("_", " ")):
                found.append(f"{name}:{number}: {line.strip()[:100]}")
    return found


@pytest.mark.parametrize("phrase", PHRASES)
def test_nothing_that_people_read_contains_the_phrase(phrase):
    found = lines_with(phrase)
    assert not found, f"write {PHRASES[phrase]!r} instead:\n" + "\n".join(found)


@pytest.mark.parametrize(("place", "phrase"), EXCEPTIONS)
def test_every_exception_is_needed(place, phrase):
    texts = [file.read_text() for file in files() if file.relative_to(ROOT).as_posix().startswith(place)]
    phrases = [phrase] if phrase else list(PHRASES)
    assert any(re.search(each, text, re.IGNORECASE) for text in texts for each in phrases)
