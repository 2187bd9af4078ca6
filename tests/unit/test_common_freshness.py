"""Freshness tokens are opaque, and valid only for the tenant they were issued to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.kafka.envelope import Position
from services.common.rpc.freshness import Freshness, FreshnessInvalidError, decode, encode

SECRET, OTHER_SECRET = b"a" * 32, b"b" * 32

positions = st.builds(Position, st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))
tokens = st.builds(Freshness, st.binary(min_size=16, max_size=16), positions)


@given(tokens)
def test_a_token_survives_a_round_trip(freshness):
    assert decode(encode(freshness, SECRET), SECRET) == freshness


@given(tokens)
def test_another_tenants_token_is_refused(freshness):
    with pytest.raises(FreshnessInvalidError, match="of this tenant"):
        decode(encode(freshness, SECRET), OTHER_SECRET)


@given(tokens, st.integers(0, 40), st.integers(1, 255))
def test_a_token_with_any_byte_changed_is_refused(freshness, place, flip):
    import base64

    token = encode(freshness, SECRET)
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    raw[place] ^= flip
    with pytest.raises(FreshnessInvalidError):
        decode(base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("="), SECRET)


@pytest.mark.parametrize("token", ["", "x", "not a token!", "AAAA", "é"])
def test_other_text_is_refused_with_the_remedy(token):
    with pytest.raises(FreshnessInvalidError, match="freshness_token of PublishEvents"):
        decode(token, SECRET)
