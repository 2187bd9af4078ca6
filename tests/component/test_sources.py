"""Known sources: every folder of `services/ingest/sources`, and the example of `docs/sources.md`."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from services.common.tables import FileUnusableError, confined
from services.ingest.formats.sources import FOLDER, known_sources, recognised, source_named
from tests.sources.checks import problems_of, read_samples, report_line

ROOT = Path(__file__).parents[2]
SOURCES = known_sources()


@pytest.mark.parametrize("source", SOURCES, ids=[source.name for source in SOURCES])
def test_the_samples_of_a_source_become_what_they_must(source):
    assert list(problems_of(source, read_samples(source))) == []


def test_every_folder_is_a_source_and_says_which_public_page_it_was_learnt_from():
    assert {source.name for source in SOURCES} == {path.name for path in FOLDER.iterdir()}
    assert len({source.title for source in SOURCES}) == len(SOURCES)


def test_samples_hold_no_address_of_a_real_domain():
    for path in FOLDER.rglob("*.csv"):
        for domain in re.findall(r"@([\w.-]+\.\w+)", path.read_text(encoding="utf-8-sig")):
            assert domain.endswith("example.org"), path


@pytest.fixture
def quizbox(tmp_path):
    """The folder that the steps of the document write."""
    document = (ROOT / "docs" / "sources.md").read_text()
    for path, content in re.findall(r"^cat > (\S+) <<'EOF'\n(.*?)^EOF$", document, re.DOTALL | re.MULTILINE):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return tmp_path / "services" / "ingest" / "sources" / "quizbox"


def test_the_document_adds_a_source_that_passes_the_check(quizbox):
    (source,) = known_sources(quizbox.parent)
    reading = read_samples(source)
    assert list(problems_of(source, reading)) == []
    assert (reading.rows, len(reading.taken)) == (7, 3)
    assert reading.skills == Counter({"3.NF.A.1": 2, "3.MD.C.7": 1, "3.MD.C.5": 1})
    assert report_line(source, reading).split()[:5] == ["quizbox", "7", "3", "1", "3"]


def test_no_known_source_takes_the_example_of_the_document_for_its_own(quizbox):
    assert recognised(quizbox / "sample.csv") == []


def changed(folder, file, old, new):
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("expected.ndjson", '"raw": 8.5', '"raw": 8', "expected, and not read"),
        ("expected.ndjson", '"min": 0, "max": 4', '"min": 0, "max": 5', "read, and not expected"),
        ("source.yaml", "without an outcome: 1", "without an outcome: 2", "left out"),
        ("source.yaml", "line: 7", "line: 6", "refused"),
        ("source.yaml", "Out of,", "Out,", "sample.csv is recognised as nothing"),
        ("notes.md", "Traps\n", "Traps\n" + "- more\n" * 20, "notes.md has more than 25 lines"),
    ],
)
def test_the_check_finds_what_is_wrong_with_a_folder(quizbox, file, old, new, said):
    changed(quizbox, file, old, new)
    (source,) = known_sources(quizbox.parent)
    assert any(said in problem for problem in problems_of(source, read_samples(source)))


def test_events_in_another_order_are_found(quizbox):
    lines = (quizbox / "expected.ndjson").read_text().splitlines(keepends=True)
    (quizbox / "expected.ndjson").write_text("".join(reversed(lines)))
    (source,) = known_sources(quizbox.parent)
    assert list(problems_of(source, read_samples(source))) == ["the events are those expected, in another order"]


def test_two_events_of_one_id_are_found(quizbox):
    changed(quizbox, "mapping.yaml", "columns:\n", "columns:\n  event_id: Standard\n")
    changed(quizbox, "sample.csv", "7003", "7001")
    (source,) = known_sources(quizbox.parent)
    said = "two events have the same id, so that one of them would be lost"
    assert said in list(problems_of(source, read_samples(source)))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("title: Quizbox results", "titel: Quizbox results", "title: Field required"),
        ("https://quizbox.example/help/export", "a colleague", "documentation: String should match"),
        ("Pupil number, Quiz", "'(Pupil', Quiz", "is not a regular expression"),
        ("title: Quizbox results", "title: [", "is not YAML"),
    ],
)
def test_a_source_that_cannot_be_used_is_named_with_the_key(quizbox, old, new, said):
    changed(quizbox, "source.yaml", old, new)
    with pytest.raises(FileUnusableError, match=r"source\.yaml") as raised:
        known_sources(quizbox.parent)
    assert said in str(raised.value)


def test_a_source_is_found_by_its_name():
    assert source_named("canvas-gradebook").title == "Canvas gradebook export"
    assert source_named("gradebook") is None


def test_an_export_that_two_sources_recognise_is_recognised_as_both(quizbox):
    twin = quizbox.parent / "another-quizbox"
    twin.mkdir()
    for path in quizbox.iterdir():
        (twin / path.name).write_text(path.read_text())
    found = recognised(quizbox / "sample.csv", quizbox.parent)
    assert [source.name for source in found] == ["another-quizbox", "quizbox"]


def test_a_source_without_a_sign_names_the_one_that_its_samples_are_recognised_as(quizbox):
    twin = quizbox.parent / "another-quizbox"
    shutil.copytree(quizbox, twin)
    changed(twin, "source.yaml", "[Pupil number, Quiz, Out of, Finished]", "[]")
    source = source_named("another-quizbox", quizbox.parent)
    said = "sample.csv is recognised as quizbox, and notes.md does not say so"
    assert list(problems_of(source, read_samples(source))) == [said]
    changed(twin, "notes.md", "Traps\n", "Traps\n- Load this or `quizbox`, not both.\n")
    assert list(problems_of(source, read_samples(source))) == []


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"a,b\n1,2\n", b"PK\x03\x04", b"PAR1"])
def test_a_file_that_is_no_known_export_is_not_recognised(tmp_path, content):
    (tmp_path / "file.csv").write_bytes(content)
    assert recognised(tmp_path / "file.csv") == []


def test_a_parquet_file_is_opened_once_to_recognise_it(tmp_path, monkeypatch):
    columns = ["Anon Student Id", "Problem Hierarchy", "Problem View", "Step Name", "First Transaction Time",
               "First Attempt", "KC (Rules)"]  # fmt: skip
    pq.write_table(pa.table({name: ["a"] for name in columns}), tmp_path / "steps.parquet")
    opened = []
    open_process = subprocess.Popen

    def counted(*args, **keys):
        opened.append(args)
        return open_process(*args, **keys)

    monkeypatch.setattr(confined.subprocess, "Popen", counted)
    assert [source.name for source in recognised(tmp_path / "steps.parquet")] == ["datashop-steps"]
    assert len(opened) == 1


def test_every_mapping_names_its_source_in_a_short_word():
    for source in SOURCES:
        if source.mapping() is not None:
            mapping = yaml.safe_load(source.mapping_path.read_text())
            assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)*", mapping["constants"]["source"]), source.name
