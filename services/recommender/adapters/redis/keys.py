"""The names of the keys in Redis; `states.py` and `epochs.py` say what each holds."""

from __future__ import annotations


def learner_keys(epoch: int, key: bytes) -> tuple[bytes, bytes, bytes]:
    """The learner's keys: state, journal, seen."""
    prefix = b"cairn:%d:{%b}:" % (epoch, key)
    return prefix + b"state", prefix + b"journal", prefix + b"seen"


def position_key(epoch: int, partition: int) -> bytes:
    """The key of a partition's progress."""
    return position_prefix(epoch) + b"%d" % partition


def meta_key(epoch: int) -> bytes:
    """The key of an epoch's metadata."""
    return b"cairn:%d:meta" % epoch


def position_prefix(epoch: int) -> bytes:
    """The prefix of the keys of partitions' progress; the partition follows."""
    return b"cairn:%d:position:" % epoch


def quarantine_key(epoch: int) -> bytes:
    """The key of an epoch's quarantined learners."""
    return b"cairn:%d:quarantine" % epoch
