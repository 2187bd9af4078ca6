"""Keys of learners: which one counts, what they open, and what destroying one leaves."""

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


def sealed(keyring, learner, value):
    data_key = keyring.data_key(learner)
    return data_key.encrypt(learner, value), [("ce_id", b"1"), *data_key.headers]


@given(value=st.binary(max_size=2_000))
@settings(deadline=None)
def test_what_was_encrypted_opens_and_says_nothing_before(value):
    keyring = LearnerKeyring(TENANT_KEYS.get)
    keyring.apply(ADA, made())
    encrypted, headers = sealed(keyring, ADA, value)
    assert keyring.decrypt(ADA, encrypted, headers) == value
    assert len(encrypted) == len(value) + 28
    assert len(value) < 4 or value not in encrypted


def test_the_same_value_is_never_encrypted_alike(keyring):
    keyring.apply(ADA, made())
    assert len({sealed(keyring, ADA, b"x" * 50)[0] for _ in range(100)}) == 100


def test_a_value_that_was_not_encrypted_is_itself(keyring):
    assert keyring.decrypt(ADA, b"plain", [("ce_id", b"1")]) == b"plain"
    assert keyring.decrypt(ADA, None, []) is None


def test_the_first_key_counts_and_is_to_be_written_again_behind_a_later_one(keyring):
    first, second = made(), made()
    keyring.apply(ADA, first)
    keyring.apply(ADA, second)
    assert keyring.key_id(ADA) == id_of(first)
    assert id_of(keyring.overwritten[ADA]) == id_of(first)
    keyring.apply(ADA, keyring.overwritten[ADA])
    assert keyring.key_id(ADA) == id_of(first)
    assert not keyring.overwritten


def test_a_key_that_is_said_to_count_does_so_though_compaction_left_another_before_it(keyring):
    first, second = made(), made()
    for value in (first, second):
        keyring.apply(ADA, value)
    compacted = LearnerKeyring(TENANT_KEYS.get)
    for value in (second, keyring.overwritten[ADA]):
        compacted.apply(ADA, value)
    assert compacted.key_id(ADA) == id_of(first)
    assert not compacted.overwritten


def test_a_destroyed_key_that_is_written_again_stays_destroyed_and_is_to_be_destroyed_again(keyring):
    value = made()
    keyring.apply(ADA, value)
    before, headers = sealed(keyring, ADA, b"before")
    keyring.apply(ADA, None)
    keyring.apply(ADA, value)
    assert keyring.data_key(ADA) is None
    assert keyring.decrypt(ADA, before, headers) is ERASED
    assert keyring.overwritten == {ADA: None}
    keyring.apply(ADA, keyring.overwritten[ADA])
    assert not keyring.overwritten


def test_the_next_key_counts_behind_a_destroyed_one_that_was_written_again(keyring):
    value, following = made(), made()
    for one in (value, None, value, following):
        keyring.apply(ADA, one)
    assert keyring.key_id(ADA) == id_of(following)
    assert id_of(keyring.overwritten[ADA]) == id_of(following)


def test_after_the_mending_the_key_that_counts_is_the_one_that_compaction_keeps(keyring):
    first, second = made(), made()
    records = [(ADA, first), (BEN, made(BEN)), (ADA, second)]
    for record in records:
        keyring.apply(*record)
    records += list(keyring.overwritten.items())
    compacted = LearnerKeyring(TENANT_KEYS.get)
    for key, value in dict(records).items():
        compacted.apply(key, value)
    assert compacted.key_id(ADA) == keyring.key_id(ADA) == id_of(first)
    value, headers = sealed(keyring, ADA, b"answer")
    assert compacted.decrypt(ADA, value, headers) == b"answer"


def test_a_destroyed_key_leaves_nothing_and_the_next_one_counts(keyring):
    keyring.apply(ADA, made())
    before, headers = sealed(keyring, ADA, b"before")
    keyring.apply(ADA, None)
    assert keyring.data_key(ADA) is None
    assert keyring.decrypt(ADA, before, headers) is ERASED
    keyring.apply(ADA, made())
    assert keyring.decrypt(ADA, before, headers) is ERASED
    after, new_headers = sealed(keyring, ADA, b"after")
    assert keyring.decrypt(ADA, after, new_headers) == b"after"


def test_a_destruction_also_drops_what_was_to_be_written_again(keyring):
    for value in (made(), made(), None):
        keyring.apply(ADA, value)
    assert not keyring.overwritten
    assert keyring.key_id(ADA) is None


