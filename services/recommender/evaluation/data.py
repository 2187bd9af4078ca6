"""Reads the data of the protocols into columns.

Responses come as tab-separated `user_id item_id timestamp correct skill_id` with `q_mat.npz` (items by skills, 1 where
an item has a skill), or as comma-separated `user_id, ..., problem_id, ..., skill_name, correct` in which a response
with k skills is k rows that follow one another. Files may be gzip-compressed, and tables may be Parquet.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from services.common.auth.identity import pseudonym
from services.common.tables import Cell
from services.recommender.domain.training.responses import ResponseTable, ResponseTableBuilder
from services.recommender.evaluation.tables import (
    DataUnusableError,
    check_skills,
    id_of,
    outcome_of,
    rows_of,
    skills_of,
    text_of,
    time_s_of,
    words_of,
)

# What is no file of a sparse matrix makes scipy raise these.
_NO_MATRIX = (
    OSError, EOFError, ValueError, KeyError, AttributeError, TypeError, NotImplementedError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip

# Learners are sorted by the hash of their id, as in a log of pseudonyms.
_PSEUDONYM_SECRET = b"cairn evaluation"


def learner_id(identifier: str) -> str:
    """Return the pseudonym of a learner of a data set."""
    return pseudonym(_PSEUDONYM_SECRET, identifier)


def read_tracing_table(folder: Path, names: Iterable[str]) -> tuple[ResponseTable, list[dict[str, str]]]:
    """Read tab-separated files into one table; also return the learners of each file, their pseudonyms by id.

    Args:
        folder: holds the files and `q_mat.npz`.
        names: the files' names, with or without `.gz`.

    Raises:
        DataUnusableError: when a file is missing or malformed.
    """
    skills_of_item = _skills_of_items(folder / "q_mat.npz")
    builder = ResponseTableBuilder()
    learners: list[dict[str, str]] = []
    for name in names:
        pseudonyms = _Pseudonyms()

        def add(learner: Cell, item: Cell, time: Cell, correct: Cell, pseudonyms: _Pseudonyms = pseudonyms) -> None:
            builder.append(
                learner=pseudonyms[id_of(learner, "user_id")],
                item=text_of(item).strip(),
                skills=_skills_of(item, skills_of_item),
                response=outcome_of(correct),
                at_s=int(time_s_of(time, "timestamp")),
            )

        for _ in rows_of(_found(folder, name), add, ("user_id", "item_id", "timestamp", "correct"), delimiter="\t"):
            pass
        learners.append(pseudonyms)
    return builder.build(), learners


def has_tracing_split(folder: Path) -> bool:
    """Whether the folder has responses of separate learners to fit and to evaluate on."""
    return _find(folder, "train.tsv") is not None


def has_responses(folder: Path) -> bool:
    """Whether the folder has a `responses.csv`, which `read_responses` reads."""
    return _find(folder, "responses.csv") is not None


def read_responses(folder: Path) -> ResponseTable:
    """Read `interactions.csv` or `responses.csv`; each item is also a resource.

    `interactions.csv` (`user_id, problem_id, skill_name, correct`, in order): adjacent rows of the same learner,
    problem and outcome with a new skill are one response, since one answer to a problem with k skills is written as k
    rows.
    `responses.csv` (`learner, item, skills, correct, time`): one row per response, skills separated by semicolons,
    sorted by time if that column exists.

    Raises:
        DataUnusableError: when the file is missing or malformed.
    """
    generic = _find(folder, "responses.csv")
    if generic is not None:
        return _read_generic_responses(generic)
    path = _found(folder, "interactions.csv")
    builder = ResponseTableBuilder()
    pseudonyms = _Pseudonyms()

    def read(learner: Cell, problem: Cell, skill: Cell, correct: Cell) -> tuple[tuple[str, str, float], str]:
        response = (id_of(learner, "user_id"), id_of(problem, "problem_id"), outcome_of(correct))
        return response, text_of(skill)

    def add(response: tuple[str, str, float], skills: list[str]) -> None:
        learner, problem, correct = response
        try:
            check_skills(len(skills))
        except ValueError as error:
            raise DataUnusableError(f"{path}: problem {problem} of learner {learner}: {error}") from error
        builder.append(learner=pseudonyms[learner], item=problem, skills=skills, response=correct, resource=problem)

    current: tuple[str, str, float] | None = None
    skills: list[str] = []
    for response, skill in rows_of(path, read, ("user_id", "problem_id", "skill_name", "correct")):
        if response == current and skill and skill not in skills:
            skills.append(skill)
            continue
        if current is not None:
            add(current, skills)
        current, skills = response, [skill] if skill else []
    if current is not None:
        add(current, skills)
    return builder.build()


def read_any_responses(folder: Path) -> ResponseTable:
    """Read all responses of a folder, in whichever form it has them: those of `read_responses`, or tables of tracing.

    Raises:
        DataUnusableError: when a file is missing or malformed.
    """
    if has_tracing_split(folder):
        return read_tracing_table(folder, ("train.tsv", "test.tsv"))[0]
    if _find(folder, "responses.tsv") is not None:
        return read_tracing_table(folder, ("responses.tsv",))[0]
    return read_responses(folder)


def skills_as_resources(table: ResponseTable) -> ResponseTable:
    """Return the same responses with skills as resources: one row for each skill of a response."""
    entries = table.skill_rows()
    return ResponseTable(
        learners=table.learners,
        items=table.items,
        skills=table.skills,
        resources=table.skills,
        learner=table.learner[entries],
        item=table.item[entries],
        response=table.response[entries],
        skill_start=np.arange(len(entries) + 1, dtype=np.int64),
        skill=table.skill,
        resource=table.skill,
        at_s=table.at_s[entries],
    )


def has_given_split(folder: Path) -> bool:
    """Whether the folder has a file `train`, which `read_given_split` reads."""
    return any(_find(folder, f"train.{form}") is not None for form in ("txt", "csv"))


def read_given_split(folder: Path) -> tuple[ResponseTable, NDArray[np.bool_]]:
    """Read the interactions of `train` and `test`; also return which rows are from `train`.

    In text files, each line is a learner and their resources (`learner resource resource ...`). In comma-separated
    files, each row is one interaction (`learner, resource`, and `time` if known).

    Raises:
        DataUnusableError: when a file is missing or malformed.
    """
    builder = ResponseTableBuilder()
    pseudonyms = _Pseudonyms()
    tags = _skills_of_resources(folder)
    from_train: list[bool] = []
    learners: list[str] = []
    for name in ("train", "test"):
        path = _find(folder, f"{name}.txt")
        pairs = _pairs_of_lines(path) if path is not None else _pairs_of_rows(_found(folder, f"{name}.csv"))
        for learner, resource, at_s in pairs:
            builder.append(
                learner=pseudonyms[learner],
                item="",
                skills=tags.get(resource, []),
                response=1.0,
                resource=resource,
                at_s=at_s,
            )
            from_train.append(name == "train")
            learners.append(pseudonyms[learner])
    return builder.build(), np.array(from_train, np.bool_)[np.argsort(np.array(learners), kind="stable")]


def read_interactions(folder: Path, *, seed: int) -> tuple[ResponseTable, NDArray[np.float64]]:
    """Read interactions sorted by time; also return a uniform draw for each row, made in the order of the file.

    From `interactions.csv` (`learner, resource, time`), else from the one file `*.inter`, whose columns are
    `user_id:token`, `item_id:token` and `timestamp:float`, separated by tabs.

    Args:
        folder: holds the file.
        seed: seeds numpy's legacy generator.

    Raises:
        DataUnusableError: when the file is missing or malformed.
    """
    path = _find(folder, "interactions.csv")
    if path is None:
        found = sorted([*folder.glob("*.inter"), *folder.glob("*.inter.gz")])
        if len(found) != 1:
            raise DataUnusableError(
                f"{folder} holds {len(found)} files *.inter and no interactions.csv; exactly one is needed"
            )
        path = found[0]
    triples = list(_pairs_of_rows(path))
    draw = np.random.RandomState(seed).random_sample(len(triples))
    order = np.argsort([at_s for _, _, at_s in triples], kind="stable")
    builder = ResponseTableBuilder()
    pseudonyms = _Pseudonyms()
    tags = _skills_of_resources(folder)
    for place in order.tolist():
        learner, resource, at_s = triples[place]
        builder.append(
            learner=pseudonyms[learner],
            item="",
            skills=tags.get(resource, []),
            response=1.0,
            resource=resource,
            at_s=at_s,
        )
    learners = np.array([pseudonyms[triples[place][0]] for place in order.tolist()])
    return builder.build(), draw[order][np.argsort(learners, kind="stable")]


def read_groups(folder: Path) -> dict[str, str]:
    """Read each learner's group, by pseudonym, from `groups.csv` (`learner, group`); empty without the file.

    Raises:
        DataUnusableError: when the file is malformed.
    """
    path = _find(folder, "groups.csv")
    if path is None:
        return {}
    return dict(
        rows_of(
            path,
            lambda learner, group: (learner_id(id_of(learner, "learner")), id_of(group, "group")),
            ("learner", "group"),
        )
    )


def read_prerequisites(folder: Path) -> list[tuple[str, str]]:
    """Read skills and their prerequisites from `prerequisites.csv` (`skill, prerequisite`); empty without the file.

    Raises:
        DataUnusableError: when the file is malformed.
    """
    path = _find(folder, "prerequisites.csv")
    if path is None:
        return []
    return list(
        rows_of(
            path,
            lambda skill, prerequisite: (id_of(skill, "skill"), id_of(prerequisite, "prerequisite")),
            ("skill", "prerequisite"),
        )
    )


class _Pseudonyms(dict[str, str]):
    """Pseudonyms by id; each is computed once."""

    def __missing__(self, identifier: str) -> str:
        self[identifier] = learner_id(identifier)
        return self[identifier]


def _read_generic_responses(path: Path) -> ResponseTable:
    pseudonyms = _Pseudonyms()

    def read(
        learner: Cell, item: Cell, skills: Cell, correct: Cell, time: Cell
    ) -> tuple[float, str, str, list[str], float]:
        at_s = 0.0 if time is None else time_s_of(time, "time")
        return at_s, pseudonyms[id_of(learner, "learner")], text_of(item), skills_of(skills), outcome_of(correct)

    builder = ResponseTableBuilder()
    found = rows_of(path, read, ("learner", "item", "skills", "correct"), optional=("time",))
    for at_s, learner, item, skills, correct in sorted(found, key=lambda row: row[0]):
        builder.append(learner=learner, item=item, skills=skills, response=correct, resource=item, at_s=int(at_s))
    return builder.build()


def _pairs_of_lines(path: Path) -> Iterator[tuple[str, str, int]]:
    for learner, *resources in words_of(path):
        for resource in resources:
            yield learner, resource, 0


def _pairs_of_rows(path: Path) -> Iterator[tuple[str, str, int]]:
    """Return learner, resource and time of each row; the time is 0 without that column."""
    typed = ".inter" in path.name
    of_learner, of_resource, of_time = (
        ("user_id", "item_id", "timestamp") if typed else ("learner", "resource", "time")
    )  # fmt: skip

    def read(learner: Cell, resource: Cell, time: Cell) -> tuple[str, str, int]:
        at_s = 0 if time is None else int(time_s_of(time, of_time))
        return id_of(learner, of_learner), id_of(resource, of_resource), at_s

    return rows_of(path, read, (of_learner, of_resource), optional=(of_time,), delimiter="\t" if typed else ",")


def _skills_of_resources(folder: Path) -> dict[str, list[str]]:
    """Read skills by resource from `resources.csv` (`id, text, skills`, skills joined by `;`); empty without it."""
    path = _find(folder, "resources.csv")
    if path is None:
        return {}
    return dict(rows_of(path, lambda resource, skills: (id_of(resource, "id"), skills_of(skills)), ("id", "skills")))


def _skills_of(item: Cell, skills_of_item: Sequence[list[str]]) -> list[str]:
    text = text_of(item).strip()
    number = int(text) if text.isdecimal() and len(text) < 10 else len(skills_of_item)
    if number >= len(skills_of_item):
        raise ValueError(f"item_id {text} is not a row of q_mat.npz, which has {len(skills_of_item)}, from 0 on")
    check_skills(len(skills_of_item[number]))
    return skills_of_item[number]


def _find(folder: Path, name: str) -> Path | None:
    names = [f"{name}.gz", name]
    if not name.endswith(".txt"):
        names.append(f"{name.rpartition('.')[0]}.parquet")
    return next((folder / each for each in names if (folder / each).is_file()), None)


def _found(folder: Path, name: str) -> Path:
    path = _find(folder, name)
    if path is not None:
        return path
    raise DataUnusableError(f"{folder} holds neither {name}.gz nor {name}; name the protocol's folder with --data")


def _skills_of_items(path: Path) -> list[list[str]]:
    try:
        with path.open("rb") as file:
            matrix = scipy.sparse.csr_matrix(scipy.sparse.load_npz(file))
        matrix.check_format(full_check=True)
        matrix.eliminate_zeros()
        matrix.sum_duplicates()
    except _NO_MATRIX as error:
        raise DataUnusableError(f"{path} is not a sparse matrix of items by skills: {error}") from error
    return [
        [str(skill) for skill in matrix.indices[matrix.indptr[item] : matrix.indptr[item + 1]]]
        for item in range(matrix.shape[0])
    ]
