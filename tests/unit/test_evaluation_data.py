"""The data of the protocols: a file is read, or a message names it, the value and the remedy."""

from __future__ import annotations

import gzip
import tempfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from services.recommender.domain.training.responses import ResponseTable
from services.recommender.evaluation.data import (
    read_given_split,
    read_groups,
    read_interactions,
    read_prerequisites,
    read_responses,
    read_tracing_table,
)
from services.recommender.evaluation.tables import DataUnusableError
from services.recommender.evaluation.tracing import given_split

HEADER = "learner,item,skills,correct,time\n"
PLAIN = HEADER + "ann,i1,s1;s2,1,1700000000\nann,i2,,0,1700003600\nbob,i1,s1,1,1700000007\n"

READERS = {
    "responses.csv": read_responses,
    "interactions.csv": lambda folder: read_interactions(folder, seed=1),
    "problems": read_responses,
    "log.inter": lambda folder: read_interactions(folder, seed=1),
    "train.txt": read_given_split,
    "train.csv": read_given_split,
    "groups.csv": read_groups,
    "prerequisites.csv": read_prerequisites,
    "responses.tsv": lambda folder: read_tracing_table(folder, ("responses.tsv",)),
}
COLUMNS = {
    "responses.csv": "learner,item,skills,correct,time",
    "interactions.csv": "learner,resource,time",
    "problems": "user_id,problem_id,skill_name,correct",
    "log.inter": "user_id:token\titem_id:token\ttimestamp:float",
    "train.txt": "",
    "train.csv": "learner,resource,time",
    "groups.csv": "learner,group",
    "prerequisites.csv": "skill,prerequisite",
    "responses.tsv": "user_id\titem_id\ttimestamp\tcorrect",
}


def write(folder: Path, name: str, content: bytes) -> None:
    scipy.sparse.save_npz(folder / "q_mat.npz", scipy.sparse.csr_matrix(np.eye(3)))
    (folder / ("interactions.csv" if name == "problems" else name)).write_bytes(content)
    if name.startswith("train") and not name.endswith(".tsv"):
        (folder / name.replace("train", "test")).write_bytes(content)


