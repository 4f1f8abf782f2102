"""Observed information of a mixture against numerical second derivatives of scipy's densities."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import special, stats

from skelbo import EMGaussianMixture, EMMixture
from skelbo.gaussian.structures import STRUCTURES
from skelbo.mixture.information import MixtureInformation
from skelbo.mixture.parameter_layout import ParameterLayout
from skelbo.mixture.standard_errors import constrained_errors


def with_holes(n, share, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3)) @ np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.3], [0.0, 0.0, 1.0]])
    X[: n // 2] += 2.5
    X = X * [1.0, 10.0, 0.1] + [0.0, 50.0, 0.0]
    X[rng.random(X.shape) < share] = np.nan
    return X, rng.integers(0, 3, n).astype(float)


def covariance_of(layout, k, part):
    """Return a covariance in units from its parameters."""
    p, tangent = len(layout.column_units), layout.tangents[k]
    if not tangent.n_factors:
        return tangent.matrix(part)
    loadings = part[: p * tangent.n_factors].reshape(p, -1)
    return loadings @ loadings.T + np.diag(part[p * tangent.n_factors :])


def start_of(layout):
    """Return the parameters as one vector, in units."""
    vector = np.zeros(layout.size)
    vector[layout.weight_places] = layout.theta.weights[: len(layout.weight_places)]
    if layout.gaussian is not None:
        vector[layout.mean_places] = layout.scaled_means
    for k, tangent in enumerate(layout.tangents):
        covariance, p = layout.scaled_covariances[k], len(layout.column_units)
        if tangent.n_factors:
            noise = layout.gaussian.covariance.noise[k] / layout.column_units**2
            part = np.concatenate([layout.scaled_loadings(k).ravel(), noise])
        elif tangent.n_parameters == p * (p + 1) // 2:
            part = covariance[np.tril_indices(p)]
        else:
            part = np.diagonal(covariance)[: tangent.n_parameters]
        vector[layout.covariance_places[k]] = part
    for (_, _, values), places in zip(layout.groups, layout.group_places, strict=True):
        vector[places] = values
    return vector


def log_likelihood(vector, layout, X, weights, kinds):
    """Return the weighted sum of log p(x) with scipy, in units, from a vector of parameters."""
    values = X[:, layout.gaussian_columns] / layout.column_units
    terms = np.zeros((layout.n_components, len(X)))
    patterns, pattern = np.unique(~np.isnan(values), axis=0, return_inverse=True)
    for k in range(layout.n_components):
        terms[k] += np.log(vector[layout.weight_places[k]]) if len(layout.weight_places) else 0.0
        for number, seen in enumerate(patterns):
            rows = pattern.ravel() == number
            if seen.any():
                S = covariance_of(layout, k, vector[layout.covariance_places[k]])[
                    np.ix_(seen, seen)
                ]
                mean = vector[layout.mean_places[k]][seen]
                terms[k, rows] += stats.multivariate_normal.logpdf(values[rows][:, seen], mean, S)
        for (_, columns, _), places in zip(layout.groups, layout.group_places, strict=True):
            for i, j in enumerate(columns):
                seen = ~np.isnan(X[:, j])
                terms[k, seen] += log_cells(kinds[j], X[seen, j], vector[places[:, k, i]])
    return weights @ special.logsumexp(terms, axis=0)


def log_cells(kind, x, values):
    if kind == "bernoulli":
        return x * np.log(values[0]) + (1 - x) * np.log(1 - values[0])
    if kind == "poisson":
        return x * np.log(values[0]) - values[0] - special.gammaln(x + 1)
    return np.log(values[x.astype(int)])


def hessian(function, start, step=2e-4):
    """Return second derivatives by central differences, a step relative to each parameter."""
    size = len(start)
    steps = step * np.maximum(np.abs(start), 0.1) * np.eye(size)
    result = np.empty((size, size))
    for i in range(size):
        for j in range(i + 1):
            signs = [(1, 1, 1), (-1, -1, 1), (1, -1, -1), (-1, 1, -1)]
            terms = [s * function(start + a * steps[i] + b * steps[j]) for a, b, s in signs]
            result[i, j] = result[j, i] = sum(terms) / (4 * steps[i, i] * steps[j, j])
    return result


def check(model, X, weights, kinds=()):
    fitted = model._fitted()
    layout = ParameterLayout.of_mixture(fitted.theta)
    X, start = X - fitted.origin, start_of(layout)
    found = MixtureInformation.of_rows(layout, X, weights)
    used = ~(layout.held | (start == 0))

    def function(part):
        vector = start.copy()
        vector[used] = part
        return log_likelihood(vector, layout, X, weights, kinds)

    expected = -hessian(function, start[used])
    observed = found.observed[np.ix_(used, used)]
    scale = np.sqrt(np.maximum(found.complete[used], 1e-300))
    assert_allclose(observed / scale / scale[:, None], expected / scale / scale[:, None], atol=2e-4)
    bound = model.lower_bound_ * weights.sum()
    assert found.log_prob == pytest.approx(bound, rel=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "n_components"), [("full", 1), ("diag", 1), *((kind, 2) for kind in STRUCTURES)]
)
def test_gaussian_mixtures_with_holes_and_weights(kind, n_components):
    X, weights = with_holes(40, 0.15)
    options = {"covariance_type": kind, "n_factors": 1, "random_state": 0}
    model = EMGaussianMixture(n_components, **options).fit(X, sample_weight=weights)
    check(model, X, weights)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::skelbo.SingularCovarianceWarning")
def test_mixed_columns_with_holes_and_weights():
    rng = np.random.default_rng(0)
    label = rng.random(60) < 0.5
    X = np.column_stack(
        [
            rng.standard_normal(60) + 3 * label,
            rng.random(60) < 0.3 + 0.4 * label,
            rng.poisson(2 + 4 * label),
            (rng.integers(0, 3, 60) + label) % 3,
            20 + 5 * rng.standard_normal(60) - 9 * label,
        ]
    ).astype(float)
    X[rng.random(X.shape) < 0.1] = np.nan
    weights = rng.integers(0, 3, 60).astype(float)
    kinds = ["gaussian", "bernoulli", "poisson", "categorical", "gaussian"]
    model = EMMixture(2, likelihood=kinds, n_init=1, random_state=0).fit(X, sample_weight=weights)
    check(model, X, weights, kinds)


def test_constraints_and_directions_without_information():
    observed = np.diag([4.0, 4.0, 0.0, 1.0])
    constraints = np.array([[1.0, 1.0, 0.0, 0.0]])
    complete = np.array([4.0, 4.0, 1.0, 1.0])
    errors, saddle = constrained_errors(observed, complete, constraints, np.zeros((0, 4)))
    assert_allclose(errors, [8**-0.5, 8**-0.5, np.inf, 1.0])
    assert not saddle
    assert constrained_errors(-observed, complete, constraints, np.zeros((0, 4)))[1]
