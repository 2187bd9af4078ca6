"""Values of JSON-LD nodes: a text, a node, a language map, or a list of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from services.catalog.formats.resources.contents import Alignment, Relation, ResourceContents
from services.common.resource_kinds import ResourceKindName

# The Learning Registry's own examples leave out a syllable.
_LEVELS, _SUBJECT = ("educationallevel", "educationlevel"), "educationalsubject"
_RELATIONS = {"teaches": Relation.TEACHES, "assesses": Relation.ASSESSES}
_CREATIVE_COMMONS = re.compile(
    r"https?://creativecommons\.org/(?:licenses/(?P<terms>[a-z-]+)|publicdomain/(?P<public>zero|mark))/(?P<version>[\d.]+)"
)
# A list of values is one deep, and each may be an object with its language.
_DEPTH_MAX = 4
_LANGUAGE = re.compile(r"(?!url|id)[a-z]{2,3}(?:-\w+)*")
_PUBLIC = {"zero": "CC0", "mark": "PDM"}

# Contexts commonly rename them so; schema.org has no such properties.
_KEYWORDS = {"id": "@id", "type": "@type"}

Node = Mapping[str, Any]
Index = Mapping[str, Node]


def local(name: str) -> str:
    """A name without prefix or address: `schema:name` and `http://schema.org/name` are `name`, and `id` is `@id`."""
    last = name if name.startswith("@") else re.split(r"[:/#]", name)[-1]
    return _KEYWORDS.get(last, last)


def texts_of(value: object, depth: int = 0) -> list[str]:
    """The texts of a value; numbers are texts, and of a language map the English one, or else the first, counts."""
    found: list[str] = []
    match value:
        case _ if depth > _DEPTH_MAX:
            pass
        case str():
            found = [value.strip()]
        case int() | float() if not isinstance(value, bool):
            found = [str(value)]
        case list():
            found = [text for each in value for text in texts_of(each, depth + 1)]
        case {"@value": inner} | {"@list": inner} | {"@set": inner}:
            found = texts_of(inner, depth + 1)
        case dict() if value and all(_LANGUAGE.fullmatch(str(key)) for key in value):
            found = texts_of(value.get("en", next(iter(value.values()))), depth + 1)
    return [text for text in found if text]


def nodes_of(value: object) -> Iterator[Node]:
    """The nodes of a value, with local names."""
    match value:
        case {"@list": list() as inner} | {"@set": list() as inner}:
            yield from nodes_of(inner)
        case dict():
            yield {local(str(name)): each for name, each in value.items()}
        case list():
            for each in value:
                if isinstance(each, dict):
                    yield from nodes_of(each)


def names_of(value: object, *names: str) -> list[str]:
    """The texts of a value, and what names its nodes: the first of `names` that each has."""
    found = texts_of(value)
    for node in nodes_of(value):
        if "@value" not in node and (name := first_of(node, *(names or ("name", "@id", "url")))):
            found.append(name)
    return found


def first_of(node: Node, *names: str) -> str:
    """The first text of the first of these properties that has one; an address may be a node with an @id."""
    for name in names:
        value = node.get(name)
        if found := [*texts_of(value), *(text for each in nodes_of(value) for text in texts_of(each.get("@id")))]:
            return found[0]
    return ""


def license_of(node: Node) -> str:
    """The licence; those of Creative Commons by their SPDX id."""
    for name in ("license", "usageInfo", "useRightsUrl", "copyrightNotice"):
        for text in names_of(node.get(name), "identifier", "url", "@id", "name"):
            found = _CREATIVE_COMMONS.match(text)
            if found is None:
                return text
            terms = _PUBLIC.get(found["public"] or "") or f"CC-{(found['terms'] or '').upper()}"
            return f"{terms}-{found['version']}"
    return ""


def levels_of(node: Node, index: Index) -> list[str]:
    """The education levels."""
    stated = names_of(node.get("educationalLevel"), "termCode", "name", "prefLabel")
    aligned = [first_of(each, "targetName") for each, kind in _aligned(node, index) if kind in _LEVELS]
    return list(dict.fromkeys(filter(None, (*stated, *aligned))))


def subjects_of(node: Node, index: Index) -> list[str]:
    """What it is about: subjects and keywords."""
    keywords = [word for text in names_of(node.get("keywords"), "name") for word in text.split(",")]
    aligned = [first_of(each, "targetName") for each, kind in _aligned(node, index) if kind == _SUBJECT]
    about = [subject for name in ("about", "subject") for subject in names_of(node.get(name), "name", "prefLabel")]
    return [*about, *aligned, *keywords]


def alignments_of(
    node: Node, index: Index, kind: ResourceKindName, contents: ResourceContents, where: str
) -> list[Alignment]:
    """The skills that it teaches and assesses, each once."""
    usual = Relation.ASSESSES if kind is ResourceKindName.ASSESSMENT else Relation.TEACHES
    found = [each for relation in Relation for each in _stated(node.get(relation.value), relation, index)]
    for each, how in _aligned(node, index):
        if how in (*_LEVELS, _SUBJECT):
            continue
        relation = _RELATIONS.get(how) if how else usual
        if relation is None:
            contents.leave_out_value("an alignment that neither teaches nor assesses", f"{how[:40]} of {where}")
            continue
        code, names = first_of(each, "targetName"), _addresses(each.get("targetUrl"))
        if code or names:
            found.append(Alignment(relation, names, code, first_of(each, "educationalFramework")))
        else:
            contents.leave_out_value("an alignment with neither targetName nor targetUrl", where)
    return list(dict.fromkeys(found))


def _stated(value: object, relation: Relation, index: Index) -> Iterator[Alignment]:
    for each in value if isinstance(value, list) else [value]:
        if texts := texts_of(each):
            yield from (Alignment(relation, (text,), text) for text in texts)
            continue
        for node in nodes_of(each):
            term = {**index.get(str(node.get("@id")), {}), **node}
            addresses = [term.get(name) for name in ("@id", "url", "identifier", "targetUrl")]
            names = tuple(dict.fromkeys(name for address in addresses for name in _addresses(address)))
            code = first_of(term, "termCode", "name", "targetName", "prefLabel")
            framework = names_of(term.get("inDefinedTermSet"), "name", "@id")
            framework = framework or texts_of(term.get("educationalFramework"))
            if code or names:
                yield Alignment(relation, names, code, framework[0] if framework else "")


def _aligned(node: Node, index: Index) -> Iterator[tuple[Node, str]]:
    for name in ("educationalAlignment", "AlignmentObject"):
        for each in nodes_of(node.get(name)):
            whole = {**index.get(str(each.get("@id")), {}), **each}
            yield whole, re.sub(r"[^a-z]", "", local(first_of(whole, "alignmentType")).lower())


def _addresses(value: object) -> tuple[str, ...]:
    found = [*texts_of(value), *(text for node in nodes_of(value) for text in texts_of(node.get("@id")))]
    return tuple(dict.fromkeys(each for each in found if not each.startswith("_:")))
