"""How a dead letter looks on its topic: the original key, value and headers, then headers that say why and where from.

The note that a letter was replayed is a record of its own: no value, where the letter came from, and where it went.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.common.kafka.dead_letters import PREFIX, Origin, letter_headers, origin_headers
from services.common.kafka.envelope import Position
from services.recommender.application.operations.dead_letters import FiledLetter
from services.recommender.application.ports.log import DeadLetter

_REPLAYED_TO = "replayed-to"


def headers_of_letter(letter: DeadLetter, topic: str) -> list[tuple[str, bytes]]:
    """The headers of a dead letter; `topic` is the one that the record was on."""
    return letter_headers(letter.headers, letter.code, letter.reason, _origin(letter, topic))


def note_headers(letter: DeadLetter, topic: str, position: Position) -> list[tuple[str, bytes]]:
    """The headers of the note that a letter was replayed; `position` is where the record now is on `topic`."""
    return [
        *origin_headers(_origin(letter, topic)),
        (f"{PREFIX}{_REPLAYED_TO}", b"%d/%d" % (position.partition, position.offset)),
    ]


def read_letter(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> FiledLetter:
    """The letter of a record, or of the note that it was replayed.

    Where a header is missing or malformed, the origin's partition and offset are -1 and the texts empty.
    """
    # A record may carry headers of the same names. Ours come last and win.
    ours = {name.removeprefix(PREFIX): content for name, content in headers if name.startswith(PREFIX)}
    letter = DeadLetter(
        partition=_number(ours.get("partition")),
        offset=_number(ours.get("offset")),
        key=key,
        value=value,
        headers=tuple((name, content) for name, content in headers if not name.startswith(PREFIX)),
        code=ours.get("code", b"").decode(errors="replace"),
        reason=ours.get("reason", b"").decode(errors="replace"),
    )
    topic = ours.get("topic", b"").decode(errors="replace")
    return FiledLetter(letter, _position(ours.get(_REPLAYED_TO)), topic)


def _origin(letter: DeadLetter, topic: str) -> Origin:
    return Origin(topic, letter.partition, letter.offset)


def _position(content: bytes | None) -> Position | None:
    if content is None:
        return None
    partition, _, offset = content.partition(b"/")
    return Position(_number(partition), _number(offset))


def _number(content: bytes | None) -> int:
    return int(content) if content is not None and content.isdigit() else -1
