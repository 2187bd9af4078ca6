"""A proposed mapping as YAML, which stays YAML whatever is in the cells."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from services.common.tables.detection import DetectedLayout
from services.ingest.formats.mapping.model import OPEN
from services.ingest.formats.proposal.fields import Entry, Fields

_COMMENT_CHARACTERS = 160


def document_of(name: str, detected: DetectedLayout, fields: Fields) -> str:
    """The text of the mapping file.

    Args:
        name: of the table's file.
        detected: how the file holds the table.
        fields: the mapping.
    """
    entries = [*fields.columns, *fields.settings]
    layout = detected.layout.model_dump(mode="json", exclude_defaults=True)
    questions = sum(json.dumps(entry.value).count(f'"{OPEN}"') for entry in entries)
    lines = [
        _comment(f"Proposed from {name}. Check every line, then: cairn ingest load {name} --mapping THIS --preview"),
        *([_comment(f"{questions} to answer: replace each {OPEN}; no load accepts it")] if questions else []),
        *(_comment(sentence) for sentence in detected.evidence),
        *(_line("", Entry(key, value, "")) for key, value in layout.items()),
        "columns:",
        *(_line("  ", entry) for entry in fields.columns),
        *(_line("", entry) for entry in fields.settings),
    ]
    if fields.unused:
        lines.append("# not used:")
        lines += [_comment(f"  {column}{': ' if why else ''}{why}") for column, why in fields.unused]
    return "\n".join(lines) + "\n"


def _line(indent: str, entry: Entry) -> str:
    why = f"  {_comment(entry.why)}" if entry.why else ""
    return f"{indent}{entry.key}: {_value(entry.value)}{why}"


def _value(value: Any) -> str:
    """A value in YAML's flow style, in one line."""
    if value == OPEN:
        return OPEN
    # JSON is YAML, but for the escapes of characters beyond 16 bits.
    text = "".join(
        each if each.isprintable() else f"\\U{ord(each):08x}" for each in json.dumps(value, ensure_ascii=False)
    )
    if yaml.safe_load(text) != value:
        raise AssertionError(f"{text} does not read back as it was written")
    return text.replace(f'"{OPEN}"', OPEN)


def _comment(text: str) -> str:
    plain = re.sub(r"\s+", " ", text)
    return "# " + "".join(each if each.isprintable() else "?" for each in plain)[:_COMMENT_CHARACTERS]
