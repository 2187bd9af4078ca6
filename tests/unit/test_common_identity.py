"""Pseudonyms and event ids are stable, per tenant, and never confused."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from services.common.auth.identity import (
    LEARNER_PATTERN,
    event_fingerprint,
    natural_event_id,
    normalised_id,
    pseudonym,
)

SECRET = bytes(range(32))


def test_pseudonyms_are_stable_so_that_histories_survive_upgrades():
    assert pseudonym(SECRET, "ada") == "SVLP2UZMHOPDKB3OUAEGRBAB7H"
    assert LEARNER_PATTERN.fullmatch(pseudonym(SECRET, "ada"))


@given(st.text(), st.text())
def test_two_learners_share_a_pseudonym_only_if_they_are_the_same(one, other):
    same = normalised_id(one) == normalised_id(other)
    assert (pseudonym(SECRET, one) == pseudonym(SECRET, other)) == same


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_form_of_a_learners_id_gives_the_same_pseudonym(learner_id):
    expected = pseudonym(SECRET, learner_id)
    for form in ("NFC", "NFD"):
        assert pseudonym(SECRET, unicodedata.normalize(form, learner_id)) == expected
        if learner_id.strip():
            assert pseudonym(SECRET, f" {unicodedata.normalize(form, learner_id)}\u00a0") == expected


@given(st.text())
def test_the_one_form_of_an_id_is_stable_and_of_ascii_ids_the_stripped_id_itself(text):
    form = normalised_id(text)
    assert normalised_id(form) == form
    assert unicodedata.is_normalized("NFC", form)
    if text.isascii() and text.isprintable():
        assert form == (text.strip() or text)


@given(st.text())
def test_two_tenants_give_one_learner_unrelated_pseudonyms(learner_id):
    assert pseudonym(SECRET, learner_id) != pseudonym(bytes(32), learner_id)


def test_natural_ids_are_stable_so_that_a_reload_is_recognised():
    assert natural_event_id(("riverbend", "gradebook", "a")) == "6fba4790-ad6a-5e52-a91d-7e18a0696f3c"


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_natural_ids_are_equal_only_if_every_part_is(one, other):
    assert (natural_event_id(tuple(one)) == natural_event_id(tuple(other))) == (one == other)


@given(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5), st.text(max_size=5))
def test_fingerprints_do_not_confuse_where_the_source_ends(source, event_id, other_source, other_id):
    equal = event_fingerprint(source, event_id) == event_fingerprint(other_source, other_id)
    assert equal == ((source, event_id) == (other_source, other_id))
