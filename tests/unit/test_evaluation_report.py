"""Formats of evaluations: JSON and back, the HTML page, and the table in the documents."""

from __future__ import annotations

from datetime import date

import pytest

from deploy.evaluation.document import Measured, document
from services.recommender.evaluation.intervals import Estimate
from services.recommender.evaluation.report import page
from services.recommender.evaluation.results import Evaluation, Reliability, as_json, from_json

EVALUATION = Evaluation(
    protocol="tracing/<made-up>",
    data="3 learners",
    commit="c" * 40,
    models={
        "elo": {"auc": Estimate(0.7, 0.68, 0.72)},
        "cairn": {"auc": Estimate(0.75, 0.74, 0.76), "ece": Estimate(0.01, 0.005, 0.02)},
    },
    differences={"elo": {"auc": Estimate(0.05, 0.03, 0.07)}},
    slices={"attempt 1": {"elo": {"auc": Estimate(0.6, 0.5, 0.7)}}},
    reliability={"cairn": Reliability([0.2, 0.8], [0.25, 0.75], [10, 30])},
    notes=("a note",),
    seeds={"bootstrap": 1},
    elapsed_s={"elo": 0.5},
)


def test_an_evaluation_is_read_back_from_its_json_as_it_was():
    assert from_json(as_json(EVALUATION)) == EVALUATION


def test_figures_of_a_report_with_less_in_it_are_read_too():
    found = from_json(b'{"protocol": "p", "data": "d", "commit": "", "models": {}, "folds": 5}')
    assert found == Evaluation("p", "d", "", {}, {})


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{}", b'{"protocol": "p"}', b'{"protocol":"p","data":"","commit":"","models":{"a":{"auc":1}}}'],
)
def test_an_invalid_evaluation_is_refused(text):
    with pytest.raises(ValueError, match="is not the JSON of an evaluation"):
        from_json(text)


def test_one_page_holds_every_evaluation_and_names_are_escaped():
    text = page("All", [EVALUATION, EVALUATION])
    assert text.count("<h1>tracing/&lt;made-up&gt;</h1>") == 2
    # One plot of the measure and one of the reliability, for each evaluation.
    assert text.count("<svg") == 4
    assert text.count("<html") == 1
    assert "<made-up>" not in text


def test_the_document_names_data_date_and_commit():
    text = document([Measured(EVALUATION, date(2026, 5, 4), 61.2)])
    assert "Measured on 2026-05-04 at commit cccccccccccc, in 61 s." in text
    assert "| cairn | 0.7500 [0.7400, 0.7600] | 0.0100 [0.0050, 0.0200] |" in text
    assert "| elo | 0.7000 [0.6800, 0.7200] |  |" in text
    assert "| elo | 0.0500 [0.0300, 0.0700] |" in text
