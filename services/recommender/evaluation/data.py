"""Reading the data that protocols are about, into columns.

Responses come as tab-separated `user_id item_id timestamp correct skill_id` with `q_mat.npz` (items by skills, 1 where
an item has a skill), or as comma-separated `user_id, ..., problem_id, ..., skill_name, correct` in which a response
with k skills is k rows that follow one another. Files may be gzip-compressed.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import scipy.sparse

from services.common.identity import pseudonym
from services.recommender.domain.responses import ResponseTable, ResponseTableBuilder

# Learners are put in the order of hashes of their ids, as in a log of pseudonyms.
_PSEUDONYM_SECRET = b"cairn evaluation"


class DataUnusableError(ValueError):
    """A file of a protocol is missing or malformed; the message names it and says what would be right."""


def learner_id(identifier: str) -> str:
    """The pseudonym that stands for a learner of a data set."""
    return pseudonym(_PSEUDONYM_SECRET, identifier)


def read_tracing_table(folder: Path, names: Iterable[str]) -> tuple[ResponseTable, list[dict[str, str]]]:
    """Responses of some tab-separated files in one table, and the learners of each file: their pseudonyms by id.

    Args:
        folder: where the files and `q_mat.npz` are.
        names: the files' names, with or without `.gz`.

    Raises:
        DataUnusableError: when a file is missing or malformed.
    """
    skills_of_item = _skills_of_items(folder / "q_mat.npz")
    builder = ResponseTableBuilder()
    learners: list[dict[str, str]] = []
    for name in names:
        path = _found(folder, name)
        seen: dict[str, str] = {}
        with _rows(path, ("user_id", "item_id", "timestamp", "correct"), "\t") as rows:
            for number, row in enumerate(rows, 2):
                learner, item = seen.get(row["user_id"]), row["item_id"]
                if learner is None:
                    learner = seen[row["user_id"]] = learner_id(row["user_id"])
                try:
                    skills = _skills_of(item, skills_of_item)
                    correct, at_s = _correct(row["correct"]), int(row["timestamp"])
                except ValueError as error:
                    raise DataUnusableError(f"{path}: line {number}: {error}") from error
                builder.append(learner=learner, item=item, skills=skills, response=correct, at_s=at_s)
        learners.append(seen)
    return builder.build(), learners


def read_interactions(folder: Path) -> ResponseTable:
    """Responses of `interactions.csv`, each problem being a resource too.

    Adjacent rows of the same learner, problem and outcome with a new skill are one response: one answer to a problem
    with k skills is written as k rows.

    Raises:
        DataUnusableError: when the file is missing or malformed.
    """
    path = _found(folder, "interactions.csv")
    builder = ResponseTableBuilder()

    def add(response: tuple[str, str, str], skills: list[str]) -> None:
        learner, problem, correct = response
        builder.append(
            learner=learner_id(learner), item=problem, skills=skills, response=_correct(correct), resource=problem
        )

    with _rows(path, ("user_id", "problem_id", "skill_name", "correct"), ",") as rows:
        current: tuple[str, str, str] | None = None
        skills: list[str] = []
        for number, row in enumerate(rows, 2):
            response = (row["user_id"], row["problem_id"], row["correct"])
            if response == current and row["skill_name"] not in skills:
                skills.append(row["skill_name"])
                continue
            try:
                if current is not None:
                    add(current, skills)
            except ValueError as error:
                raise DataUnusableError(f"{path}: before line {number}: {error}") from error
            current, skills = response, [row["skill_name"]]
        if current is not None:
            add(current, skills)
    return builder.build()


def _skills_of(item: str, skills_of_item: Sequence[list[str]]) -> list[str]:
    number = int(item)
    if not 0 <= number < len(skills_of_item):
        raise ValueError(f"item_id {item} is not a row of q_mat.npz, which has {len(skills_of_item)}")
    return skills_of_item[number]


def _correct(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"correct is {text}, not in [0, 1]")
    return value


def _found(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise DataUnusableError(f"{folder} holds neither {name}.gz nor {name}; name the protocol's folder with --data")


def _skills_of_items(path: Path) -> list[list[str]]:
    try:
        matrix = scipy.sparse.csr_matrix(scipy.sparse.load_npz(path))
    except (OSError, ValueError, KeyError) as error:
        raise DataUnusableError(f"{path} is not a sparse matrix of items by skills: {error}") from error
    return [
        [str(skill) for skill in np.sort(matrix.indices[matrix.indptr[item] : matrix.indptr[item + 1]])]
        for item in range(matrix.shape[0])
    ]


@contextmanager
def _rows(path: Path, columns: tuple[str, ...], delimiter: str) -> Iterator[Iterator[dict[str, str]]]:
    with _opened(path) as file:
        reader = csv.DictReader(file, delimiter=delimiter)
        missing = [column for column in columns if column not in (reader.fieldnames or ())]
        if missing:
            raise DataUnusableError(f"{path} lacks the column {missing[0]}; it needs {', '.join(columns)}")
        try:
            yield reader
        except (csv.Error, UnicodeDecodeError, EOFError) as error:
            raise DataUnusableError(f"{path}: line {reader.line_num}: {error}") from error


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")
