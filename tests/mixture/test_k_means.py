"""The k-means of small samples: as good as scikit-learn's, and blind to units and repetition."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from skelbo.mixture.k_means import k_means, nearest_rows


def inertia(X, weights, labels):
    clusters = [labels == k for k in np.unique(labels)]
    means = [np.average(X[own], axis=0, weights=weights[own]) for own in clusters]
    squares = [weights[own] @ (X[own] - m) ** 2 for own, m in zip(clusters, means, strict=True)]
    return np.sum(squares)


def clustered(X, K=3, weights=None, seed=0, n_runs=3):
    weights = np.ones(len(X)) if weights is None else weights
    return k_means(X - X.mean(axis=0), weights, K, n_runs, np.random.RandomState(seed))


@pytest.mark.parametrize(("K", "slack"), [(2, 1.001), (3, 1.001), (6, 1.05)])
def test_as_good_as_scikit_learn(iris, K, slack):
    weights = np.random.default_rng(K).integers(1, 5, len(iris)).astype(float)
    ours = [inertia(iris, weights, clustered(iris, K, weights, seed)) for seed in range(10)]
    theirs = [
        KMeans(K, n_init=3, random_state=seed).fit(iris, sample_weight=weights).inertia_
        for seed in range(10)
    ]
    assert np.mean(ours) < slack * np.mean(theirs)


def test_weight_is_repetition(iris):
    X = np.unique(iris, axis=0)
    weights = np.random.default_rng(0).integers(1, 4, len(X))
    labels = clustered(X, weights=weights.astype(float))
    repeated = clustered(np.repeat(X, weights, axis=0))
    assert adjusted_rand_score(np.repeat(labels, weights), repeated) == 1.0


@pytest.mark.parametrize("scale", [1e-300, 1e-8, 1e150])
def test_units_do_not_matter(iris, scale):
    assert_array_equal(clustered(iris * scale), clustered(iris))


def shaken(values, rng):
    return values * (1 + np.finfo(float).eps * rng.integers(-2, 3, values.shape))


@pytest.mark.parametrize("n_codes", [3, 5, 8])
def test_equal_distances_are_not_decided_by_rounding(n_codes):
    """Indicators of codes are all equally far from each other."""
    rng = np.random.default_rng(n_codes)
    codes, weights = np.eye(n_codes), rng.integers(1, 5, n_codes).astype(float)
    codes = codes - weights @ codes / weights.sum()
    labels = k_means(codes, weights, 2, 3, np.random.RandomState(0))
    nearest = nearest_rows(codes, codes[[1, 0]])
    assert nearest.tolist() == [1] + [0] * (n_codes - 1)
    for _ in range(20):
        moved, counts = shaken(codes, rng), shaken(weights, rng)
        assert_array_equal(k_means(moved, counts, 2, 3, np.random.RandomState(0)), labels)
        assert_array_equal(nearest_rows(moved, moved[[1, 0]]), nearest)


def test_a_row_far_from_all_does_not_make_the_others_equally_near():
    """A code such as 999999 for a missing number."""
    X = np.r_[np.zeros(20), np.full(20, 3.0), 1e6][:, None]
    assert nearest_rows(X - X.mean(), X[[0, 20]] - X.mean()).tolist() == [0] * 20 + [1] * 21
    labels = clustered(X)
    assert len(set(labels[[0, 20, 40]])) == 3


def test_rows_that_differ_by_rounding_only():
    """No distance survives rounding, yet seeds are drawn and nothing is NaN."""
    X = 1.0 + np.arange(6.0)[:, None] * np.finfo(float).eps
    labels = k_means(X, np.ones(6), 4, 3, np.random.RandomState(0))
    assert set(labels) <= set(range(4))


def test_as_many_clusters_as_rows(iris):
    X = np.unique(iris, axis=0)[:8]
    assert len(set(clustered(X, 8))) == 8
