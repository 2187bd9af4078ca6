"""Reads the data of the protocols into columns.

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
from numpy.typing import NDArray

from services.common.auth.identity import pseudonym
from services.recommender.domain.training.responses import ResponseTable, ResponseTableBuilder

# Learners are sorted by the hash of their id, as in a log of pseudonyms.
_PSEUDONYM_SECRET = b"cairn evaluation"


class DataUnusableError(ValueError):
    """A file of a protocol is missing or malformed; the message names it and the expected content."""


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

    def add(response: tuple[str, str, str], skills: list[str]) -> None:
        learner, problem, correct = response
        builder.append(
            learner=pseudonyms[learner], item=problem, skills=skills, response=_correct(correct), resource=problem
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
    with _rows(path, ("learner", "group"), ",") as rows:
        return {learner_id(row["learner"]): row["group"] for row in rows}


def read_prerequisites(folder: Path) -> list[tuple[str, str]]:
    """Read skills and their prerequisites from `prerequisites.csv` (`skill, prerequisite`); empty without the file.

    Raises:
        DataUnusableError: when the file is malformed.
    """
    path = _find(folder, "prerequisites.csv")
    if path is None:
        return []
    with _rows(path, ("skill", "prerequisite"), ",") as rows:
        return [(row["skill"], row["prerequisite"]) for row in rows]


class _Pseudonyms(dict[str, str]):
    """Pseudonyms by id; each is computed once."""

    def __missing__(self, identifier: str) -> str:
        self[identifier] = learner_id(identifier)
        return self[identifier]


def _read_generic_responses(path: Path) -> ResponseTable:
    pseudonyms = _Pseudonyms()
    found: list[tuple[float, str, str, list[str], float]] = []
    with _rows(path, ("learner", "item", "skills", "correct"), ",") as rows:
        for number, row in enumerate(rows, 2):
            try:
                at_s = float(row.get("time") or 0.0)
                skills = list(dict.fromkeys(filter(None, (skill.strip() for skill in row["skills"].split(";")))))
                found.append((at_s, pseudonyms[row["learner"]], row["item"], skills, _correct(row["correct"])))
            except ValueError as error:
                raise DataUnusableError(f"{path}: line {number}: {error}") from error
    builder = ResponseTableBuilder()
    for at_s, learner, item, skills, correct in sorted(found, key=lambda row: row[0]):
        builder.append(
            learner=learner, item=item, skills=skills, response=correct, resource=item, at_s=max(int(at_s), 0)
        )
    return builder.build()


def _pairs_of_lines(path: Path) -> Iterator[tuple[str, str, int]]:
    with _opened(path) as file:
        for line in file:
            learner, *resources = line.split()
            for resource in resources:
                yield learner, resource, 0


def _pairs_of_rows(path: Path) -> Iterator[tuple[str, str, int]]:
    """Return learner, resource and time of each row; the time is 0 without that column."""
    typed = ".inter" in path.name
    with _opened(path) as file:
        reader = csv.reader(file, delimiter="\t" if typed else ",")
        header = [name.partition(":")[0] for name in next(reader, [])]
        wanted = ("user_id", "item_id", "timestamp") if typed else ("learner", "resource", "time")
        for name in wanted[:2]:
            if name not in header:
                raise DataUnusableError(f"{path} lacks the column {name}; it needs {wanted[0]} and {wanted[1]}")
        learner, resource = header.index(wanted[0]), header.index(wanted[1])
        time = header.index(wanted[2]) if wanted[2] in header else None
        for number, row in enumerate(reader, 2):
            try:
                yield row[learner], row[resource], 0 if time is None else int(float(row[time] or 0))
            except (ValueError, IndexError) as error:
                raise DataUnusableError(f"{path}: line {number}: {error}") from error


def _skills_of_resources(folder: Path) -> dict[str, list[str]]:
    """Read skills by resource from `resources.csv` (`id, text, skills`, skills joined by `;`); empty without it."""
    path = _find(folder, "resources.csv")
    if path is None:
        return {}
    with _rows(path, ("id", "skills"), ",") as rows:
        return {
            row["id"]: list(dict.fromkeys(filter(None, (skill.strip() for skill in row["skills"].split(";")))))
            for row in rows
        }


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


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)


def _found(folder: Path, name: str) -> Path:
    path = _find(folder, name)
    if path is not None:
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
