"""EMHiddenMarkovModel with parameters set by hand against sums over all paths."""

from itertools import pairwise, product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from skelbo import EMHiddenMarkovModel

LIKELIHOODS = ["gaussian", "categorical", "poisson", "bernoulli", "gaussian"]
K, N_CODES = 3, 3


def shares_with_zeros(rng, shape, zeros):
    """Return probabilities along the last axis, a share of which is zero."""
    values = rng.dirichlet(np.ones(shape[-1]), shape[:-1])
    values[rng.random(shape) < zeros] = 0.0
    values[values.sum(axis=-1) == 0] = np.eye(shape[-1])[0]
    return values / values.sum(axis=-1, keepdims=True)


def random_model(rng, zeros):
    """Return a fitted model whose parameters are then set by hand."""
    X = np.column_stack([
        rng.standard_normal(12), np.arange(12) % N_CODES, rng.poisson(2.0, 12),
        np.arange(12) % 2, rng.standard_normal(12),
    ])  # fmt: skip
    model = EMHiddenMarkovModel(K, likelihood=LIKELIHOODS, max_iter=1, tol=1e3, random_state=0)
    model.fit(X)
    model.startprob_ = shares_with_zeros(rng, (K,), zeros)
    model.transmat_ = shares_with_zeros(rng, (K, K), zeros)
    model.category_probabilities_ = [shares_with_zeros(rng, (K, N_CODES), zeros)]
    model.rates_ = rng.gamma(2.0, 1.0, (K, 1)) * (rng.random((K, 1)) > zeros)
    model.probabilities_ = np.round(rng.random((K, 1)), 0 if zeros else 2)
    return model


def log_emissions(model, X):
    """Return log p(observed cells of a row | state), (n_rows, K), by SciPy."""
    result = np.zeros((len(X), K))
    for t, k in product(range(len(X)), range(K)):
        row, seen = X[t], ~np.isnan(X[t])
        gaussian = np.array([0, 4])[seen[[0, 4]]]
        with np.errstate(divide="ignore"):
            if len(gaussian):
                places = np.searchsorted([0, 4], gaussian)
                covariance = model.covariances_[k][np.ix_(places, places)]
                mean = model.means_[k, gaussian]
                result[t, k] += stats.multivariate_normal(mean, covariance).logpdf(row[gaussian])
            if seen[1]:
                result[t, k] += np.log(model.category_probabilities_[0][k, int(row[1])])
            if seen[2]:
                result[t, k] += stats.poisson(model.rates_[k, 0]).logpmf(row[2])
            if seen[3]:
                result[t, k] += stats.bernoulli(model.probabilities_[k, 0]).logpmf(row[3])
    return result


def enumerated(model, log_prob):
    """Return steps, posteriors and best path of a run; impossible rows count as missing."""
    explained, steps, before = log_prob.copy(), np.empty(len(log_prob)), 0.0
    for t in range(len(log_prob)):
        total = log_sum(joint_of_paths(model, explained[: t + 1])[1])
        if np.isneginf(total):
            steps[t], explained[t] = -np.inf, 0.0
            total = before
        else:
            steps[t] = total - before
        before = total
    paths, joint = joint_of_paths(model, explained)
    share = np.exp(joint - log_sum(joint))
    resp = np.stack([share @ (paths == k) for k in range(K)], axis=1)
    return (
        steps,
        resp,
        joint.max(),
        {tuple(path): value for path, value in zip(paths, joint, strict=True)},
    )


def log_sum(values):
    return np.logaddexp.reduce(values)


def joint_of_paths(model, log_prob):
    """Return all paths of a run and their log-joints with its rows."""
    paths = np.array(list(product(range(K), repeat=len(log_prob))))
    with np.errstate(divide="ignore"):
        log_start, log_transmat = np.log(model.startprob_), np.log(model.transmat_)
    joint = log_start[paths[:, 0]] + log_prob[np.arange(len(log_prob)), paths].sum(axis=1)
    for t, after in pairwise(range(len(log_prob))):
        joint = joint + log_transmat[paths[:, t], paths[:, after]]
    return paths, joint


@pytest.mark.parametrize("zeros", [0.0, 0.35])
@pytest.mark.parametrize("seed", range(4))
def test_every_answer_is_that_of_all_paths(seed, zeros):
    rng = np.random.default_rng([seed, round(100 * zeros)])
    model, lengths = random_model(rng, zeros), [5, 1, 4]
    n = sum(lengths)
    X = np.column_stack([
        2 * rng.standard_normal(n), rng.integers(0, N_CODES, n), rng.poisson(2.0, n),
        rng.integers(0, 2, n), 2 * rng.standard_normal(n),
    ])  # fmt: skip
    X[rng.random(X.shape) < 0.2] = np.nan
    X[2] = np.nan
    groups = np.repeat(["a", "b", "c"], lengths)
    log_prob, bounds = log_emissions(model, X), np.cumsum(lengths)[:-1]
    runs = [enumerated(model, part) for part in np.split(log_prob, bounds)]
    steps, resp = (np.concatenate([run[i] for run in runs]) for i in (0, 1))
    assert_allclose(model.score_samples(X, groups=groups), steps, rtol=1e-9, atol=1e-11)
    assert_allclose(model.predict_proba(X, groups=groups), resp, atol=1e-10)
    for part, run in zip(np.split(model.predict(X, groups=groups), bounds), runs, strict=True):
        assert run[3][tuple(part)] == pytest.approx(run[2], rel=1e-12)
    ends = np.array([run[1][-1] for run in runs])
    forecast = model.forecast(X, 2, groups)
    assert_allclose(forecast.state_proba[:, 1], ends @ model.transmat_ @ model.transmat_, atol=1e-9)
    full = model.impute(X, groups=groups)
    assert_array_equal(full[~np.isnan(X)], X[~np.isnan(X)])
    gaps = np.isnan(X[:, 2])
    assert_allclose(full[gaps, 2], resp[gaps] @ model.rates_[:, 0], atol=1e-9)
    codes = (resp @ model.category_probabilities_[0])[np.isnan(X[:, 1])]
    chosen = full[np.isnan(X[:, 1]), 1].astype(int)
    assert_allclose(codes[np.arange(len(codes)), chosen], codes.max(axis=1), atol=1e-12)
    assert np.isfinite(model.impute(X, n_draws=3, random_state=0, groups=groups)).all()
    bound, gap = model.elbo(X, groups), model.gap(X, groups)
    assert not np.isnan(bound).any() and np.isfinite(gap).all()
    for part, run in zip(np.split(bound, bounds), runs, strict=True):
        assert part.sum() == pytest.approx(run[0].sum(), rel=1e-9)
