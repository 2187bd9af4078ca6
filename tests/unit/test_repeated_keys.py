"""A key that is given twice in one object of a file that people write."""

import json

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from services.common.repeated_keys import load_yaml, repeated_key

# Texts that look like keys in JSON, and keys that repeat in other objects.
TEXTS = st.text(st.sampled_from('ab":, \\\u00e9{}'), max_size=6)
VALUES = st.recursive(
    st.one_of(st.none(), st.integers(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=12,
)
SPACED = st.tuples(st.sampled_from([",", " , "]), st.sampled_from([":", ": ", "\t :"]))


# Large texts are looked at in another way.
SIZES = st.sampled_from([0, 5_000])


@given(VALUES, SPACED, st.booleans(), SIZES)
def test_json_without_a_repeated_key_has_none(value, separators, ascii_only, size):
    raw = json.dumps([{"o": value}, "x" * size, {"o": value}], separators=separators, ensure_ascii=ascii_only)
    assert repeated_key(raw.encode()) is None


@example(":", ["", None], (",", ":"), [False, False], 0)
@example('":', [{'":': '":'}, '":'], (",", ":"), [False, False], 5_000)
@given(TEXTS, st.lists(VALUES, min_size=2, max_size=2), SPACED, st.lists(st.booleans(), min_size=2, max_size=2), SIZES)
def test_a_repeated_key_is_found_however_it_is_written(key, values, separators, ascii_only, size):
    between, after = separators
    pairs = [
        json.dumps(key, ensure_ascii=each) + after + json.dumps(value)
        for value, each in zip(values, ascii_only, strict=True)
    ]
    assert repeated_key(f'["{"x" * size}", {{"o": {{{between.join(pairs)}}}}}]'.encode()) == key


@pytest.mark.parametrize(
    "text",
    [
        # The ends of keys are as many as in the text without the repeated one.
        rb'{"a" : 1, "a": 2}',
        rb'{"a": 2, "a": "\"\u003a"}',
        rb'{"a": 2, "a": "\u0022:"}',
    ],
)
def test_a_repeated_key_of_a_large_text_is_found_however_others_are_written(text):
    assert repeated_key(b"[" + text + b', "' + b"x" * 5_000 + b'"]') == "a"


def test_an_escaped_key_is_the_same_key():
    assert repeated_key(rb'{"score": 1, "sc\u006fre": 2}') == "score"


def test_a_number_of_many_digits_is_no_obstacle():
    assert repeated_key(b'{"a": 1' + b"0" * 5_000 + b', "a": 2}') == "a"


@pytest.mark.parametrize(
    "text",
    ["a: 1\nb: 2\na: 3", "- {o: {a: 1, a: 2}}", '{"a": 1, "a": 2}', "x: &x {b: 1}\ny: {<<: *x, a: 1, a: 2}"],
)
def test_yaml_with_a_repeated_key_is_refused_with_its_line(text):
    with pytest.raises(yaml.MarkedYAMLError, match="the key 'a' is there twice in one mapping: keep one") as refused:
        load_yaml(text)
    assert refused.value.problem_mark.line == text.count("\n")


def test_a_key_may_replace_one_that_was_merged():
    text = "base: &base {a: 1, b: 1}\nmid: &mid {<<: *base, a: 2}\ntop: {<<: *mid, b: 3}"
    assert load_yaml(text) == {"base": {"a": 1, "b": 1}, "mid": {"a": 2, "b": 1}, "top": {"a": 2, "b": 3}}
