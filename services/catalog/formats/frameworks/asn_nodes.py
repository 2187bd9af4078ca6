"""The nodes of an ASN document, whichever way its RDF is written in JSON.

The ways are: by subject and predicate; a tree, as in ASN's manifests; the elements of RDF/XML, as converters write XML
in JSON; JSON-LD, flat or nested. A name counts without its prefix, so `asn_statementNotation`, `asn:statementNotation`
and the whole address are one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

_CHILDREN = ("children", "hasChild")
# Converters of XML put a sign in front of attributes, and JSON-LD in front of its keywords.
_SIGNS = "@-#"
_TEXT_OF = ("value", "literal", "text", "uri", "id", "resource", "prefLabel")
_OF_REFERENCES = {*_TEXT_OF, "type", "lang", "language", "datatype"}
_OF_NODES = {"identifier", "statementNotation", "description", "title", "text", "educationLevel", "isChildOf"}


@dataclass(frozen=True, slots=True)
class Node:
    """Something that a document describes.

    Attributes:
        path: where in the file it is.
        uri: its URI; may be empty.
        kinds: its types, without prefixes.
        values: texts and URIs by the name of the property.
        parent: the URI of the node that it is nested in; empty: none.
        children: the URIs of children that it only names.
    """

    path: str
    uri: str
    kinds: frozenset[str]
    values: Mapping[str, list[str]]
    parent: str
    children: tuple[str, ...]

    def all(self, name: str) -> list[str]:
        """The values of a property."""
        return self.values.get(name, [])

    def first(self, *names: str) -> str:
        """The first value of the first of some properties that has any; else empty."""
        return next((values[0] for name in names if (values := self.all(name))), "")


def nodes_of(document: object) -> Iterator[Node]:
    """The nodes of a document, each before its children."""
    # A list instead of recursion, because trees can be deep.
    ahead = [("", document, "", "")]
    while ahead:
        path, value, key, parent = ahead.pop()
        if isinstance(value, list):
            ahead += reversed([(f"{path}[{place}]", each, key, parent) for place, each in enumerate(value)])
        elif isinstance(value, Mapping):
            node = _node(path, value, key, parent)
            inner = [*_nested(path, value, node.uri)] if node else [*_contained(path, value)]
            if node:
                yield node
            ahead += reversed(inner)


def _node(path: str, value: Mapping[str, object], key: str, parent: str) -> Node | None:
    values: dict[str, list[str]] = {}
    named = []
    for each, stated in value.items():
        if (name := name_of_property(each)) in _CHILDREN:
            named += [text for one in _listed(stated) if _is_reference(one) for text in texts_of(one)]
        elif name != "identifier" or "asn" in each.lower():
            values.setdefault(name, []).extend(texts_of(stated))
    by_subject = key if "://" in key else ""
    uri = by_subject or next((values[name][0] for name in ("id", "about", "identifier") if values.get(name)), "")
    kinds = {name_of_property(each) for each in values.get("type", ())}
    is_container = all("://" in each for each in value) and not by_subject
    if is_container or not (uri or kinds or _OF_NODES & values.keys()):
        return None
    # An element of RDF/XML has the name of its type.
    kinds |= {name for name in (name_of_property(key),) if name[:1].isupper() and not by_subject}
    return Node(path or uri, uri, frozenset(kinds), values, parent, tuple(named))


def _nested(path: str, value: Mapping[str, object], uri: str) -> Iterator[tuple[str, object, str, str]]:
    for each, stated in value.items():
        if name_of_property(each) in _CHILDREN:
            for place, child in enumerate(_listed(stated)):
                if not _is_reference(child):
                    yield f"{path}.{each}[{place}]", child, "", uri


def _contained(path: str, value: Mapping[str, object]) -> Iterator[tuple[str, object, str, str]]:
    for each, stated in value.items():
        if isinstance(stated, Mapping | list) and each != "@context":
            yield f"{path}.{each}" if path else each, stated, each, ""


def _is_reference(value: object) -> bool:
    return isinstance(value, str) or (
        isinstance(value, Mapping) and {name_of_property(each) for each in value} <= _OF_REFERENCES
    )


def texts_of(value: object) -> list[str]:
    """The texts of a value: a text, or an object with a URI, a literal or a label, or several of them."""
    found = []
    for each in _listed(value):
        text = each
        if isinstance(each, Mapping):
            by_name = {name_of_property(name): inner for name, inner in each.items()}
            text = next((by_name[name] for name in _TEXT_OF if name in by_name), None)
        if isinstance(text, str) and text.strip():
            found.append(text.strip())
    return found


@lru_cache(maxsize=1_000)
def name_of_property(key: str) -> str:
    """The name of a property or type without what is in front of it."""
    return re.split(r"[:/#_]", key.lstrip(_SIGNS).rstrip("/"))[-1]


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]
