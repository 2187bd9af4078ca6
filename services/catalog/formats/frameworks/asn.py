"""ASN (Achievement Standards Network): the JSON of a standards document, which is RDF by subject and predicate."""

from __future__ import annotations

from collections.abc import Mapping

from services.catalog.domain.validation.fields import ID_CHARACTERS_MAX, shown
from services.catalog.formats.frameworks.contents import FrameworkBuilder, FrameworkContents, Item, clean, name_of

_TYPE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
_ASN = "http://purl.org/ASN/schema/core/"
_DCTERMS = "http://purl.org/dc/terms/"
_TITLE = "http://purl.org/dc/elements/1.1/title"
_CHILD_OF = "http://purl.org/gem/qualifiers/isChildOf"
_EXACT_MATCH = "http://www.w3.org/2004/02/skos/core#exactMatch"


def is_asn(document: object) -> bool:
    """Whether parsed JSON is the RDF of an ASN document."""
    return isinstance(document, Mapping) and any(_is(each, "StandardDocument") for each in document.values())


def read_asn(document: object) -> FrameworkContents:
    """The skills in the JSON of a file. The id of a skill is the last part of its URI, such as `S1143455`."""
    builder = FrameworkBuilder()
    if not isinstance(document, Mapping) or not is_asn(document):
        builder.reject("", "is no ASN document: no subject has the type StandardDocument; name an ASN JSON file")
        return builder.build()
    titles = {uri: _first(each, _TITLE) for uri, each in document.items() if _is(each, "StandardDocument")}
    for uri, title in titles.items():
        builder.add_document(_local(uri), clean(title))
    statements = {uri: each for uri, each in document.items() if _is(each, "Statement")}
    for uri, each in statements.items():
        text = clean(_first(each, f"{_DCTERMS}description"))
        if not text or len(uri) > ID_CHARACTERS_MAX:
            builder.reject(f"{uri}.description", "is missing, or the URI is too long; give the text of the statement")
            continue
        names = (uri, *_values(each, f"{_ASN}identifier"), *_values(each, _EXACT_MATCH))
        builder.add(
            Item(
                id=_local(uri),
                framework=clean(titles.get(_first(each, f"{_DCTERMS}isPartOf")) or next(iter(titles.values()))),
                code=clean(_first(each, f"{_ASN}statementNotation") or _first(each, f"{_ASN}altStatementNotation")),
                statement=text,
                levels=tuple(_local(level) for level in _values(each, f"{_DCTERMS}educationLevel")),
                type=clean(_first(each, f"{_ASN}statementLabel")),
                names=tuple(dict.fromkeys(name_of(name) for name in names if len(name) <= ID_CHARACTERS_MAX)),
            )
        )
    for uri in document:
        if uri not in statements and uri not in titles:
            builder.leave_out("what is neither a document nor a statement", shown(uri))
    for uri, each in statements.items():
        for parent in _values(each, _CHILD_OF):
            builder.is_child(_local(uri), _local(parent))
    return builder.build()


def _is(subject: object, kind: str) -> bool:
    return f"{_ASN}{kind}" in _values(subject, _TYPE)


def _first(subject: object, predicate: str) -> str:
    return next(iter(_values(subject, predicate)), "")


def _values(subject: object, predicate: str) -> list[str]:
    """The values of a predicate that are text; none where the subject is no object."""
    objects = subject.get(predicate) if isinstance(subject, Mapping) else None
    listed = objects if isinstance(objects, list) else [objects]
    values = (each.get("value") if isinstance(each, Mapping) else each for each in listed)
    return [value.strip() for value in values if isinstance(value, str) and value.strip()]


def _local(uri: str) -> str:
    """The last part of a URI."""
    return name_of(uri.rstrip("/").rpartition("/")[2])
