"""ASN (Achievement Standards Network): its RDF in JSON, in the ways that `asn_nodes` reads."""

from __future__ import annotations

from collections.abc import Mapping

from services.catalog.domain.validation.fields import ID_CHARACTERS_MAX, shown
from services.catalog.formats.frameworks.asn_nodes import Node, nodes_of
from services.catalog.formats.frameworks.contents import FrameworkBuilder, FrameworkContents, Item, clean, name_of

_DOCUMENT, _STATEMENT = "StandardDocument", "Statement"
_BEGINNINGS = ("rdf:RDF", "@graph", "@context", "@id", "asn_identifier", "asn_statementNotation")
_TYPE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
_NOT_ASN = "is no ASN document: nothing in it has the type StandardDocument or Statement; name an ASN JSON file"


def is_asn(document: object) -> bool:
    """Whether parsed JSON is written as ASN documents are."""
    for root in document if isinstance(document, list) else [document]:
        if isinstance(root, Mapping) and not any(name.startswith("CF") for name in root):
            inner = (each for each in root.values() if isinstance(each, Mapping))
            if any(name in root for name in _BEGINNINGS) or any(_TYPE in each for each in inner):
                return True
    return False


def read_asn(document: object) -> FrameworkContents:
    """The skills in the JSON of a file. The id of a skill is the last part of its URI, such as `S1143455`."""
    builder = FrameworkBuilder()
    nodes = [*nodes_of(document)]
    # Trees state no types.
    is_tree = not any(node.kinds for node in nodes)
    documents = [
        node for node in nodes if _DOCUMENT in node.kinds or (is_tree and not node.parent and node.first("title"))
    ]
    statements = [
        node for node in nodes if _STATEMENT in node.kinds or (is_tree and (node.parent or not node.first("title")))
    ]
    if not documents and not statements:
        builder.reject("", _NOT_ASN)
        return builder.build()
    titles = {node.uri: clean(node.first("title")) for node in documents}
    for uri, title in titles.items():
        builder.add_document(_local(uri), title)
    _read_statements(builder, nodes, statements, titles)
    taken = {id(node) for node in (*documents, *statements)}
    for node in nodes:
        if id(node) not in taken:
            builder.leave_out("what is neither a document nor a statement", shown(node.uri or node.path))
    # Many say both that one is a child of the other, and that the other has it as a child.
    for child, parent in dict.fromkeys(link for node in (*statements, *documents) for link in _links(node)):
        builder.is_child(child, parent)
    return builder.build()


def _read_statements(
    builder: FrameworkBuilder, nodes: list[Node], statements: list[Node], titles: Mapping[str, str]
) -> None:
    first = next(iter(titles.values()), "")
    root_of: dict[str, str] = {}
    for node in nodes:
        root_of[node.uri] = root_of.get(node.parent, node.uri)
    for node in statements:
        text = clean(node.first("text", "description", "title"))
        if not text or not 0 < len(node.uri) <= ID_CHARACTERS_MAX:
            builder.reject(node.path, f"has no text, or no id of at most {ID_CHARACTERS_MAX} characters; give both")
            continue
        names = (node.uri, *node.all("identifier"), *node.all("exactMatch"))
        builder.add(
            Item(
                id=_local(node.uri),
                framework=titles.get(node.first("isPartOf")) or titles.get(root_of[node.uri]) or first,
                code=clean(node.first("statementNotation", "altStatementNotation")),
                statement=text,
                levels=tuple(map(_local, node.all("educationLevel"))),
                type=clean(node.first("statementLabel")),
                names=tuple(dict.fromkeys(name_of(name) for name in names if len(name) <= ID_CHARACTERS_MAX)),
            )
        )


def _links(node: Node) -> list[tuple[str, str]]:
    parents = [node.parent] if node.parent else []
    links = [(_local(node.uri), _local(parent)) for parent in (*parents, *node.all("isChildOf"))]
    return links + [(_local(child), _local(node.uri)) for child in node.children]


def _local(uri: str) -> str:
    """The last part of a URI."""
    return name_of(uri.rstrip("/").rpartition("/")[2])
