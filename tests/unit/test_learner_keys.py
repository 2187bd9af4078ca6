"""Keys of learners: which one is active, what they decrypt, and what remains once one is destroyed."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cairn.v1 import events_pb2
from services.common.encryption.data_keys import new_data_key
from services.common.encryption.headers import ALGORITHM, ENCRYPTION_HEADER, KEY_ID_HEADER, key_id_of
from services.common.encryption.keyring import LearnerKeyring
from services.common.encryption.values import ERASED, TenantKeyMissingError, ValueUnreadableError
from services.common.kafka.envelope import KeyInvalidError, record_key

TENANT_KEYS = {"riverbend": (b"r" * 32,), "hilltop": (b"h" * 32,)}
ADA, BEN, OTHER = record_key("riverbend", "A" * 26), record_key("riverbend", "B" * 26), record_key("hilltop", "A" * 26)


@pytest.fixture
def keyring():
    return LearnerKeyring(TENANT_KEYS.get)


def made(learner=ADA, tenant="riverbend"):
    return new_data_key(TENANT_KEYS[tenant][0], learner)


def id_of(value):
    return events_pb2.LearnerDataKey.FromString(value).key_id


def encrypted(keyring, learner, value):
    data_key = keyring.data_key(learner)
    return data_key.encrypt(learner, value), [("ce_id", b"1"), *data_key.headers]


@given(value=st.binary(max_size=2_000))
@settings(deadline=None)
def test_an_encrypted_value_decrypts_to_itself_and_reveals_nothing_before(value):
    keyring = LearnerKeyring(TENANT_KEYS.get)
    keyring.apply(ADA, made())
    ciphertext, headers = encrypted(keyring, ADA, value)
    assert keyring.decrypt(ADA, ciphertext, headers) == value
    assert len(ciphertext) == len(value) + 28
    assert len(value) < 4 or value not in ciphertext


def test_the_same_value_never_encrypts_to_the_same_bytes(keyring):
    keyring.apply(ADA, made())
    assert len({encrypted(keyring, ADA, b"x" * 50)[0] for _ in range(100)}) == 100


def test_a_plain_value_is_returned_unchanged(keyring):
    assert keyring.decrypt(ADA, b"plain", [("ce_id", b"1")]) == b"plain"
    assert keyring.decrypt(ADA, None, []) is None


def test_the_first_key_is_active_and_must_be_written_again_after_a_later_one(keyring):
    first, second = made(), made()
    keyring.apply(ADA, first)
    keyring.apply(ADA, second)
    assert keyring.key_id(ADA) == id_of(first)
    assert id_of(keyring.overwritten[ADA]) == id_of(first)
    keyring.apply(ADA, keyring.overwritten[ADA])
    assert keyring.key_id(ADA) == id_of(first)
    assert not keyring.overwritten


def test_a_key_marked_as_active_is_active_although_compaction_left_another_before_it(keyring):
    first, second = made(), made()
    for value in (first, second):
        keyring.apply(ADA, value)
    compacted = LearnerKeyring(TENANT_KEYS.get)
    for value in (second, keyring.overwritten[ADA]):
        compacted.apply(ADA, value)
    assert compacted.key_id(ADA) == id_of(first)
    assert not compacted.overwritten


def test_a_destroyed_key_that_is_written_again_stays_destroyed_and_must_be_destroyed_again(keyring):
    value = made()
    keyring.apply(ADA, value)
    before, headers = encrypted(keyring, ADA, b"before")
    keyring.apply(ADA, None)
    keyring.apply(ADA, value)
    assert keyring.data_key(ADA) is None
    assert keyring.decrypt(ADA, before, headers) is ERASED
    assert keyring.overwritten == {ADA: None}
    keyring.apply(ADA, keyring.overwritten[ADA])
    assert not keyring.overwritten


def test_the_next_key_is_active_after_a_destroyed_one_that_was_written_again(keyring):
    value, following = made(), made()
    for one in (value, None, value, following):
        keyring.apply(ADA, one)
    assert keyring.key_id(ADA) == id_of(following)
    assert id_of(keyring.overwritten[ADA]) == id_of(following)


def test_after_writing_again_compaction_keeps_the_active_key(keyring):
    first, second = made(), made()
    records = [(ADA, first), (BEN, made(BEN)), (ADA, second)]
    for record in records:
        keyring.apply(*record)
    records += list(keyring.overwritten.items())
    compacted = LearnerKeyring(TENANT_KEYS.get)
    for key, value in dict(records).items():
        compacted.apply(key, value)
    assert compacted.key_id(ADA) == keyring.key_id(ADA) == id_of(first)
    value, headers = encrypted(keyring, ADA, b"answer")
    assert compacted.decrypt(ADA, value, headers) == b"answer"


def test_a_destroyed_key_leaves_nothing_and_the_next_one_is_active(keyring):
    keyring.apply(ADA, made())
    before, headers = encrypted(keyring, ADA, b"before")
    keyring.apply(ADA, None)
    assert keyring.data_key(ADA) is None
    assert keyring.decrypt(ADA, before, headers) is ERASED
    keyring.apply(ADA, made())
    assert keyring.decrypt(ADA, before, headers) is ERASED
    after, new_headers = encrypted(keyring, ADA, b"after")
    assert keyring.decrypt(ADA, after, new_headers) == b"after"


def test_destroying_a_key_also_drops_what_had_to_be_written_again(keyring):
    for value in (made(), made(), None):
        keyring.apply(ADA, value)
    assert not keyring.overwritten
    assert keyring.key_id(ADA) is None


def test_a_value_moved_to_another_learner_cannot_be_decrypted(keyring):
    keyring.apply(ADA, made())
    value = keyring.data_key(ADA).encrypt(ADA, b"answer")
    with pytest.raises(ValueUnreadableError, match="moved from another record"):
        keyring.data_key(ADA).decrypt(BEN, value)


@pytest.mark.parametrize(
    "damage", [lambda v: v[:-1], lambda v: v[:5], lambda v: b"", lambda v: bytes([v[0] ^ 1]) + v[1:]]
)
def test_a_damaged_value_is_reported_as_damaged(keyring, damage):
    keyring.apply(ADA, made())
    value, headers = encrypted(keyring, ADA, b"answer")
    with pytest.raises(ValueUnreadableError, match="cannot be decrypted with its key"):
        keyring.decrypt(ADA, damage(value), headers)


def test_a_key_moved_to_another_learner_cannot_be_unwrapped(keyring):
    keyring.apply(BEN, made(ADA))
    with pytest.raises(TenantKeyMissingError):
        keyring.data_key(BEN)


def test_without_the_tenants_own_key_the_error_names_the_remedy():
    for tenant_keys in ((), (b"x" * 32, b"y" * 32)):
        keyring = LearnerKeyring({"riverbend": tenant_keys}.get)
        keyring.apply(ADA, made())
        with pytest.raises(TenantKeyMissingError, match="CAIRN_TENANTS"):
            keyring.data_key(ADA)


def test_a_key_wrapped_again_decrypts_the_same_values_and_nothing_is_wrapped_twice():
    old, new = b"o" * 32, b"n" * 32
    held = {"riverbend": (old,)}
    keyring = LearnerKeyring(held.get)
    keyring.apply(ADA, new_data_key(old, ADA))
    value, headers = encrypted(keyring, ADA, b"answer")
    assert keyring.rewrapped(ADA) is None
    assert keyring.rewrapped(BEN) is None
    held["riverbend"] = (new, old)
    rewrapped = keyring.rewrapped(ADA)
    keyring.apply(ADA, rewrapped)
    assert keyring.rewrapped(ADA) is None
    assert keyring.learners("riverbend") == [ADA]
    assert keyring.learners("river") == []
    for keys in ((new,), (old, new)):
        fresh = LearnerKeyring({"riverbend": keys}.get)
        fresh.apply(ADA, rewrapped)
        assert fresh.decrypt(ADA, value, headers) == b"answer"
    stale = LearnerKeyring({"riverbend": (old,)}.get)
    stale.apply(ADA, rewrapped)
    with pytest.raises(TenantKeyMissingError, match="the current tenants file"):
        stale.decrypt(ADA, value, headers)


def test_a_learner_of_the_same_name_in_another_tenant_has_another_key(keyring):
    keyring.apply(ADA, made())
    keyring.apply(OTHER, made(OTHER, "hilltop"))
    value, headers = encrypted(keyring, ADA, b"answer")
    keyring.mark_erased(key_id_of(headers))
    assert keyring.decrypt(OTHER, value, headers) is ERASED
    assert keyring.decrypt(ADA, value, headers) == b"answer"


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ([(ENCRYPTION_HEADER, b"ROT13"), (KEY_ID_HEADER, b"k")], "ROT13"),
        ([(ENCRYPTION_HEADER, ALGORITHM)], "does not say with which key"),
        ([(ENCRYPTION_HEADER, ALGORITHM), (KEY_ID_HEADER, b"")], "does not say with which key"),
    ],
)
def test_invalid_encryption_headers_are_named(keyring, headers, words):
    with pytest.raises(ValueUnreadableError, match=words):
        keyring.decrypt(ADA, b"value", headers)


@pytest.mark.parametrize("value", [b"\xff\xff", b"", events_pb2.LearnerDataKey(key_id="k").SerializeToString()])
def test_a_record_that_is_not_a_key_is_refused_and_changes_nothing(keyring, value):
    good = made()
    keyring.apply(ADA, good)
    with pytest.raises(ValueUnreadableError):
        keyring.apply(ADA, value)
    with pytest.raises(KeyInvalidError):
        keyring.apply(b"no-slash", good)
    assert keyring.key_id(ADA) == id_of(good)


def test_decrypting_before_the_key_is_loaded_is_a_programming_error(keyring):
    writer = LearnerKeyring(TENANT_KEYS.get)
    writer.apply(ADA, made())
    with pytest.raises(AssertionError, match="before load_keys"):
        keyring.decrypt(ADA, *encrypted(writer, ADA, b"answer"))


@dataclass
class Step:
    learner: bytes
    what: int


@given(st.lists(st.builds(Step, st.sampled_from([ADA, BEN]), st.integers(0, 4)), max_size=40), st.data())
@settings(deadline=None)
def test_compaction_changes_no_key_in_any_race_of_writers(steps, data):
    """Steps: a writer that knows no key creates one (0, 1), a key is destroyed (2), keys are written again (3, 4).

    The last (4) is late: it comes from a writer that has not read the latest records, at any later time.
    """
    keyring, records, late = LearnerKeyring(TENANT_KEYS.get), [], []

    def write(key, value):
        records.append((key, value))
        keyring.apply(key, value)
        late.extend(keyring.overwritten.items())

    for step in steps:
        if step.what < 2:
            write(step.learner, made(step.learner))
        elif step.what == 2:
            write(step.learner, None)
        elif step.what == 3:
            for key, value in dict(keyring.overwritten).items():
                write(key, value)
        elif rewrites := [one for one in late if one[0] == step.learner and one[1] is not None]:
            write(*data.draw(st.sampled_from(rewrites)))
    for key, value in dict(keyring.overwritten).items():
        write(key, value)
    # Compaction has reached any record.
    to = data.draw(st.integers(0, len(records)))
    compacted = LearnerKeyring(TENANT_KEYS.get)
    for key, value in [*(one for one in dict(records[:to]).items() if one[1] is not None), *records[to:]]:
        compacted.apply(key, value)
    assert [compacted.key_id(key) for key in (ADA, BEN)] == [keyring.key_id(key) for key in (ADA, BEN)]
