"""Starts of mixed columns: away from the boundary, in a space where columns count alike."""

import numpy as np
from numpy.testing import assert_allclose

from skelbo.data.column_moments import ColumnMoments
from skelbo.data.rows import Rows
from skelbo.mixture.emission_layout import EmissionLayout
from skelbo.mixture.emission_starts import clustering_space, emissions_of_labels

KINDS = ["gaussian", "bernoulli", "poisson", "categorical"]


def rows(n=80):
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    columns = [rng.standard_normal(n) + 4 * labels, labels, 3 * labels, 2 * labels]
    return np.column_stack(columns).astype(float), np.eye(3)[labels]


def test_a_start_excludes_no_row_and_names_the_labels():
    X, weights = rows()
    X[0] = np.nan
    layout = EmissionLayout.of_rows(Rows(X), KINDS)
    rule = layout.regularization("auto", ColumnMoments.of_rows(Rows(X)), X.dtype)
    start = emissions_of_labels(layout, X, weights, rule)
    log_prob = start.log_prob(X)
    assert np.isfinite(log_prob).all()
    assert np.all(log_prob[2::2, 0] > log_prob[2::2, 1])
    assert_allclose(start.parameters[0][0, :, 0], [0.05, 0.95, 0.5], atol=0.01)
    exact = emissions_of_labels(layout, X, weights, rule, pooled=0.0)
    assert_allclose(exact.parameters[1][0, :2, 0], [0, 3], rtol=1e-12)


def test_every_column_has_variance_one_whatever_its_unit():
    X, _ = rows()
    X[::7, 3] = np.nan
    weights = np.arange(1.0, 81)
    layout = EmissionLayout.of_rows(Rows(X), KINDS)
    space = clustering_space(layout, X, weights)
    observed = np.where(np.isnan(X[:, 3]), 0, weights)
    parts = [(space[:, [j]], weights) for j in range(3)] + [(space[:, 3:], observed)]
    for part, share in parts:
        assert_allclose(share @ part, 0, atol=1e-9)
        assert_allclose((share @ part**2).sum() / share.sum(), 1, rtol=1e-12)
    moved = clustering_space(layout, X * [7, 1, 1, 1] + [3, 0, 0, 0], weights)
    assert_allclose(moved, space, atol=1e-12)
