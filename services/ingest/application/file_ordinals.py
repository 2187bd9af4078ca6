"""Telling apart the rows of a file that have no ids: which of several equal rows each one is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from services.common.auth.identity import natural_fingerprint
from services.ingest.application.fingerprints import Fingerprints
from services.ingest.application.ports import FileRow, Row
from services.ingest.domain.submission import Submission, former_key, natural_details

# Turns the fingerprint of a former key into that of "a row with details has this former key".
_WITH_DETAILS = 0x9E37_79B9_7F4A_7C15
_ORDINAL_MAX = 2**32 - 1


def with_ordinals(rows: Iterable[FileRow]) -> Iterator[FileRow]:
    """The rows of a file, each with its ordinal among those that are otherwise equal.

    Args:
        rows: from the first row of the file on: a resumed load counts the rows that it passes over, too.
    """
    ordinals = _FileOrdinals()
    for row in rows:
        if not isinstance(row, Row):
            yield row
            continue
        submission = ordinals.place(row.submission)
        yield row if submission is row.submission else replace(row, submission=submission)


class _FileOrdinals:
    """Counts the rows of one file by what their ids are derived from."""

    def __init__(self) -> None:
        self._seen = Fingerprints()
        # How many rows came before the last one, for keys that came more than once.
        self._repeats: dict[int, int] = {}

    def place(self, submission: Submission) -> Submission:
        """The next row with its ordinal: the same object when it is the first of its kind, as most rows are."""
        if submission.event_id or submission.body is None:
            return submission
        normal = submission.normalised()
        plain = own = natural_fingerprint((normal.learner_id, *former_key(submission)))
        with_details = plain ^ _WITH_DETAILS
        details = natural_details(normal)
        if details or normal is not submission:
            own = natural_fingerprint((normal.learner_id, *former_key(normal), *details))
            taken = not self._seen.add(with_details) or plain in self._seen
        else:
            taken = with_details in self._seen
        ordinal = 0
        if not self._seen.add(own):
            ordinal = self._repeats[own] = min(self._repeats.get(own, 0) + 1, _ORDINAL_MAX)
        return replace(submission, ordinal=ordinal, former_id_taken=True) if taken or ordinal else submission
