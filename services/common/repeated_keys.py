"""Files that people write must not name a key twice in one object: all but one of its values would be lost."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson
import yaml

# A text of this size holds many objects with the same keys.
_LARGE_BYTES = 4_096
# With it, the ends of keys may differ between a text and the same text written again.
_ESCAPED = b"\\u"
_KEY_END = b'":'
_SPACE = b" \t\r\n"
# Of JSON without a backslash, every string, and whether it is a key. Only keys would miss some: after a string that is
# none, a match could begin at its last quotation mark.
_STRINGS = re.compile(rb'"([^"]*)"[ \t\r\n]*(:?)')


class _RepeatedKeyError(Exception):
    """An object has a key twice."""


def _checked(pairs: list[tuple[str, Any]]) -> None:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise _RepeatedKeyError(next(key for key in keys if keys.count(key) > 1))


# Numbers stay texts: only keys matter here.
_DECODER = json.JSONDecoder(object_pairs_hook=_checked, parse_int=str, parse_float=str)


def repeated_key(raw: bytes, document: object = None) -> str | None:
    """The first key that an object of a JSON text has twice; None when there is none.

    Args:
        raw: valid JSON.
        document: what it was decoded to; None: not yet.
    """
    if len(raw) > _LARGE_BYTES and _keeps_its_keys(raw, document):
        return None
    if b"\\" not in raw:
        keys = [text for text, colon in _STRINGS.findall(raw) if colon]
        # Most lines of a file hold one object, in which reading all of it again would take three times as long.
        if len(set(keys)) == len(keys):
            return None
    try:
        _DECODER.decode(raw.decode())
    except _RepeatedKeyError as error:
        return str(error)
    return None


def _keeps_its_keys(raw: bytes, document: object) -> bool:
    """Whether a text that is read and written again has as many keys; False where that cannot be told.

    It takes a tenth of the time of looking at each object.
    """
    if _ESCAPED in raw:
        return False
    try:
        written = orjson.dumps(orjson.loads(raw) if document is None else document)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return False
    return _key_ends(raw) == _key_ends(written)


def _key_ends(text: bytes) -> int:
    # Strings lose the same white space in both texts.
    return text.translate(None, _SPACE).count(_KEY_END)


class _Loader(yaml.SafeLoader):
    """As SafeLoader, but refuses a key that a mapping has already."""

    # Before `<<` adds keys of other mappings, which a mapping may have itself.
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """See Composer."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set[tuple[str, str]]()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in seen:
                problem = f"the key {key.value!r} is there twice in one mapping: keep one"
                raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
            seen.add((key.tag, key.value))
        return node


def load_yaml(text: str) -> Any:
    """The content of a YAML document, of plain types.

    Raises:
        yaml.YAMLError: when it is not YAML, or a mapping has a key twice.
    """
    return yaml.load(text, _Loader)  # noqa: S506 - derived from SafeLoader.
