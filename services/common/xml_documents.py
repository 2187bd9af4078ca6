"""XML from others: parsed without document types, and so without entities, and only to a limit of depth."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

# More than any real document, and few enough for whoever walks it.
_DEPTH_MAX = 100


class XmlUnusableError(ValueError):
    """A document is no XML, or is one that is not read; the message says why and what to do."""


def root_of(chunks: Iterable[bytes]) -> Element:
    """The root of an XML document. Names of elements and attributes are without namespaces.

    Args:
        chunks: the document.

    Raises:
        XmlUnusableError: when it is no XML, has a document type, or is nested too deep.
    """
    builder = _Builder()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = builder.open
    parser.EndElementHandler = builder.close
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse_document_type
    try:
        for chunk in chunks:
            parser.Parse(chunk, False)  # noqa: FBT003 - expat's own interface.
        parser.Parse(b"", True)  # noqa: FBT003
    except (expat.ExpatError, UnicodeError, LookupError) as error:
        raise XmlUnusableError(f"is no XML ({error}): send a whole document") from error
    return builder.root


class _Builder:
    """Builds the tree of a document from what expat finds."""

    def __init__(self) -> None:
        self._tree = TreeBuilder()
        self._depth = 0

    def open(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise XmlUnusableError(f"has more than {_DEPTH_MAX} elements within each other: send a flatter document")
        self._tree.start(_local(name), {_local(key): value for key, value in attributes.items()})

    def close(self, name: str) -> None:
        self._depth -= 1
        self._tree.end(_local(name))

    def data(self, text: str) -> None:
        self._tree.data(text)

    @property
    def root(self) -> Element:
        return self._tree.close()


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


def _refuse_document_type(*_: object) -> None:
    raise XmlUnusableError("has a document type, whose entities may expand without end: remove <!DOCTYPE ...>")
