"""What must not depend on the machine: its locale, and how busy it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = [path for folder in ("services", "deploy", "protos/cairn/client") for path in (ROOT / folder).rglob("*.py")]

# Calls that open a text file, and the number of the argument that holds the mode; None: always text.
TEXT = {"read_text": None, "write_text": None, "open": 0, "fdopen": 1}


def unspecified(source: str) -> Iterator[int]:
    """Lines that open a text file in the encoding of the locale."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name, owner = node.func.attr, ast.unparse(node.func.value)
        if name not in TEXT or (name, owner) == ("open", "os") or owner in {"webbrowser", "Image", "pq", "archive"}:
            continue
        place = TEXT[name]
        if place is not None and owner == "gzip":
            place = 1
        mode = "r"
        if place is not None and len(node.args) > place:
            mode = ast.unparse(node.args[place])
        elif owner == "gzip":
            mode = "rb"
        if "b" not in mode and all(keyword.arg != "encoding" for keyword in node.keywords):
            yield node.lineno


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("path.read_text()", [1]),
        ("path.write_text(text)", [1]),
        ("path.open()", [1]),
        ("os.fdopen(descriptor, 'w')", [1]),
        ("gzip.open(path, 'rt')", [1]),
        ("path.read_text(encoding='utf-8')", []),
        ("path.open('rb')", []),
        ("gzip.open(path)", []),
        ("os.open(path, os.O_RDONLY)", []),
        # What is in a zip file is opened as bytes.
        ("archive.open(member)", []),
    ],
)
def test_text_in_the_locales_encoding_is_found(source, found):
    assert list(unspecified(source)) == found


def test_every_text_file_has_an_encoding_whatever_the_locale():
    found = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in PROGRAMS
        for line in unspecified(path.read_text(encoding="utf-8"))
    }
    assert not found, "these fail or misread other letters in a locale without UTF-8: name the encoding"


def test_examples_of_property_tests_have_no_deadline():
    # With one, a test fails when the machine is busy.
    assert hypothesis.settings.default.deadline is None
