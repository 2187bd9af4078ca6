"""ASN (Achievement Standards Network): RDF in JSON, by subject and predicate; or a tree, as in ASN's manifests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from services.catalog.domain.validation.fields import ID_CHARACTERS_MAX, shown
from services.catalog.formats.frameworks.contents import FrameworkBuilder, FrameworkContents, Item, clean, name_of

_TYPE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
_ASN = "http://purl.org/ASN/schema/core/"
_DCTERMS = "http://purl.org/dc/terms/"
_TITLE = "http://purl.org/dc/elements/1.1/title"
_CHILD_OF = "http://purl.org/gem/qualifiers/isChildOf"
_EXACT_MATCH = "http://www.w3.org/2004/02/skos/core#exactMatch"


def is_asn(document: object) -> bool:
    """Whether parsed JSON is an ASN document in one of its forms."""
    return _is_rdf(document) or _is_tree(document)


def read_asn(document: object) -> FrameworkContents:
    """The skills in the JSON of a file. The id of a skill is the last part of its URI, such as `S1143455`."""
    builder = FrameworkBuilder()
    if isinstance(document, Mapping) and _is_rdf(document):
        _read_rdf(builder, document)
    elif _is_tree(document):
        _read_tree(builder, document)
    else:
        builder.reject("", "is no ASN document: no subject has the type StandardDocument; name an ASN JSON file")
    return builder.build()


def _is_rdf(document: object) -> bool:
    return isinstance(document, Mapping) and any(_is(each, "StandardDocument") for each in document.values())


def _read_rdf(builder: FrameworkBuilder, document: Mapping[str, object]) -> None:
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


def _is_tree(document: object) -> bool:
    roots = document if isinstance(document, list) else [document]
    return any(
        isinstance(root, Mapping) and ("asn_identifier" in root or "asn_statementNotation" in root) for root in roots
    )


def _read_tree(builder: FrameworkBuilder, document: object) -> None:
    title = ""
    for path, node, parent in _nodes(document):
        uri = next(iter(_texts(node.get("id")) or _texts(node.get("asn_identifier"))), "")
        stated = next(iter(_texts(node.get("dcterms_title"))), "")
        text = clean(next(iter(_texts(node.get("text")) or _texts(node.get("dcterms_description"))), ""))
        if stated and not parent:
            title = clean(stated)
            builder.add_document(_local(uri), title)
        elif not text or not 0 < len(uri) <= ID_CHARACTERS_MAX:
            builder.reject(path, "has no text, or no id of at most 256 characters; give both")
        else:
            names = [uri, *_texts(node.get("asn_identifier")), *_texts(node.get("skos_exactMatch"))]
            codes = _texts(node.get("asn_statementNotation")) or _texts(node.get("asn_altStatementNotation"))
            item = Item(
                id=_local(uri),
                framework=title,
                code=clean(next(iter(codes), "")),
                statement=text,
                levels=tuple(map(_local, _texts(node.get("dcterms_educationLevel")))),
                type=clean(next(iter(_texts(node.get("asn_statementLabel"))), "")),
                names=tuple(dict.fromkeys(name_of(name) for name in names if len(name) <= ID_CHARACTERS_MAX)),
            )
            builder.add(item)
            if parent:
                builder.is_child(item.id, _local(parent))


def _nodes(document: object) -> Iterator[tuple[str, Mapping[str, object], str]]:
    """The nodes of a tree, each before its children, with its path and the URI of its parent."""
    roots = document if isinstance(document, list) else [document]
    # A list instead of recursion, because trees can be deep.
    ahead = [(f"[{place}]", root, "") for place, root in reversed([*enumerate(roots)])]
    while ahead:
        path, node, parent = ahead.pop()
        if isinstance(node, Mapping):
            yield path, node, parent
            children = node.get("children")
            own = next(iter(_texts(node.get("id")) or _texts(node.get("asn_identifier"))), "")
            listed = children if isinstance(children, list) else []
            ahead += [(f"{path}.children[{place}]", each, own) for place, each in reversed([*enumerate(listed)])]


def _texts(value: object) -> list[str]:
    """The texts of a value of a tree: a text, or an object with a URI, a literal or a label, or several of them."""
    found = []
    for each in value if isinstance(value, list) else [value]:
        text = each
        if isinstance(each, Mapping):
            text = next((each[name] for name in ("uri", "literal", "prefLabel") if name in each), None)
        if isinstance(text, str) and text.strip():
            found.append(text.strip())
    return found


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
