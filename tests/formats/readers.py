"""The readers of public formats by name. A new one is an entry in READERS, and imports its reader when it is called."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from importlib import import_module
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


def _whole_document(reader: str) -> Read:
    """A reader of JSON that knows no parts; a file that is no JSON is refused as a whole."""

    def read(path: Path, part: str) -> Reading:
        if part:
            raise NotAPartError(part)
        try:
            document = document_of(path)
        except json.JSONDecodeError:
            return Reading(rejected=[("",)])
        module = import_module(f"services.ingest.formats.{reader.replace('-', '_')}")
        return reading_of(module.rows_of(document, reader, 1))

    return read


def _qti_results(path: Path, part: str) -> Reading:
    from services.ingest.formats.qti_results import read_qti_results

    if part:
        raise NotAPartError(part)
    return reading_of(read_qti_results(path, "qti-results"))


def _openedx(path: Path, part: str) -> Reading:
    from services.ingest.formats.openedx import rows_of

    return reading_of(rows_of(document_of(path), "openedx", 1))


_ANSWER = {
    "name": "problem_check",
    "timestamp": "2026-03-04T09:15:00Z",
    "data": json.dumps(
        {"problem_id": "block-v1:edX+DemoX+Demo_Course+type@problem+block@1", "grade": 1, "max_grade": 2, "attempts": 1}
    ),
    "context": json.dumps({"user_id": 3, "event_source": "server"}),
}
_LEAST: dict[str, Any] = {"string": "", "long": 0, "double": 0.0, "boolean": False, "array": [], "map": {}}


def _least(schema: Any) -> Any:
    """The smallest value of an Avro schema, with an answer where it holds a tracking event."""
    if isinstance(schema, list):
        return _least(schema[0])
    kind = schema if isinstance(schema, str) else schema["type"]
    if kind != "record":
        return _LEAST.get(kind)
    names = {entry["name"] for entry in schema["fields"]}
    return _ANSWER if names == set(_ANSWER) else {each["name"]: _least(each["type"]) for each in schema["fields"]}


def _openedx_bus(path: Path, part: str) -> Reading:
    import fastavro

    from services.ingest.formats.openedx.bus import rows_of_message

    schema = document_of(path)
    value = io.BytesIO()
    fastavro.schemaless_writer(value, fastavro.parse_schema(schema), _least(schema))
    headers = {"ce_type": schema["namespace"].encode(), "content-type": b"application/avro"}
    return reading_of(rows_of_message(headers, value.getvalue(), "openedx", 1))


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
    "asn": _framework,
    "caliper": _whole_document("caliper"),
    "case": _framework,
    "common-cartridge": _common_cartridge,
    "lrmi": _lrmi,
    "lti-ags": _whole_document("lti-ags"),
    "openedx": _openedx,
    "openedx-bus": _openedx_bus,
    "qti-results": _qti_results,
    "xapi": _xapi,
}
