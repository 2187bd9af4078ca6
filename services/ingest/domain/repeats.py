"""Recognising an event that comes again, by what it said: the same, or something else under the same identity.

What is remembered of an event is its fingerprint within the learner's events and a digest of its content, which also
shows which fields differ. Neither contains anything that was sent.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from services.common.auth.identity import EventIdentity
from services.ingest.domain.problems import Problem, ProblemKind, shown
from services.ingest.domain.submission import ContentField, Submission

FINGERPRINT_BYTES = 8
# One byte for the kind and for each field, by which differing fields are named, and six for the whole.
_MARKS = 11
_WHOLE_BYTES = 5
DIGEST_BYTES = _MARKS + _WHOLE_BYTES
ENTRY_BYTES = FINGERPRINT_BYTES + DIGEST_BYTES


class Outcome(Enum):
    """The outcome of one event."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    CONFLICT = "conflict"
    REVISED = "revised"


class LearnerKey(NamedTuple):
    """A learner of a tenant."""

    tenant: str
    learner: str


@dataclass(frozen=True, slots=True)
class Content:
    """What an event says.

    Attributes:
        fields: what it is made of.
        digest: 16 bytes; two events with the same digest say the same.
        revisable: whether a later event may replace it.
    """

    fields: Sequence[ContentField]
    digest: bytes
    revisable: bool

    def is_said_by(self, earlier: bytes) -> bool:
        """Whether the event with this digest says the same; it may be a digest of an earlier release."""
        # Computed only if need be: most repeats are of this release.
        return earlier == self.digest or earlier == self._former_digest()

    def is_of_the_kind_of(self, earlier: bytes) -> bool:
        """Whether the event with this digest is of the same kind: an assessment never replaces an interaction."""
        return self.digest[0] == earlier[0]

    def differences(self, earlier: bytes) -> list[Problem]:
        """The fields in which it differs from an event with the same identity, each with the remedy.

        Args:
            earlier: the digest of that event, a different one.
        """
        kind = _kind_of(self.fields)
        same_kind = self.is_of_the_kind_of(earlier)
        if not same_kind:
            differing = [("body", kind)]
        else:
            marks = zip(self.fields, self.digest[1:], self._former_digest()[1:], earlier[1:], strict=False)
            differing = [field[:2] for field, *own, other in marks if other not in own]
        remedy = "send another event_id"
        if self.revisable and same_kind:
            remedy += ", or revises: true if this replaces it"
        return [
            Problem(
                path,
                ProblemKind.CONFLICT,
                f"{f'is {shown(text)}' if text else 'is not set'}, but was something else when an event with the same "
                f"learner, source and event_id was sent before: {remedy}",
            )
            # In one of several hundred cases, the differing field has the same byte as before.
            for path, text in differing or [("body", kind)]
        ]

    def _former_digest(self) -> bytes:
        # It compared every text as it was sent.
        return _digest_of(_kind_of(self.fields), [field[1] for field in self.fields])


def content_of(submission: Submission) -> Content:
    """What a submission without problems says."""
    if submission.body is None:
        raise AssertionError("an event without a body passed the check")
    at = submission.occurred_at
    # The fold reads whole seconds, and 0 for a time that is not known.
    occurred_at = ("occurred_at", "", "0") if at is None else ("occurred_at", str(at), str(at.seconds))
    fields = (occurred_at, *submission.body.content(submission.source))
    return Content(fields, _digest_of(_kind_of(fields), [field[-1] for field in fields]), submission.body.revisable)


def _digest_of(kind: str, texts: Sequence[str]) -> bytes:
    # No text has a control character, so different texts never give the same string.
    whole = "\0".join([kind, *texts]).encode()
    # The multiplication makes texts that differ in one place differ in unpredictable ways.
    marks = bytes([zlib.crc32(text) * 0x9E3779B1 >> 24 & 0xFF for text in whole.split(b"\0")])
    return marks.ljust(_MARKS, b"\0") + hashlib.blake2b(whole, digest_size=_WHOLE_BYTES).digest()


def _kind_of(fields: Sequence[ContentField]) -> str:
    return fields[1][0].partition(".")[0]


@dataclass(frozen=True, slots=True)
class RecentLearner:
    """What is remembered of a learner's last events.

    Attributes:
        entries: one of ENTRY_BYTES for each event, in the order of the log.
        latest_at_s: the latest time of an assessment, in seconds since 1970; None when no time is known.
    """

    entries: bytes = b""
    latest_at_s: int | None = None

    def digest_of(self, identity: EventIdentity) -> bytes | None:
        """The digest of the last event with an identity; None when there is none."""
        fingerprint = identity.fingerprint
        at = self.entries.rfind(fingerprint)
        while at >= 0 and at % ENTRY_BYTES:
            # These bytes are part of other entries.
            at = self.entries.rfind(fingerprint, 0, at + FINGERPRINT_BYTES - 1)
        return self.entries[at + FINGERPRINT_BYTES : at + ENTRY_BYTES] if at >= 0 else None


def entry_of(identity: EventIdentity, digest: bytes) -> bytes:
    """What is remembered of one event."""
    return identity.fingerprint + digest
