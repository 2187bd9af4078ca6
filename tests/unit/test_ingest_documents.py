"""Files of JSON documents, in every shape in which platforms write them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.tables.lines import FileUnusableError
from services.ingest.application.ports import FieldReason
from services.ingest.formats import documents
from services.ingest.formats.documents import documents_of

_ONE = {"id": 1, "text": 'braces } ] in a "text" \\', "list": [{"a": None}, []]}
_TWO = {"id": 2, "text": "ü\n", "empty": {}}
_WORDS = "Jul 14 14:39:26 lms [service_variant=lms][tracking][env:none] INFO [lms  7] [track.py:41] - "


def _read(folder: Path, content: str | bytes) -> list[object]:
    path = folder / "events"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = list(documents_of(path))
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    return [document for _, document in found]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps([_ONE, _TWO]),
        json.dumps([_ONE, _TWO], indent=2) + "\n",
        json.dumps([_ONE, _TWO], indent=0),
        json.dumps(_ONE) + "\n" + json.dumps(_TWO),
        json.dumps(_ONE) + "\r\n\r\n" + json.dumps(_TWO) + "\r\n",
        json.dumps(_ONE, indent=4) + "\n" + json.dumps(_TWO, indent=4),
        json.dumps(_ONE, indent=0) + json.dumps(_TWO, indent=0),
        json.dumps(_ONE) + json.dumps(_TWO),
        json.dumps(_ONE) + ",\n" + json.dumps(_TWO) + ",\n",
        "\x1e" + json.dumps(_ONE) + "\n\x1e" + json.dumps(_TWO) + "\n",
        json.dumps([_ONE]) + "\n" + json.dumps([_TWO]) + "\n[]\n",
        _WORDS + json.dumps(_ONE) + "\n" + _WORDS + json.dumps(_TWO) + "\n",
        "[tracking] " + json.dumps(_ONE) + "\n[tracking] " + json.dumps(_TWO) + "\n",
        "\ufeff" + json.dumps(_ONE) + "\n" + json.dumps(_TWO),
        gzip.compress((json.dumps(_ONE) + "\n" + json.dumps(_TWO)).encode()),
    ],
    ids=[
        "array",
        "indented-array",
        "unindented-array-of-lines",
        "lines",
        "lines-of-windows",
        "indented-objects",
        "unindented-objects-of-lines",
        "one-after-the-other",
        "lines-with-commas",
        "text-sequence",
        "arrays-on-lines",
        "log-lines",
        "log-lines-with-brackets",
        "byte-order-mark",
        "gzip",
    ],
)
@pytest.mark.parametrize("read_bytes", [1, 7, 1 << 16])
def test_every_shape_holds_the_same_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | bytes, read_bytes: int
) -> None:
    monkeypatch.setattr(documents, "_READ_BYTES", read_bytes)
    assert _read(tmp_path, content) == [_ONE, _TWO]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ('{"id": 0,}\n{"id": 1}\n{"id": 2}\n', 0),
        ('{"id": 1}\n{"id": {"a": 1\n{"id": 2}\n', 1),
        ('{"id": 1}\n{"id": {"a": 1,\n{"id": 2}\n', 1),
        ('{"id": 1}\n{"id": "cut\n{"id": 2}\n', 1),
        (f'{_WORDS}{{"id": 1}}\n{_WORDS}{{"id": {{"a"\n{_WORDS}{{"id": 2}}\n', 1),
        ('{"id": 1}\nno document\n{"id": 2}\n', 1),
        ('[{"id": 1}, {"id": NaN}, {"id": 2}]', 1),
        ('[{"id": 1}, {"id": ]}, {"id": 2}]', 1),
        ('[{"id": 1},\n{"id": "cut\n{"id": 2}\n]', 1),
        ('{"id": 1}\n{"id": "\\ud800"}\n{"id": 2}', 1),
        ('{"id": 1}\n{\n  "id":\n}\n{"id": 2}', 1),
        ('{"id": 1}\n{"id": 2}\n[{"id": 3', 2),
        ('{"id": 1}\n{"id": 2}\n' + "[" * 2000, 2),
        ('{"id": 1}\n{"id": 2}\n"text', 2),
    ],
)
def test_a_document_that_cannot_be_read_costs_no_other(tmp_path: Path, content: str, place: int) -> None:
    found = _read(tmp_path, content)
    assert isinstance(found[place], FieldReason)
    assert [document for document in found if not isinstance(document, FieldReason)] == [{"id": 1}, {"id": 2}]


def test_a_file_that_ends_within_an_array_says_so(tmp_path: Path) -> None:
    assert _read(tmp_path, '[{"id": 1},') == [
        {"id": 1},
        FieldReason("", "the file ends within an array: fetch it again, or add the bracket that closes it"),
    ]


def test_a_document_that_is_too_long_is_named_and_the_next_line_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "DOCUMENT_BYTES_MAX", 1_000)
    monkeypatch.setattr(documents, "_READ_BYTES", 100)
    long, two = _read(tmp_path, json.dumps({"id": [0] * 2_000}) + "\n" + json.dumps(_TWO))
    assert isinstance(long, FieldReason)
    assert "more than 1,000 bytes" in long.reason
    assert two == _TWO


def test_a_file_without_documents_holds_none(tmp_path: Path) -> None:
    assert _read(tmp_path, b"") == _read(tmp_path, b" \n\n") == _read(tmp_path, b"[]") == []


def test_a_file_with_damaged_compression_is_unusable(tmp_path: Path) -> None:
    path = tmp_path / "events.gz"
    path.write_bytes(gzip.compress(json.dumps(_ONE).encode())[:-9])
    with pytest.raises(FileUnusableError, match="is damaged"):
        list(documents_of(path))
    with pytest.raises(FileUnusableError, match="cannot be read"):
        list(documents_of(tmp_path / "absent"))


def _objects(inner: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    return st.dictionaries(st.text(), inner, max_size=4)


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | _objects(inner),
)


@given(
    st.lists(_objects(_json), max_size=5),
    st.sampled_from([None, 0, 2]),
    st.sampled_from(["array", "lines"]),
    st.integers(1, 50),
)
def test_any_objects_are_read_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, expected: list[object], indent: int | None, form: str, read: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "events.json"
    whole = json.dumps(expected, indent=indent)
    text = whole if form == "array" else "\n".join(json.dumps(one, indent=indent) for one in expected)
    path.write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "_READ_BYTES", read)
        assert [document for _, document in documents_of(path)] == expected


@given(st.binary(max_size=60) | st.text('[]{}",:\\ \n1a\x1e', max_size=60).map(str.encode))
def test_any_bytes_are_read_to_the_end(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.json"
    path.write_bytes(content.removeprefix(b"\x1f\x8b"))
    list(documents_of(path))
