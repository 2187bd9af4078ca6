"""Which keys the log proves destroyed, out of keys that are not on their topic."""

from services.common.encryption.erasure_evidence import ErasureEvidence
from services.common.encryption.values import MissingKeys
from services.common.kafka.envelope import record_key

ADA, BEN = record_key("riverbend", "A" * 26), record_key("riverbend", "B" * 26)


def evidence_of(*, uses=(), erasures=()):
    evidence = ErasureEvidence()
    for learner, key_id, offset in uses:
        evidence.note_use((learner, key_id), 3, offset, right_partition=True)
    for learner, offset in erasures:
        evidence.note_erasure(learner, offset)
    return evidence


def nothing_known(*_):
    return False


def test_an_erasure_behind_a_record_proves_that_its_key_was_destroyed():
    assert evidence_of(uses=[(ADA, "k1", 5)], erasures=[(ADA, 9)]).destroyed_before_an_erasure((ADA, "k1"))


def test_an_erasure_before_every_use_of_a_key_proves_nothing_since_the_learner_came_back_with_it():
    evidence = evidence_of(uses=[(ADA, "k1", 5), (ADA, "k2", 12)], erasures=[(ADA, 9)])
    assert evidence.destroyed_before_an_erasure((ADA, "k1"))
    assert not evidence.destroyed_before_an_erasure((ADA, "k2"))
    assert evidence.missing(nothing_known) == MissingKeys(1, "riverbend", 3, 12, "k2")


def test_a_copy_behind_the_erasure_is_proven_by_an_earlier_record_with_the_same_key():
    evidence = evidence_of(uses=[(ADA, "k1", 12), (ADA, "k1", 5)], erasures=[(ADA, 9)])
    assert evidence.destroyed_before_an_erasure((ADA, "k1"))
    assert evidence.missing(nothing_known) is None


def test_the_erasure_of_another_learner_proves_nothing():
    assert not evidence_of(uses=[(ADA, "k1", 5)], erasures=[(BEN, 9)]).destroyed_before_an_erasure((ADA, "k1"))


def test_any_erasure_proves_a_record_on_a_wrong_partition_whose_offset_cannot_be_compared():
    evidence = evidence_of(erasures=[(ADA, 9)])
    evidence.note_use((ADA, "k1"), 0, 400, right_partition=False)
    assert evidence.destroyed_before_an_erasure((ADA, "k1"))


def test_missing_records_are_counted_and_the_first_is_the_example():
    evidence = evidence_of(uses=[(BEN, "k2", 30), (ADA, "k1", 5), (ADA, "k1", 7), (ADA, "k1", 2)])
    assert evidence.missing(nothing_known) == MissingKeys(4, "riverbend", 3, 5, "k1")
    assert evidence.missing(lambda learner, _: learner == ADA) == MissingKeys(1, "riverbend", 3, 30, "k2")
    assert evidence.missing(lambda *_: True) is None
