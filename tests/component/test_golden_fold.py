"""Folding a fixed log of every kind of event leaves behind exactly what it left behind when the values were written.

The values are in `tests/golden/fold.json`; `tests/golden/write.py` says when they may be replaced.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.golden.folding import digest_of, fold_values
from tests.golden.values import check, stored

GOLDEN = stored("fold")
PARAMETERS = sorted(GOLDEN)
LEARNERS = [(name, learner) for name in PARAMETERS for learner in sorted(GOLDEN[name]["learners"])]


@pytest.fixture(scope="module")
def folded():
    return asyncio.run(fold_values())


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_the_digest_of_the_epoch_is_the_same(folded, parameters):
    assert folded[parameters]["digest"] == GOLDEN[parameters]["digest"]


@pytest.mark.parametrize("parameters", PARAMETERS)
@pytest.mark.parametrize("part", ["records", "learners_held", "applied", "duplicates", "progress", "dead_letters"])
def test_what_became_of_the_records_is_the_same(folded, parameters, part):
    check(GOLDEN[parameters][part], folded[parameters][part])


@pytest.mark.parametrize(("parameters", "learner"), LEARNERS)
def test_the_stored_bytes_and_the_numbers_of_each_learner_are_the_same(folded, parameters, learner):
    check(GOLDEN[parameters]["learners"][learner], folded[parameters]["learners"][learner])


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_no_learner_came_or_went(folded, parameters):
    assert set(folded[parameters]["learners"]) == set(GOLDEN[parameters]["learners"])


def test_the_log_holds_every_kind_of_dead_letter_that_the_decoder_and_the_fold_name():
    codes = {code for _, _, code in GOLDEN["priors"]["dead_letters"]}
    assert codes == {
        "body",
        "content-type",
        "correction-beyond-journal",
        "field",
        "identity",
        "key",
        "partition",
        "value",
    }


@pytest.mark.parametrize("batch", [1, 7, 1_000])
async def test_how_records_are_batched_does_not_show(batch):
    assert await digest_of(batch) == GOLDEN["fitted"]["digest"]
