"""CASE 1.0 and 1.1 (1EdTech Competencies and Academic Standards Exchange): packages, bare, wrapped or in arrays.

Besides what the specification says, it reads what real publishers write: a string where an object with an identifier
belongs, `educationalLevel`, items without a code, links to nodes that the package does not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from services.catalog.domain.validation.fields import ID_CHARACTERS_MAX, shown
from services.catalog.formats.frameworks.case_extension import extension_in
from services.catalog.formats.frameworks.contents import FrameworkBuilder, FrameworkContents, Item, clean, name_of

_WRAPPINGS_MAX = 6
_NOT_CASE = "is no CASE package: it must have CFDocument, CFItems and CFAssociations; ask the publisher for a CFPackage"
_KNOWN_TYPES = {"isRelatedTo": "isRelatedTo: it says neither what comes first nor that both are the same"}

Json = Mapping[str, object]


def read_case(document: object) -> FrameworkContents:
    """The skills in the JSON of a file.

    Args:
        document: parsed JSON of any shape.
    """
    builder = FrameworkBuilder()
    packages = list(_packages(builder, "", document, _WRAPPINGS_MAX))
    # All items before any link, so that packages of one file may link to each other.
    ids: dict[str, str] = {}
    for path, package in packages:
        ids |= _read_items(builder, path, package)
    for path, package in packages:
        for place, each in enumerate(_list(builder, path, package, "CFAssociations")):
            _read_association(builder, f"{path}CFAssociations[{place}]", each, ids)
    return builder.build()


def _packages(builder: FrameworkBuilder, path: str, value: object, wrappings: int) -> Iterator[tuple[str, Json]]:
    """The packages in a document, each with the beginning of its fields' paths."""
    if isinstance(value, list) and wrappings:
        for place, each in enumerate(value):
            yield from _packages(builder, f"{path}[{place}]", each, wrappings - 1)
        return
    prefix = f"{path}." if path else ""
    if not isinstance(value, Mapping) or not wrappings:
        builder.reject(path, f"{_described(value)} {_NOT_CASE}")
    elif "CFItems" in value or "CFAssociations" in value:
        yield prefix, value
    elif isinstance(value.get("CFDocuments"), list):
        for document in value["CFDocuments"]:
            builder.leave_out("a document without its items; get its CFPackage", _text(_title(document)))
    elif "CFPackageURI" in value:
        builder.leave_out("a document without its items; get its CFPackage", _text(value.get("title")))
    elif len(value) == 1 and isinstance(next(iter(value.values())), Mapping | list):
        name, inner = next(iter(value.items()))
        yield from _packages(builder, f"{prefix}{name}", inner, wrappings - 1)
    else:
        builder.reject(path, _NOT_CASE)


def _read_items(builder: FrameworkBuilder, path: str, package: Json) -> dict[str, str]:
    """Add the items of a package; the ids of those that have others than their identifiers."""
    ids = {}
    document = package.get("CFDocument")
    title = ""
    if isinstance(document, Mapping):
        title = clean(_text(document.get("title")))
        builder.add_document(_names(document)[:1][0] if _names(document) else "", title)
    elif document is not None:
        builder.reject(f"{path}CFDocument", f"{_described(document)} is no object; give the document of the package")
    for place, each in enumerate(_list(builder, path, package, "CFItems")):
        where = f"{path}CFItems[{place}]"
        if not isinstance(each, Mapping):
            builder.reject(where, f"{_described(each)} is no object; give a CFItem")
            continue
        names = _names(each)
        own = extension_in(each, names[0] if names else "")
        stated = _text(each.get("fullStatement")) or _text(each.get("abbreviatedStatement"))
        statement = own.get("statement", clean(stated))
        if not names or len(names[0]) > ID_CHARACTERS_MAX:
            builder.reject(f"{where}.identifier", f"is missing, or over {ID_CHARACTERS_MAX} characters; give a GUID")
        elif not stated.strip():
            builder.reject(f"{where}.fullStatement", "is missing or no text; give the text of the item")
        else:
            ids[names[0]] = own.get("id", names[0])
            builder.add(
                Item(
                    id=ids[names[0]],
                    framework=own.get("framework", title or clean(_text(_title(each.get("CFDocumentURI"))))),
                    code=own.get("code", " ".join(clean(_text(each.get("humanCodingScheme"))).split())),
                    statement=statement,
                    levels=_levels(each.get("educationLevel") or each.get("educationalLevel")),
                    type=clean(_text(each.get("CFItemType")) or _text(_title(each.get("CFItemTypeURI")))),
                    parent=own.get("parent", ""),
                    importance=own.get("importance"),
                )
            )
    return ids


def _read_association(builder: FrameworkBuilder, path: str, value: object, ids: Mapping[str, str]) -> None:
    if not isinstance(value, Mapping):
        builder.reject(path, f"{_described(value)} is no object; give a CFAssociation")
        return
    kind = _text(value.get("associationType"))
    if not kind:
        builder.reject(f"{path}.associationType", "is missing or no text; give one such as isChildOf")
        return
    ends = {}
    for end in ("originNodeURI", "destinationNodeURI"):
        ends[end] = tuple(ids.get(name, name) for name in _names(value.get(end)))
        if not ends[end]:
            builder.reject(f"{path}.{end}", "is missing; give the identifier and the URI of a node")
            return
    origin, destination = ends["originNodeURI"], ends["destinationNodeURI"]
    match kind.replace(" ", "").lower():
        case "ischildof":
            builder.is_child(origin[0], destination[0])
        case "precedes":
            builder.precedes(origin[0], destination[0])
        case "exactmatchof":
            builder.is_match(origin, destination)
        case _:
            builder.leave_out(
                _KNOWN_TYPES.get(kind, f"{kind}: it is no order of skills"), f"{origin[0]} -> {destination[0]}"
            )


def _list(builder: FrameworkBuilder, path: str, package: Json, name: str) -> Sequence[object]:
    value = package.get(name)
    if value is None or isinstance(value, list):
        return value or ()
    builder.reject(f"{path}{name}", f"{_described(value)} is no array; give one")
    return ()


def _names(node: object) -> tuple[str, ...]:
    """The names of a node, the identifier first; none where it has neither an identifier nor a URI."""
    if isinstance(node, str):
        return (name_of(node),) if node.strip() else ()
    if not isinstance(node, Mapping):
        return ()
    named = [name_of(text) for text in (_text(node.get("identifier")), _text(node.get("uri"))) if text.strip()]
    identifier = named[0] if named else ""
    # A URI that ends with the identifier says nothing new, and one that can be resolved is the publisher's own.
    return tuple(dict.fromkeys(name for name in named if name == identifier or not name.endswith(identifier)))


def _levels(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(level for each in values for level in _text(each).split(",") if level.strip())


def _title(node: object) -> object:
    return node.get("title") if isinstance(node, Mapping) else None


def _text(value: object) -> str:
    """A text, or a number as one; empty for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _described(value: object) -> str:
    if isinstance(value, list):
        return "an array"
    return "an object" if isinstance(value, Mapping) else shown(str(value))