def read_or_refused(name: str, content: bytes) -> str:
    """The message of a file that is refused; empty when it is read."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), name, content)
        try:
            READERS[name](Path(folder))
        except DataUnusableError as error:
            return str(error).replace(folder, "FOLDER")
    return ""


NUMBERS = ["0", "1", "0.5", "2", "-1", "nan", "inf", "-inf", "1e999", "1e18", "9" * 5_000, "1_0", "\u0661"]
TIMES = ["2026-09-01T08:30:00Z", "2026-09-01", "2026-13-01", "0001-01-01T00:00+14:00", "9999-12-31T23:59:59-14:00"]
TEXTS = ["", " ", "true", "False", "\u00e9", "e\u0301", "\u200b", "\ufeff", '"', '"a', 'a"b', '="1"', "sep=;"]
SKILL_LISTS = [";", ";;a; a", ";".join(map(str, range(300)))]
cells = st.one_of(st.sampled_from([*NUMBERS, *TIMES, *TEXTS, *SKILL_LISTS]), st.text(max_size=6))


@st.composite
def tables(draw: st.DrawFn, name: str) -> bytes:
    columns = COLUMNS[name]
    delimiter = "\t" if "\t" in columns else " " if not columns else ","
    rows = draw(st.lists(st.lists(cells, min_size=1, max_size=6), max_size=4))
    lines = [draw(st.sampled_from([columns, columns, "learner" + delimiter + "other"])), *map(delimiter.join, rows)]
    ends = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    content = (draw(st.sampled_from(["", "\ufeff"])) + ends.join(lines)).encode(errors="surrogatepass")
    return gzip.compress(content) if draw(st.booleans()) else content


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_every_file_is_read_or_refused_with_its_name(name, data):
    content = data.draw(st.one_of(tables(name), tables(name), st.binary(max_size=40)))
    message = read_or_refused(name, content)
    assert not message or "FOLDER" in message


def response_table(folder: Path, content: bytes, name: str = "responses.csv") -> ResponseTable:
    for file in folder.iterdir():
        file.unlink()
    (folder / name).write_bytes(content)
    return read_responses(folder)


def as_lists(table: ResponseTable) -> dict[str, list[object]]:
    return {field.name: list(getattr(table, field.name)) for field in fields(table)}


def replaced(*pairs: tuple[str, str]) -> bytes:
    text = PLAIN
    for old, new in pairs:
        text = text.replace(old, new)
    return text.encode()


LINES = PLAIN.splitlines()
ISO = [("1700000000", "2023-11-14T22:13:20Z"), ("1700003600", "2023-11-15T00:13:20+01:00")]
SAME = {
    "byte order mark": ("\ufeff" + PLAIN).encode(),
    "CRLF": replaced(("\n", "\r\n")),
    "gzip": gzip.compress(PLAIN.encode()),
    "named delimiter": b"sep=|\n" + replaced((",", "|")),
    "true and false": replaced((",1,1", ",true,1"), (",0,1", ",FALSE,1")),
    "right and wrong": replaced((",1,1", ",right,1"), (",0,1", ",wrong,1")),
    "ISO 8601": replaced(*ISO, ("1700000007", "2023-11-14 22:13:27")),
    "empty rows": "\n".join([*LINES, "", ",,,,", ""]).encode(),
    "more columns": "\n".join(line + ",more" for line in LINES).encode(),
    "times out of order": "\n".join(LINES[place] for place in (0, 2, 3, 1)).encode(),
}


@pytest.mark.parametrize("content", SAME.values(), ids=SAME)
def test_a_table_is_the_same_however_it_is_written(tmp_path, content):
    expected = as_lists(response_table(tmp_path, PLAIN.encode()))
    assert sorted(expected["response"]) == [0.0, 1.0, 1.0]
    assert as_lists(response_table(tmp_path, content)) == expected


def test_a_parquet_file_is_read_as_the_text_with_its_cells(tmp_path):
    expected = as_lists(response_table(tmp_path, PLAIN.encode()))
    (tmp_path / "responses.csv").unlink()
    moments = pa.array([1_700_000_000, 1_700_003_600, 1_700_000_007], pa.timestamp("s", "UTC"))
    columns = {
        "learner": ["ann", "ann", "bob"],
        "item": ["i1", "i2", "i1"],
        "skills": [["s1", "s2"], [], ["s1"]],
        "correct": [True, False, True],
        "time": moments,
    }
    pa.parquet.write_table(pa.table(columns), tmp_path / "responses.parquet")
    assert as_lists(read_responses(tmp_path)) == expected
    columns["time"] = pa.array([1_700_000_000, None, 1_700_000_007])
    pa.parquet.write_table(pa.table(columns), tmp_path / "responses.parquet")
    with pytest.raises(DataUnusableError, match=r"responses\.parquet: line 2: time is empty"):
        read_responses(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("ann,i,s,maybe,5", "line 2: correct is 'maybe', not in [0, 1]: write true or false, or a score from 0 to 1"),
        ("ann,i,s,nan,5", "line 2: correct is 'nan', not in [0, 1]"),
        ("ann,i,s,7,5", "line 2: correct is 7, not in [0, 1]"),
        ("ann,i,s,,5", "line 2: correct is '', not in [0, 1]"),
        ("ann,i,s,1,1700000000000", "time is 1700000000000: it must be Unix seconds, or ISO 8601; divide milliseconds"),
        ("ann,i,s,1,-5", "time is -5: it must be Unix seconds, or ISO 8601; times before 1970 cannot be read"),
        ("ann,i,s,1,inf", "time is 'inf': it must be Unix seconds, or ISO 8601 such as"),
        ("ann,i,s,1,", "time is empty: give every row a time, or remove the column"),
        (",i,s,1,5", "line 2: learner is empty: write an id, or leave out the row"),
        (f"ann,i,{';'.join(map(str, range(256)))},1,5", "line 2: there are 256 skills: a response has at most 255"),
        ("ann,i,s", "line 2 has 3 columns, the header 5"),
        ('ann,"i,s,1,5', "line 2 opens a quote that is not closed"),
    ],
)
def test_a_wrong_cell_is_named_with_file_line_value_and_remedy(tmp_path, row, message):
    with pytest.raises(DataUnusableError) as raised:
        response_table(tmp_path, f"{HEADER}{row}\n".encode())
    assert "responses.csv" in str(raised.value)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no line 1 with a header"),
        ("learner;item;skills;correct\n", "lacks the column learner; it needs learner, item, skills, correct, and has"),
        ("learner,item,skills,correct,item\n", "has 2 columns item: remove or rename all but one"),
    ],
)
def test_a_header_that_does_not_fit_is_refused_with_what_it_lacks(tmp_path, content, message):
    with pytest.raises(DataUnusableError) as raised:
        response_table(tmp_path, content.encode())
    assert message in str(raised.value)


def test_255_skills_are_read():
    rows = HEADER + f"ann,i,{';'.join(map(str, range(255)))},1,5\n"
    assert not read_or_refused("responses.csv", rows.encode())


def test_problems_with_too_many_skills_or_none_are_told_apart(tmp_path):
    header = "user_id,problem_id,skill_name,correct\n"
    with pytest.raises(DataUnusableError, match="problem p of learner ann: there are 256 skills"):
        response_table(tmp_path, (header + "".join(f"ann,p,{n},1\n" for n in range(256))).encode(), "interactions.csv")
    table = response_table(tmp_path, f"{header}ann,p,,1\nann,p,,1\nann,q,s,1\n".encode(), "interactions.csv")
    assert table.skills == ("s",)
    assert np.diff(table.skill_start).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tno\t0\t1", "item_id no is not a row of q_mat.npz"),
        ("a\t3\t0\t1", "item_id 3 is not a row of q_mat.npz, which has 3"),
        ("a\t-1\t0\t1", "item_id -1 is not a row of q_mat.npz"),
        (f"a\t{'9' * 5_000}\t0\t1", "is not a row of q_mat.npz"),
    ],
)
def test_items_that_the_matrix_lacks_are_named(content, message):
    assert message in read_or_refused("responses.tsv", f"{COLUMNS['responses.tsv']}\n{content}\n".encode())


@pytest.mark.parametrize("content", [b"", b"no", b"PK\x03\x04", b"\x93NUMPY"])
def test_a_damaged_matrix_is_refused(tmp_path, content):
    write(tmp_path, "responses.tsv", f"{COLUMNS['responses.tsv']}\na\t1\t0\t1\n".encode())
    whole = (tmp_path / "q_mat.npz").read_bytes()
    for damaged in (content, whole[: len(whole) // 2]):
        (tmp_path / "q_mat.npz").write_bytes(damaged)
        with pytest.raises(DataUnusableError, match=r"q_mat\.npz is not a sparse matrix of items by skills"):
            read_tracing_table(tmp_path, ("responses.tsv",))


def test_a_learner_on_both_sides_is_found_in_every_form_of_the_id(tmp_path):
    for name, learner in (("train.tsv", "\u00e9"), ("test.tsv", "e\u0301")):
        write(tmp_path, name, f"{COLUMNS['responses.tsv']}\n{learner}\t1\t0\t1\n".encode())
    with pytest.raises(DataUnusableError, match=r"1 learners are in both train\.tsv and test\.tsv"):
        given_split(tmp_path)
