"""The checksum of stored values: any flipped bit is noticed, and values of earlier releases load."""

from __future__ import annotations

import itertools

import pytest

from services.recommender.adapters.redis.stored_values import learner_record, seal, seal_state, stored_learner, unseal
from services.recommender.application.ports.quarantine import LearnerDamagedError
from services.recommender.domain.learner.journal import encode_journal
from services.recommender.domain.learner.record import FINGERPRINT_BYTES
from services.recommender.domain.learner.state import StateCorruptError, encode_state
from tests.suites.learner_states import ADA, commit, record_key_of

KEY = record_key_of(ADA)
STORED = commit(ADA, range(100)).stored
STATE, ENTRIES = encode_state(STORED.state), encode_journal(STORED.journal)
SEEN = [STORED.seen[at : at + FINGERPRINT_BYTES] for at in range(0, len(STORED.seen), FINGERPRINT_BYTES)]


def flips(value: bytes):
    for place in range(len(value)):
        for bit in range(8):
            yield value[:place] + bytes((value[place] ^ 1 << bit,)) + value[place + 1 :]


def test_a_checksum_costs_four_bytes_and_comes_off_again():
    sealed = seal(STATE)
    assert len(sealed) == len(STATE) + 4
    assert unseal(sealed) == STATE
    assert seal(b"") == unseal(b"") == b""


def test_every_flipped_bit_of_a_sealed_value_is_noticed():
    sealed = seal_state(STATE, 99)
    for flipped in flips(sealed):
        with pytest.raises(StateCorruptError):
            unseal(flipped, b"99")
    with pytest.raises(StateCorruptError):
        unseal(sealed, b"98")


def test_every_truncated_or_extended_value_is_noticed():
    sealed = seal(STATE)
    for changed in (*(sealed[:length] for length in range(5, len(sealed), 7)), sealed + b"\0"):
        with pytest.raises(StateCorruptError):
            unseal(changed)


@pytest.mark.parametrize("part", ["blob", "entries", "checkpoint"])
def test_a_value_that_lost_all_its_bytes_is_no_erased_learner(part):
    parts = {
        "blob": seal_state(STATE, 99),
        "entries": seal(ENTRIES),
        "checkpoint": seal(STORED.checkpoint),
    } | {part: b""}
    with pytest.raises(LearnerDamagedError):
        learner_record(KEY, [parts["blob"], b"99"], [parts["entries"], parts["checkpoint"]], SEEN)


@pytest.mark.parametrize("fields", [[seal_state(STATE, 99), None], [None, b"99"]])
def test_a_read_notices_a_part_that_is_missing(fields):
    with pytest.raises(LearnerDamagedError):
        stored_learner(KEY, fields)


def test_an_erased_learner_has_an_empty_state_and_no_journal():
    assert stored_learner(KEY, [b"", b"99"]) is None
    assert learner_record(KEY, [b"", b"99"], [None, None], SEEN).state is None


def test_values_of_earlier_releases_have_no_checksum_and_load():
    read = learner_record(KEY, [STATE, b"99"], [ENTRIES, STORED.checkpoint], SEEN)
    assert read == STORED
    assert stored_learner(KEY, [STATE, b"99"]).offset == 99


@pytest.mark.parametrize("part", ["state", "entries", "checkpoint"])
def test_no_flipped_bit_of_an_earlier_value_raises_another_error(part):
    parts = {"state": STATE, "entries": ENTRIES, "checkpoint": STORED.checkpoint}
    damaged = 0
    for flipped in itertools.islice(flips(parts[part]), 0, None, 9):
        now = parts | {part: flipped}
        try:
            learner_record(KEY, [now["state"], b"99"], [now["entries"], now["checkpoint"]], SEEN)
        except LearnerDamagedError:
            damaged += 1
    # Some flips give another valid value: without a checksum nobody can tell.
    assert damaged
