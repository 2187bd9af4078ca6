"""Dead letters of encrypted records: reasons quote nothing that is encrypted with the learner's key."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from cairn.v1 import events_pb2
from services.common.encryption.data_keys import new_data_key
from services.common.encryption.keyring import LearnerKeyring
from services.common.kafka.envelope import record_key
from services.common.kafka.partitioner import partition_of
from services.recommender.entrypoints.record_decoding import decode_batch

PARTITIONS = 4
ADA = record_key("riverbend", "A" * 26)
SECRET = "quiz about a private matter\0"


@pytest.fixture
def keyring():
    keys = (b"t" * 32,)
    keyring = LearnerKeyring(lambda _: keys)
    keyring.apply(ADA, new_data_key(keys[0], ADA))
    return keyring


def unusable():
    """A value with an invalid item."""
    event = events_pb2.LearnerEvent(event_id="e", tenant="riverbend", learner="A" * 26, source="s")
    event.assessment.item = SECRET
    event.assessment.grain = events_pb2.GRAIN_ITEM
    return event.SerializeToString()


def letter_of(keyring, value, headers, partition=None):
    partition = partition_of(ADA, PARTITIONS) if partition is None else partition
    record = SimpleNamespace(key=ADA, value=value, headers=headers, offset=17, partition=partition)
    (letter,) = decode_batch(partition, [record], PARTITIONS, keyring).dead
    return letter


def test_a_plain_value_is_quoted_and_an_encrypted_one_is_not(keyring):
    data_key = keyring.data_key(ADA)
    plain = letter_of(keyring, unusable(), [])
    sealed = letter_of(keyring, data_key.encrypt(ADA, unusable()), data_key.headers)
    assert "private matter" in plain.reason
    assert "private" not in sealed.reason
    assert f"cairn dlt replay {sealed.partition} 17 --dry-run" in sealed.reason
    assert sealed.code == plain.code == "field"
    assert b"private" not in sealed.value


def test_a_problem_outside_the_value_is_reported_as_it_is(keyring):
    data_key = keyring.data_key(ADA)
    value = data_key.encrypt(ADA, unusable())
    wrong = (partition_of(ADA, PARTITIONS) + 1) % PARTITIONS
    assert f"it is on {wrong}" in letter_of(keyring, value, data_key.headers, wrong).reason
    damaged = letter_of(keyring, value[:-1], data_key.headers)
    assert (damaged.code, "damaged" in damaged.reason) == ("encryption", True)
