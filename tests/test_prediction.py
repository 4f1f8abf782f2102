"""Predictions read rows as they lie; they say what the block-wise mixture says, of any row."""

import numpy as np
import pytest

from skelbo import EMGaussianMixture
from skelbo.gaussian.covariance import STRUCTURES
from skelbo.rows import Rows

METHODS = "score_samples", "predict_proba", "predict"


def fitted(kind, X, K=3):
    return EMGaussianMixture(K, covariance_type=kind, max_iter=3, random_state=0, tol=10.0).fit(X)


def table(p, n=700, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, p)) + 4.0 * rng.integers(3, size=(n, 1))


def by_blocks(model, X):
    """Return the three answers of the mixture that fits use, about its centre, in float64."""
    origin = np.average(model.means_, 0, model.weights_)
    theta = model._theta(origin)
    rows = Rows(np.asarray(X, dtype=np.float64), None, origin, *theta.components.cells)
    with np.errstate(over="ignore"):
        resp = rows.each(lambda block: theta.resp(block).T, len(model.means_))
        return rows.each(theta.log_prob), resp, rows.each(theta.labels, dtype=np.intp)


@pytest.mark.parametrize("kind", STRUCTURES)
@pytest.mark.parametrize("p", [2, 9])
@pytest.mark.parametrize("shift", [0.0, 1e3, 1e9])
def test_same_as_by_blocks(kind, p, shift):
    X = table(p) + shift
    model = fitted(kind, X)
    X = np.concatenate([X, X[:5] + 1e4, X[:5] + 1e180])
    X[3, 1] = np.nan
    for method, expected in zip(METHODS, by_blocks(model, X), strict=True):
        answer = getattr(model, method)(X)
        np.testing.assert_allclose(answer, expected, rtol=1e-9, atol=1e-9)
        fortran = getattr(model, method)(np.asfortranarray(X))
        np.testing.assert_allclose(fortran, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", STRUCTURES)
@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_float32_is_close_to_float64(kind, shift):
    X = (table(9) + shift).astype(np.float32)
    model = fitted(kind, X.astype(np.float64))
    log_prob, resp, _ = by_blocks(model, X)
    assert model.score_samples(X).dtype == model.transform(X).dtype == np.float32
    np.testing.assert_allclose(model.score_samples(X), log_prob, rtol=1e-6, atol=2e-4)
    np.testing.assert_allclose(model.transform(X), resp, atol=2e-4)
    np.testing.assert_allclose(model.transform(X).sum(axis=1), 1, atol=1e-6)


def test_wide_float32_table_far_beyond_single_precision_is_seen_in_double():
    X = table(2).astype(np.float32)
    model = fitted("diag", X)
    far = np.full((2, 2), 1e30, dtype=np.float32)
    assert np.all(np.isneginf(model.score_samples(far)) | (model.score_samples(far) < -1e38))
    np.testing.assert_allclose(model.transform(far), by_blocks(model, far)[1], atol=1e-6)


def test_equal_components_give_the_first_label():
    model = fitted("spherical", table(2))
    model.means_[:] = model.means_[0]
    model.weights_[:] = 1 / 3
    model.precisions_cholesky_[:] = 1.0
    assert not model.predict(table(2)).any()


@pytest.mark.parametrize("method", METHODS)
def test_parameters_changed_in_place_are_seen(method):
    X = table(2)
    model = fitted("full", X)
    before = getattr(model, method)(X)
    model.means_[:] = model.means_[::-1] + 1.0
    assert not np.allclose(before, getattr(model, method)(X))
    model.n_components = 2
    with pytest.raises(ValueError, match="n_components=2"):
        getattr(model, method)(X)


def test_impossible_components_are_never_chosen():
    X = table(2)
    model = fitted("full", X)
    model.weights_[:] = 0.0, 0.25, 0.75
    assert not model.transform(X)[:, 0].any()
    assert set(model.predict(X)) <= {1, 2}


@pytest.mark.parametrize("method", METHODS)
def test_infinity_is_refused(method):
    X = table(2)
    model = fitted("full", X)
    X[5, 1] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        getattr(model, method)(X)