def test_a_value_moved_to_another_learner_does_not_open(keyring):
    keyring.apply(ADA, made())
    value = keyring.data_key(ADA).encrypt(ADA, b"answer")
    with pytest.raises(ValueUnreadableError, match="moved from another record"):
        keyring.data_key(ADA).decrypt(BEN, value)


@pytest.mark.parametrize(
    "damage", [lambda v: v[:-1], lambda v: v[:5], lambda v: b"", lambda v: bytes([v[0] ^ 1]) + v[1:]]
)
def test_a_damaged_value_is_said_to_be_one(keyring, damage):
    keyring.apply(ADA, made())
    value, headers = sealed(keyring, ADA, b"answer")
    with pytest.raises(ValueUnreadableError, match="cannot be decrypted with its key"):
        keyring.decrypt(ADA, damage(value), headers)


def test_a_key_moved_to_another_learner_does_not_open_either(keyring):
    keyring.apply(BEN, made(ADA))
    with pytest.raises(TenantKeyMissingError):
        keyring.data_key(BEN)


def test_without_the_tenants_own_key_the_remedy_is_said():
    for tenant_keys in ((), (b"x" * 32, b"y" * 32)):
        keyring = LearnerKeyring({"riverbend": tenant_keys}.get)
        keyring.apply(ADA, made())
        with pytest.raises(TenantKeyMissingError, match="CAIRN_TENANTS"):
            keyring.data_key(ADA)


def test_a_key_wrapped_anew_opens_the_same_values_and_nothing_is_wrapped_twice():
    old, new = b"o" * 32, b"n" * 32
    held = {"riverbend": (old,)}
    keyring = LearnerKeyring(held.get)
    keyring.apply(ADA, new_data_key(old, ADA))
    value, headers = sealed(keyring, ADA, b"answer")
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


def test_another_tenants_learner_of_the_same_name_has_another_key(keyring):
    keyring.apply(ADA, made())
    keyring.apply(OTHER, made(OTHER, "hilltop"))
    value, headers = sealed(keyring, ADA, b"answer")
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
def test_headers_that_do_not_say_how_are_named(keyring, headers, words):
    with pytest.raises(ValueUnreadableError, match=words):
        keyring.decrypt(ADA, b"value", headers)


@pytest.mark.parametrize("value", [b"\xff\xff", b"", events_pb2.LearnerDataKey(key_id="k").SerializeToString()])
def test_a_record_that_is_no_key_is_refused_and_changes_nothing(keyring, value):
    good = made()
    keyring.apply(ADA, good)
    with pytest.raises(ValueUnreadableError):
        keyring.apply(ADA, value)
    with pytest.raises(KeyInvalidError):
        keyring.apply(b"no-slash", good)
    assert keyring.key_id(ADA) == id_of(good)


def test_decrypting_before_it_is_known_what_became_of_the_key_is_a_mistake_of_ours(keyring):
    writer = LearnerKeyring(TENANT_KEYS.get)
    writer.apply(ADA, made())
    with pytest.raises(AssertionError, match="before load_keys"):
        keyring.decrypt(ADA, *sealed(writer, ADA, b"answer"))


@dataclass
class Step:
    learner: bytes
    what: int


@given(st.lists(st.builds(Step, st.sampled_from([ADA, BEN]), st.integers(0, 4)), max_size=40), st.data())
@settings(deadline=None)
def test_however_writers_race_compaction_changes_no_key(steps, data):
    """Steps: a writer that knows of no key makes one (0, 1), one is destroyed (2), the topic is mended (3, 4).

    A mending (4) may be that of a writer that had not seen the records since it was due, and come at any time later.
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
        elif mendings := [one for one in late if one[0] == step.learner and one[1] is not None]:
            write(*data.draw(st.sampled_from(mendings)))
    for key, value in dict(keyring.overwritten).items():
        write(key, value)
    # Compaction has come to any place.
    to = data.draw(st.integers(0, len(records)))
    compacted = LearnerKeyring(TENANT_KEYS.get)
    for key, value in [*(one for one in dict(records[:to]).items() if one[1] is not None), *records[to:]]:
        compacted.apply(key, value)
    assert [compacted.key_id(key) for key in (ADA, BEN)] == [keyring.key_id(key) for key in (ADA, BEN)]
