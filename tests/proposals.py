"""Proposals of mappings, what they ask, and which columns they do not use."""

import re

import yaml

from services.ingest.formats.mapping.model import OPEN
from services.ingest.formats.proposal import propose_mapping


def proposer(folder):
    """A function that proposes for a table of text; it returns the text of the proposal and its content."""

    def proposed(table, *, source="s", name="table.csv", encoding="utf-8"):
        path = folder / name
        path.write_bytes(table.encode(encoding))
        text = propose_mapping(path, source)
        return text, yaml.safe_load(text)

    return proposed


def questions(text):
    """The question of each key that is open."""
    return dict(re.findall(rf"^ *(\w+): .*?{OPEN}.*?  # (.*)$", text, re.MULTILINE))


def unused(text):
    """Why each column is not used."""
    lines = text.partition("# not used:\n")[2].splitlines()
    return dict(line.removeprefix("#  ").partition(": ")[::2] for line in lines)
