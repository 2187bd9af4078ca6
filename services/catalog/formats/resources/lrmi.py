"""Resources described with schema.org and LRMI, in JSON-LD or in the script tags of a page.

Names are compared without prefix and without the address of the vocabulary, so that `schema:name`,
`http://schema.org/name` and `name` are the same, whatever the context says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any

import orjson

from services.catalog.domain.model import Resource
from services.catalog.formats.resources.contents import FoundResource, ResourceContents, kind_of
from services.catalog.formats.resources.lrmi_values import (
    alignments_of,
    first_of,
    levels_of,
    license_of,
    local,
    names_of,
    nodes_of,
    subjects_of,
    texts_of,
)
from services.common.resource_kinds import ResourceKindName

# They make a resource of a node of any type.
_LEARNING = {
    "AlignmentObject", "assesses", "competencyRequired", "educationalAlignment", "educationalLevel", "educationalUse",
    "interactivityType", "learningResourceType", "teaches", "timeRequired", "typicalAgeRange",
}  # fmt: skip
_RESOURCES = {
    "AudioObject", "Book", "Course", "CreativeWork", "Game", "HowTo", "LearningResource", "Quiz", "SyllabusOrLecture",
    "VideoGame", "VideoObject",
}  # fmt: skip
_PARTS = ("hasPart", "itemListElement", "item", "mainEntity")
_DEPTH_MAX = 50
_CONTROL = re.compile(r"[\x00-\x1f]")


def read_lrmi(raw: bytes) -> ResourceContents:
    """The resources of a document: JSON-LD, lines of it, or a page."""
    contents = ResourceContents()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        contents.reject("", f"is not in UTF-8 ({raw[error.start]:#04x} at byte {error.start:,}); save it in UTF-8")
        return contents
    for path, document, page in _documents(text, contents):
        index: dict[str, Mapping[str, Any]] = {}
        found = list(_nodes(document, path, index, contents))
        for place, node in found:
            _read_node(place, node, index, contents, page)
    return contents


def _documents(text: str, contents: ResourceContents) -> Iterator[tuple[str, Any, str]]:
    """What comes before the paths of a document, the document, and the address of the page it is in."""
    reason = ""
    try:
        whole = _parsed(text)
    except ValueError as error:
        reason = str(error)
    if not reason:
        yield "", whole, ""
        return
    if "<" in text and not text.lstrip().startswith(("{", "[")):
        yield from _scripts(text, contents)
        return
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    documents = []
    try:
        documents = [(f"line {number}: ", _parsed(line), "") for number, line in lines]
    except ValueError:
        contents.reject("", f"is no JSON ({reason}), and no page; name a file of JSON-LD or HTML")
    yield from documents


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        # Templates of pages put line feeds into texts, which JSON does not allow.
        try:
            return orjson.loads(_CONTROL.sub(" ", text))
        except ValueError:
            pass
        raise


class _Scripts(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self.address = ""
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "link" and values.get("rel", "").lower() == "canonical":
            self.address = self.address or values.get("href", "").strip()
        kind = values.get("type", "").partition(";")[0].strip().lower()
        self._inside = tag == "script" and kind == "application/ld+json"
        if self._inside:
            self.found.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.found[-1] += data


def _scripts(text: str, contents: ResourceContents) -> Iterator[tuple[str, Any, str]]:
    parser = _Scripts()
    try:
        parser.feed(text)
        parser.close()
    except AssertionError as error:
        # What html.parser raises for a few malformed declarations.
        contents.reject("", f"is no page that can be read ({error}); give the JSON-LD in a file of its own")
        return
    if not parser.found:
        contents.leave_out("a page without JSON-LD; microdata and RDFa are not read", "the page")
    for number, script in enumerate(parser.found):
        # Some pages hide the script from browsers of the last century.
        inner = re.sub(r"^\s*(?:<!--|//\s*<!\[CDATA\[)|(?:-->|//\s*\]\]>)\s*$", "", script)
        try:
            yield f"script[{number}].", _parsed(inner), parser.address
        except ValueError as error:
            contents.reject(f"script[{number}]", f"is no JSON ({error}); correct it")


def _nodes(
    value: Any, path: str, index: dict[str, Mapping[str, Any]], contents: ResourceContents, depth: int = 0
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if depth > _DEPTH_MAX:
        contents.leave_out(f"a node below {_DEPTH_MAX} others", path)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _nodes(each, f"{path.removesuffix('.')}[{number}].", index, contents, depth + 1)
    elif not isinstance(value, dict):
        contents.leave_out("a value that is no object", path)
    else:
        node = {local(name): each for name, each in value.items()}
        if isinstance(name := node.get("@id"), str):
            index.setdefault(name, node)
        if "@graph" in node:
            yield from _nodes(node["@graph"], f"{path}@graph.", index, contents, depth + 1)
        else:
            yield path, node
        for place, part in _parts_of(node, path, contents):
            yield from _nodes(part, place, index, contents, depth + 1)


def _parts_of(
    node: Mapping[str, Any], path: str, contents: ResourceContents
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in _PARTS:
        for number, part in enumerate(nodes_of(node.get(name))):
            if name == "hasPart" and not _identity(part)[1]:
                contents.leave_out("a part that has no identity of its own", f"{path}{name}[{number}]")
            elif "@type" in part:
                yield f"{path}{name}[{number}].", dict(part)


def _read_node(
    path: str,
    node: Mapping[str, Any],
    index: Mapping[str, Mapping[str, Any]],
    contents: ResourceContents,
    page: str,
) -> None:
    types = [local(each) for each in texts_of(node.get("@type"))]
    if not types:
        contents.leave_out("an object without @type", path)
        return
    if not _LEARNING & {name for name, value in node.items() if value not in (None, "", [])} and not (
        _RESOURCES & {*types}
    ):
        contents.leave_out(f"a node of the type {types[0][:80]}, which describes no learning resource", path)
        return
    id_path, identifier = _identity(node)
    identifier = identifier or page
    title = contents.title(first_of(node, "name", "headline", "title"), identifier)
    if not identifier:
        contents.reject(f"{path}@id", "is missing, and so are identifier and url; give one of them")
    elif not title:
        contents.reject(f"{path}name", "is missing; give the resource a name")
    else:
        found = _resource_of(node, identifier, title, types, index, contents)
        contents.add(found, f"{path}{id_path or '@id'}")


def _identity(node: Mapping[str, Any]) -> tuple[str, str]:
    own = node.get("@id")
    if isinstance(own, str) and own.strip() and not own.startswith(("_:", "#")):
        return "@id", own.strip()
    for name in ("identifier", "url"):
        for value in [*nodes_of(node.get(name))]:
            if found := first_of(value, "value", "@id", "url"):
                return name, found
        if found := first_of(node, name):
            return name, found
    return "", ""


def _resource_of(
    node: Mapping[str, Any],
    identifier: str,
    title: str,
    types: list[str],
    index: Mapping[str, Mapping[str, Any]],
    contents: ResourceContents,
) -> FoundResource:
    of_type = names_of(node.get("learningResourceType"), "name", "prefLabel", "termCode")
    kind = kind_of([*of_type, *types]) or ResourceKindName.LESSON
    languages = [
        each
        for name in ("inLanguage", "language")
        for each in names_of(node.get(name), "alternateName", "identifier", "name")
    ]
    resource = Resource(
        id=identifier,
        title=title,
        kind=kind,
        description=contents.description(first_of(node, "description", "abstract"), identifier),
        provider=contents.name(
            "provider", ", ".join(names_of(node.get("provider")) or names_of(node.get("publisher"))), identifier
        ),
        url=contents.url(first_of(node, "url", "@id" if identifier.startswith("http") else "url"), identifier),
        grades=contents.grades(levels_of(node, index), identifier),
        language=contents.language(languages[0], identifier) if languages else "",
        minutes=contents.minutes(
            [each for name in ("timeRequired", "duration") for each in names_of(node.get(name), "value", "name")],
            identifier,
        ),
        license=contents.name("license", license_of(node), identifier),
        topics=contents.topics(subjects_of(node, index), identifier),
    )
    alignments = alignments_of(node, index, kind, contents, identifier)
    return FoundResource(resource, identifier, tuple(alignments))
