"""Files that an earlier program wrote are read, and say what they said: bundle, snapshot, tagger, state and journal.

The files are in `tests/golden/stored/`, what they say is in `tests/golden/formats.json`; `tests/golden/write.py` says
when they may be replaced.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.golden.formats import format_values
from tests.golden.values import check, stored

GOLDEN = stored("formats")
TENANTS = sorted(GOLDEN["bundle"]["tenants"])


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return asyncio.run(format_values(tmp_path_factory.mktemp("written")))


@pytest.mark.parametrize("tenant", TENANTS)
def test_a_stored_bundle_has_the_same_parameters_and_its_models_the_same_predictions(found, tenant):
    check(GOLDEN["bundle"]["tenants"][tenant], found["bundle"]["tenants"][tenant])


@pytest.mark.parametrize("part", ["id", "created_at", "parameters_id"])
def test_a_stored_bundle_is_known_by_the_same_names(found, part):
    assert found["bundle"][part] == GOLDEN["bundle"][part]


def test_the_stored_bundle_holds_every_sort_of_model():
    riverbend, lakeside, hilltop = (GOLDEN["bundle"]["tenants"][name] for name in ("riverbend", "lakeside", "hilltop"))
    assert {"scores", "chances", "ranker"} <= riverbend.keys()
    assert "scores" in lakeside
    assert "ranker" not in lakeside
    assert "scores" not in hilltop
    assert len(riverbend["ranker"]["models"]) == 5


@pytest.mark.parametrize("part", sorted(GOLDEN["snapshot"]))
def test_a_stored_snapshot_is_restored_with_the_same_digest_and_learners(found, part):
    check(GOLDEN["snapshot"][part], found["snapshot"][part])


def test_folding_on_from_a_restored_snapshot_comes_to_what_folding_everything_comes_to(found):
    assert found["snapshot"]["digest_after_folding_on"] == stored("fold")["priors"]["digest"]


def test_a_stored_tagger_suggests_the_same_skills_with_the_same_confidence(found):
    check(GOLDEN["tagger"], found["tagger"])


@pytest.mark.parametrize("part", sorted(GOLDEN["blobs"]))
def test_a_stored_learner_state_and_journal_are_read_and_written_back_byte_for_byte(found, part):
    check(GOLDEN["blobs"][part], found["blobs"][part])


@pytest.mark.parametrize("part", ["snapshot", "tagger", "bundle"])
def test_what_is_written_now_is_byte_for_byte_what_was_written_then(found, part):
    check(GOLDEN["rewritten"][part], found["rewritten"][part])
