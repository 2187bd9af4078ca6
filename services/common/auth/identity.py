"""Identities in the log: tenants, learners' pseudonyms and event ids."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import unicodedata
import uuid
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

TENANT_PATTERN = re.compile(r"[a-z0-9-]{1,63}")
LEARNER_PATTERN = re.compile(r"[A-Z2-7]{26}")

# Unicode's White_Space: without U+001C to U+001F, which `str.strip` removes by default, and which are refused.
_WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
_UNUSABLE = {
    "Cc": "control character",
    "Cf": "format character",
    "Cs": "lone surrogate",
    "Zl": "line separator",
    "Zp": "paragraph separator",
}
# Default_Ignorable_Code_Point of DerivedCoreProperties.txt in version 14.0 of Unicode, which fonts draw as nothing; and
# the braille pattern without dots. Unassigned and private characters are left alone: they may be somebody's letters.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# NFC makes at most one character of four, and no id has over 256.
_NORMALISED_CHARACTERS_MAX = 4 * 256
_EVENT_ID_NAMESPACE = uuid.UUID("6f1f8f0e-6a0b-5d0f-9a53-3c5b1f0c41aa")


@dataclass(frozen=True, slots=True)
class UnusableCharacter:
    """A character that an id may not have, because people and systems do not see it or take it for something else.

    Attributes:
        what: a kind of character, for example "format character".
        shown: its code point and, where it has one, its name.
        position: where it is in the text, from 0.
    """

    what: str
    shown: str
    position: int


def normalised_id(value: str) -> str:
    """The one form of an id that different systems write differently: in NFC, without white space around it.

    Only white space stays as it is, so that checks can say so. So does what is too long to be an id in any form:
    normalising 4 MB would take a second.
    """
    if not value.isascii() and len(value.strip(_WHITE_SPACE)) <= _NORMALISED_CHARACTERS_MAX:
        value = unicodedata.normalize("NFC", value)
    return value.strip(_WHITE_SPACE) or value


def are_plain(*ids: str) -> bool:
    """Whether ids are printable ASCII without a space, so that there is nothing to normalise, as with nearly all."""
    text = "".join(ids)
    return text.isascii() and text.isprintable() and " " not in text


def unusable_character(value: str) -> UnusableCharacter | None:
    """The first character that an id may not have: controls, format and invisible characters, surrogates, line ends."""
    # Nearly every id is printable ASCII, and no printable character is one of the others.
    if value.isprintable() and (value.isascii() or _INVISIBLE.search(value) is None):
        return None
    for position, character in enumerate(value):
        what = _UNUSABLE.get(unicodedata.category(character))
        if what := what or (_INVISIBLE.match(character) and "invisible character"):
            name = unicodedata.name(character, "")
            return UnusableCharacter(what, f"U+{ord(character):04X} {name}".rstrip(), position)
    return None


@lru_cache(maxsize=65_536)
def pseudonym(tenant_secret: bytes, learner_id: str) -> str:
    """The pseudonym of a platform's learner in the log and in derived state.

    Args:
        tenant_secret: the tenant's own secret, at least 16 bytes; another secret gives unrelated pseudonyms.
        learner_id: the learner as the platform knows them; every form of the same id gives the same pseudonym.

    Returns:
        26 base32 characters (130 bits) of HMAC-SHA256.
    """
    digest = hmac.digest(tenant_secret, normalised_id(learner_id).encode(), "sha256")
    # Only the bytes of the first 26 characters: encoding is the slowest part.
    return base64.b32encode(digest[:17])[:26].decode()


def natural_event_id(parts: tuple[str, ...]) -> str:
    """UUIDv5 of an event's natural key, for events without an id.

    Args:
        parts: the fields that identify the event within its tenant. Each is length-prefixed, so that different tuples
            never give the same name.
    """
    name = "".join([f"{len(part)}:{part}" for part in parts])
    return str(uuid.uuid5(_EVENT_ID_NAMESPACE, name))


def natural_fingerprint(parts: tuple[str, ...]) -> int:
    """64 bits that represent a natural key among those of one file."""
    # A part with this separator is refused as an id, so no two events that are accepted have the same text.
    text = "\x1f".join(parts)
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest())


_FINGERPRINT = hashlib.blake2b(digest_size=8)


class EventIdentity(NamedTuple):
    """What makes two records one event, sent twice: everywhere in the log, and in all that is derived from it."""

    tenant: str
    learner: str
    source: str
    event_id: str

    @property
    def fingerprint(self) -> bytes:
        """See `event_fingerprint`. Only within one learner's events."""
        return event_fingerprint(self.source, self.event_id)


def event_fingerprint(source: str, event_id: str) -> bytes:
    """Eight bytes that represent (source, event id) in a learner's de-duplication window."""
    # A copy takes less time than a new hash with these parameters.
    fingerprint = _FINGERPRINT.copy()
    fingerprint.update(f"{len(source)}:{source}{event_id}".encode())
    return fingerprint.digest()
