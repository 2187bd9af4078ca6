"""Performance factors analysis and Best-LR: binary responses as the library fits them, graded ones as shares."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from services.recommender.domain.training.responses import ResponseTable, ResponseTableBuilder
from services.recommender.models.tracing.logistic import LogisticOnCounts

LEARNERS, ITEMS = 30, 6

both_models = pytest.mark.parametrize("best", [False, True], ids=["pfa", "best_lr"])


def responses(*, levels: int, skills: int = 2) -> ResponseTable:
    """Learners of different ability answer every item; outcomes are on `levels` equal steps from 0 to 1."""
    rng = np.random.default_rng(4)
    builder = ResponseTableBuilder()
    for learner in range(LEARNERS):
        ability = rng.normal()
        for item in rng.permutation(ITEMS).tolist():
            chance = 1 / (1 + np.exp(item / 2 - 1 - ability))
            outcome = rng.binomial(levels - 1, chance) / (levels - 1)
            on = [f"s{item % skills}"] if skills else []
            builder.append(learner=f"l{learner:02}", item=f"i{item}", skills=on, response=outcome)
    return builder.build()


def fitted_to(table: ResponseTable, *, best: bool) -> LogisticOnCounts:
    model = LogisticOnCounts(best=best)
    model.fit(table)
    return model


@both_models
def test_binary_responses_are_fitted_as_the_library_fits_classes(best):
    table = responses(levels=2)
    model = fitted_to(table, best=best)
    library = LogisticRegression(solver="newton-cg" if best else "newton-cholesky", tol=1e-4, max_iter=1_000)
    library.fit(model._design(table), table.response >= 0.5)
    assert model._weights.coefficients.tolist() == library.coef_[0].tolist()
    assert model._weights.intercept == library.intercept_[0]
    assert model.predict(table).tolist() == library.predict_proba(model._design(table))[:, 1].tolist()


@both_models
def test_graded_responses_are_fitted_by_the_log_loss_with_their_scores_as_shares(best):
    table = responses(levels=5)
    model = fitted_to(table, best=best)
    design, share = model._design(table).toarray(), table.response.astype(np.float64)

    def penalised_log_loss(weights):
        logits = design @ weights[1:] + weights[0]
        gap = expit(logits) - share
        loss = np.sum(np.logaddexp(0, logits) - share * logits) + weights[1:] @ weights[1:] / 2
        return loss, np.array([gap.sum(), *(design.T @ gap + weights[1:])])

    found = minimize(penalised_log_loss, np.zeros(design.shape[1] + 1), jac=True, method="BFGS", options={"gtol": 1e-6})
    expected = expit(design @ found.x[1:] + found.x[0])
    np.testing.assert_allclose(model.predict(table), expected, atol=2e-3)
    # Where scores are not rounded to right and wrong, chances are as high as scores on average.
    assert model.predict(table).mean() == pytest.approx(share.mean(), abs=1e-3)


@both_models
@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_one_outcome_alone_is_always_predicted(best, outcome):
    table = responses(levels=2)
    table.response[:] = outcome
    assert fitted_to(table, best=best).predict(table) == pytest.approx(outcome, abs=1e-8)


def test_without_skills_performance_factors_analysis_predicts_the_share_of_successes():
    table = responses(levels=5, skills=0)
    chances = fitted_to(table, best=False).predict(table)
    assert chances == pytest.approx(float(table.response.mean()))
