"""Profiles of producers: what one of them bends in a format, as the sources of that format in `sources/` say it.

A producer is recognised by the extensions of what it sends, never by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from services.common.repeated_keys import load_yaml
from services.common.tables import FileUnusableError

_FOLDER = Path(__file__).parents[1] / "sources"


def _checked(value: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in value:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression ({error}): correct it") from error
    return value


Expressions = Annotated[tuple[str, ...], AfterValidator(_checked)]
"""Regular expressions, each of which can be compiled."""


class ProducerProfile(BaseModel):
    """What every profile has.

    Attributes:
        recognised_by: regular expressions; one must be the whole name of an extension.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    recognised_by: Expressions = ()

    def recognises(self, extensions: Iterable[str]) -> bool:
        """Whether one of the extensions is the producer's."""
        return any(re.fullmatch(pattern, name) for pattern in self.recognised_by for name in extensions)


_P = TypeVar("_P", bound=ProducerProfile)


@cache
def profiles_of(kind: type[_P], document_format: str, folder: Path = _FOLDER) -> tuple[_P, ...]:
    """Every profile of a format, by name. Raises FileUnusableError when one is invalid."""
    paths = sorted(folder.glob("*/source.yaml"))
    return tuple(
        profile_in(kind, path.with_name("mapping.yaml"))
        for path in paths
        if _yaml(path).get("format") == document_format
    )


def profile_in(kind: type[_P], path: Path) -> _P:
    """The profile in a file.

    Raises:
        FileUnusableError: when it is invalid; the message names the key and the remedy.
    """
    try:
        return kind.model_validate(_yaml(path))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise FileUnusableError(f"{path} cannot be used: {problems}") from error


def _yaml(path: Path) -> dict[str, Any]:
    content = load_yaml(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise FileUnusableError(f"{path} does not hold keys and values: write them as docs/formats.md tells")
    return content
