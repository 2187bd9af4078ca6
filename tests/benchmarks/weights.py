"""`python -m tests.benchmarks.weights FOLDER`: the fit of the success model against fits by libraries.

The same penalised log-loss is minimised by the product's blockwise Newton steps, by scikit-learn on a sparse matrix of
all products and skills, and by SciPy's L-BFGS without one. Fits are to 70 % of the learners of FOLDER, and predict the
rest.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from services.recommender.domain.learner.success_features import SHARED_FEATURES
from services.recommender.domain.training.metrics import auc, log_loss
from services.recommender.evaluation.tracing import SEED, split_by_learner
from services.recommender.models.tracing.difficulty_fit import UNFITTED, cv_folds, fit_difficulties, item_folds
from services.recommender.models.tracing.pair_fit import fit_item_pairs
from services.recommender.models.tracing.success_fit import SuccessChoice, fit_weights, predict_success
from services.recommender.models.tracing.success_table import features_from_others, success_features

_SHARED_PENALTY, _SKILL_PENALTY, _RESPONSES_PER_SKILL = 3.0, 32.0, 50


def main(folder: Path) -> None:
    """Print the CPU time, the peak of memory, and how well each fit predicts."""
    split = split_by_learner(folder)
    train, test = split.train, split.test
    rows = features_from_others(train, UNFITTED, cv_folds(train, SEED), item_folds(train, SEED))
    difficulties = fit_difficulties(train, UNFITTED)
    rows_of_test = success_features(test, difficulties, fit_item_pairs(train, difficulties))
    choice = SuccessChoice(clocks=True, products=True, skill_penalty=_SKILL_PENALTY, log_loss=0.0)
    few = np.arange(len(train)) < 1_000
    fit_weights(train.rows(few), rows[few], choice)  # Compiled before it is timed.

    def report(name: str, fit: Callable[[], Callable[[], np.ndarray]]) -> None:
        began_s = time.process_time()
        predict = fit()
        took_s = time.process_time() - began_s
        chance = predict()
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{name:34} {took_s:6.1f} s  peak {peak_mb:6.0f} MB  "
            f"AUC {auc(test.response, chance):.4f}  log-loss {log_loss(test.response, chance):.4f}"
        )

    def newton() -> Callable[[], np.ndarray]:
        model = fit_weights(train, rows, choice)
        return lambda: predict_success(test, rows_of_test, model)

    print(f"{split.description}: {len(train):,} responses, {len(SHARED_FEATURES)} features")
    report("blockwise Newton (served)", newton)
    standard, standard_of_test = _standard(rows, rows), _standard(rows_of_test, rows)
    chosen = np.flatnonzero(np.bincount(train.skill, minlength=len(train.skills)) >= _RESPONSES_PER_SKILL)
    for iterations in (100, 400):
        report(
            f"SciPy L-BFGS, {iterations} iterations",
            lambda iterations=iterations: _lbfgs(
                train, test, standard, standard_of_test, chosen, iterations=iterations
            ),
        )
    for solver in ("lbfgs", "newton-cg"):
        report(
            f"scikit-learn {solver}",
            lambda solver=solver: _scikit_learn(train, test, standard, standard_of_test, chosen, solver=solver),
        )


def _standard(rows, fitted_on):
    mean, deviation = fitted_on.mean(axis=0), fitted_on.std(axis=0)
    mean[0], deviation[0] = 0.0, 1.0
    deviation[deviation < 1e-9] = 1.0
    return (np.clip(rows, fitted_on.min(axis=0), fitted_on.max(axis=0)) - mean) / deviation


def _shares(table, chosen):
    """Responses by the skills that have weights: how much of the response each is."""
    slot = np.full(len(table.skills), -1)
    slot[chosen] = np.arange(len(chosen))
    entries, rows = slot[table.skill], table.skill_rows()
    shares = (1.0 / np.maximum(np.diff(table.skill_start), 1))[rows]
    kept = entries >= 0
    return scipy.sparse.csr_matrix((shares[kept], (rows[kept], entries[kept])), (len(table), len(chosen)))


def _lbfgs(train, test, standard, standard_of_test, chosen, *, iterations):
    width = standard.shape[1]
    left, right = np.triu_indices(width)
    shares, outcome = _shares(train, chosen), train.response.astype(np.float64)
    penalties = np.concatenate(
        [[1e-6], np.full(len(left) - 1, _SHARED_PENALTY), np.full(len(chosen) * width, _SKILL_PENALTY)]
    )
    scale = 1.0 / np.sqrt(np.maximum(penalties, 1.0))

    def logits(weights, features, by_skill):
        products = np.zeros((width, width))
        products[left, right] = weights[: len(left)]
        own = weights[len(left) :].reshape(len(chosen), width)
        return np.einsum("ri,ri->r", features @ products + by_skill @ own, features)

    def loss(scaled):
        weights = scaled * scale
        logit = logits(weights, standard, shares)
        error = standard * (1.0 / (1.0 + np.exp(-logit)) - outcome)[:, None]
        gradient = np.concatenate([(standard.T @ error)[left, right], np.asarray(shares.T @ error).ravel()])
        value = np.sum(np.logaddexp(0.0, logit) - outcome * logit) + 0.5 * np.sum(penalties * weights**2)
        return value, (gradient + penalties * weights) * scale

    found = minimize(
        loss, np.zeros(len(penalties)), jac=True, method="L-BFGS-B", options={"maxiter": iterations, "ftol": 1e-12}
    )
    return lambda: 1.0 / (1.0 + np.exp(-logits(found.x * scale, standard_of_test, _shares(test, chosen))))


def _scikit_learn(train, test, standard, standard_of_test, chosen, *, solver):
    left, right = np.triu_indices(standard.shape[1])

    def design(features, by_skill):
        products = (features[:, left] * features[:, right])[:, 1:] / np.sqrt(_SHARED_PENALTY)
        own = [by_skill.multiply(features[:, [column]]) for column in range(features.shape[1])]
        own = scipy.sparse.hstack(own) / np.sqrt(_SKILL_PENALTY)
        return scipy.sparse.hstack([scipy.sparse.csr_matrix(products), own], format="csr")

    model = LogisticRegression(solver=solver, max_iter=1_000, tol=1e-3)
    model.fit(design(standard, _shares(train, chosen)), train.response > 0.5)
    return lambda: model.predict_proba(design(standard_of_test, _shares(test, chosen)))[:, 1]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
