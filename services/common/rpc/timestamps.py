"""The times of requests."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

# The latest second of a Timestamp, in the year 9999.
_LATEST_S = 253_402_300_799
_NANOSECONDS_PER_SECOND = 1_000_000_000


def timestamp_problem(moment: Timestamp, *, absent: str) -> str | None:
    """What is wrong with a time, with the value and the remedy; None when it is a time from 1970 on.

    Args:
        moment: as it was sent.
        absent: what it means to send none, after "or none", for example "for now".
    """
    if not 0 <= moment.seconds <= _LATEST_S:
        return f"{moment.seconds} s is not from 1970 to 9999; give a moment in between, or none {absent}"
    if not 0 <= moment.nanos < _NANOSECONDS_PER_SECOND:
        return f"{moment.nanos} ns is not part of a second; give nanos from 0 to 999999999, or no time {absent}"
    return None
