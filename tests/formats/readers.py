"""The readers of public formats by name. A new one is an entry in READERS, and imports its reader when it is called."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.formats.readings import Reading, reading_of

Read = Callable[[Path, str], Reading]
"""Takes a file, and what it is a part of (`as` of the expectation; empty: a whole document)."""


class NotAPartError(ValueError):
    """`as` names a part that the reader of the format does not know."""


def document_of(path: Path) -> Any:
    """The JSON of a file."""
    return json.loads(path.read_text(encoding="utf-8"))


_ACTOR = {"objectType": "Agent", "mbox": "mailto:learner@example.com"}
_VERB = {"id": "http://adlnet.gov/expapi/verbs/attended", "display": {"en": "attended"}}
_OBJECT = {"objectType": "Activity", "id": "http://example.com/activities/1"}


def _xapi(path: Path, part: str) -> Reading:
    from services.ingest.formats.xapi import rows_of

    document = document_of(path)
    if part in ("actor", "verb", "object", "result", "context", "authority"):
        document = {"actor": _ACTOR, "verb": _VERB, "object": _OBJECT} | {part: document}
    elif part:
        raise NotAPartError(part)
    return reading_of(rows_of(document, "xapi", 1))


def _framework(path: Path, _part: str) -> Reading:
    from services.catalog.formats.frameworks.files import read_frameworks
    from services.catalog.formats.jsonl import FileUnreadableError

    try:
        contents = read_frameworks([path])
    except FileUnreadableError:
        return Reading(rejected=[("",)])
    # An ASN document is counted in statements, one of CASE in items and associations.
    links = contents.links if path.parent.name.startswith("case") else 0
    return Reading(
        taken=[
            *({"code": skill.code} for skill in contents.skills),
            *({"link": number} for number in range(links)),
        ],
        ignored=Counter(each.reason for each in contents.left_out),
        rejected=[(problem.path,) for problem in contents.problems],
    )


def _lrmi(path: Path, _part: str) -> Reading:
    from services.catalog.formats.resources.lrmi import read_lrmi

    return _resources(read_lrmi(path.read_bytes()))


def _common_cartridge(path: Path, _part: str) -> Reading:
    from services.catalog.formats.resources.common_cartridge import read_common_cartridge

    return _resources(read_common_cartridge(path, None))


def _resources(contents: Any) -> Reading:
    taken: list[dict[str, Any]] = []
    for found in contents.resources:
        resource = found.resource
        names: dict[str, list[str]] = {"teaches": [], "assesses": []}
        for alignment in found.alignments:
            names[alignment.relation].append(alignment.code or alignment.names[0])
        kept = {name: getattr(resource, name) for name in ("id", "title", "kind", "minutes", "language", "url")}
        taken.append(kept | names | {"grades": list(resource.grades), "topics": list(resource.topics)})
    return Reading(
        taken=taken,
        ignored=Counter(each.reason for each in contents.left_out),
        rejected=[(problem.path,) for problem in contents.problems],
    )


READERS: dict[str, Read] = {
    "xapi": _xapi,
    "case": _framework,
    "asn": _framework,
    "lrmi": _lrmi,
    "common-cartridge": _common_cartridge,
}
