"""Reading tagged resources from a folder, for evaluation.

Three formats are known, each plain or gzip-compressed. The first two have one JSON object on each line:

- `resources.jsonl`: `id`, `skills` (ids, or objects with `skill`) and `text`, or `title` and `description`; `context`,
  if present, is the course or collection of the resource. An optional `skills.jsonl` in the same folder has `id`,
  `statement` and, where known, `code`, `parent`, `framework` and `equivalents`, as in a catalog.
- `problems.jsonl`: problems of OATutor's content, with `title`, `body`, `steps`, `lesson`, `courseName` and `skills`.
- `coherence.json`: the Coherence Map of the Common Core, see `coherence_map`.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from services.catalog.domain.model import Skill
from services.catalog.tagging import coherence_map
from services.catalog.tagging.examples import Example, Statement, statements_of
from services.common.repeated_keys import repeated_key

_RESOURCES = "resources.jsonl"
_SKILLS = "skills.jsonl"
_PROBLEMS = "problems.jsonl"
_COHERENCE_MAP = "coherence.json"


class DataUnusableError(ValueError):
    """A file is missing or malformed; the message names it and the remedy."""


def read_examples(folder: Path, *, with_context: bool) -> tuple[list[Example], list[Statement]]:
    """The examples and the statements of the skills, in the order of the files.

    Args:
        folder: where the files are.
        with_context: whether the text includes the course and lesson, or the collection, of the resource.

    Raises:
        DataUnusableError: when there is no file of a known format, or one is malformed.
    """
    if file := _found(folder, _RESOURCES):
        examples = list(_examples(file, _resource, with_context=with_context))
        skills = _found(folder, _SKILLS)
        return examples, statements_of([_skill(place, record) for place, record in _records(skills)] if skills else [])
    if file := _found(folder, _PROBLEMS):
        return list(_examples(file, _problem, with_context=with_context)), []
    if file := _found(folder, _COHERENCE_MAP):
        return _coherence_map(file)
    raise DataUnusableError(
        f"{folder} has none of {_RESOURCES}, {_PROBLEMS} and {_COHERENCE_MAP} (or one with .gz); name their folder"
    )


def _found(folder: Path, name: str) -> Path | None:
    return next((file for file in (folder / name, folder / f"{name}.gz") if file.is_file()), None)


def _coherence_map(file: Path) -> tuple[list[Example], list[Statement]]:
    try:
        content = file.read_bytes()
        return coherence_map.examples_and_statements(
            orjson.loads(gzip.decompress(content) if file.suffix == ".gz" else content)
        )
    except (OSError, EOFError, zlib.error, orjson.JSONDecodeError) as error:
        raise DataUnusableError(f"{file} cannot be read: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise DataUnusableError(f"{file} is not in the format of {_COHERENCE_MAP}: {error!r}") from error


def _records(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    record = orjson.loads(line)
                    if not isinstance(record, dict):
                        raise DataUnusableError(f"{file}:{number} is not a JSON object")
                    if (key := repeated_key(line)) is not None:
                        raise DataUnusableError(f"{file}:{number} gives {key!r} twice: keep the right one")
                    yield f"{file}:{number}", record
    except orjson.JSONDecodeError as error:
        raise DataUnusableError(f"{file}:{number} is not JSON: {error}") from error
    except (OSError, EOFError) as error:
        raise DataUnusableError(f"{file} cannot be read: {error}") from error


def _examples(
    file: Path, parts_of: Callable[[Mapping[str, Any]], tuple[Iterable[Any], Iterable[Any]]], *, with_context: bool
) -> Iterator[Example]:
    for place, record in _records(file):
        try:
            context, own = parts_of(record)
            own_text = _joined(own)
            yield Example(
                id=str(record["id"]),
                text=_joined([*context, own_text]) if with_context else own_text,
                skills=_skills(record["skills"]),
                own_text=own_text,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise DataUnusableError(f"{place} is not in the format of {file.name}: {error!r}") from error


def _resource(record: Mapping[str, Any]) -> tuple[Iterable[Any], Iterable[Any]]:
    return [record.get("context")], [record.get("text"), record.get("title"), record.get("description")]


def _problem(record: Mapping[str, Any]) -> tuple[Iterable[Any], Iterable[Any]]:
    own = [record["title"], record["body"]]
    for step in record["steps"]:
        own += [step["stepTitle"], step["stepBody"], *step.get("choices", [])]
    return [record["courseName"], record["lesson"]], own


def _skills(values: Iterable[Any]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise TypeError("skills must be a list")
    return tuple(dict.fromkeys(str(value["skill"] if isinstance(value, dict) else value) for value in values))


def _skill(place: str, record: Mapping[str, Any]) -> Skill:
    if "id" not in record:
        raise DataUnusableError(f"{place} has no id")
    equivalents = record.get("equivalents") or ()
    if isinstance(equivalents, str):
        raise DataUnusableError(f"{place}: equivalents is {equivalents!r}; write a list of names")
    framework, code, statement, parent = (
        str(record.get(name) or "") for name in ("framework", "code", "statement", "parent")
    )
    return Skill(str(record["id"]), framework, code, statement, parent=parent, equivalents=tuple(map(str, equivalents)))


def _joined(parts: Iterable[Any]) -> str:
    return "\n".join(str(part) for part in parts if part)
