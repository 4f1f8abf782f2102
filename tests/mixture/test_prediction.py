"""Predictions without copying X equal those of the mixture block by block, for any row."""

import numpy as np
import pandas as pd
import pytest
from sklearn.utils import check_array

from skelbo import EMGaussianMixture
from skelbo.data.rows import Rows
from skelbo.gaussian.structures import STRUCTURES
from tests.mixture.fits import theta_of

METHODS = "score_samples", "predict_proba", "predict"


def fitted(kind, X, K=3):
    return EMGaussianMixture(K, covariance_type=kind, max_iter=3, random_state=0, tol=10.0).fit(X)


def table(p, n=700, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, p)) + 4.0 * rng.integers(3, size=(n, 1))


def by_blocks(model, X):
    """Return the three answers of the mixture that fits use, about its centre, in float64."""
    theta, origin = theta_of(model)
    rows = Rows(np.asarray(X, dtype=np.float64), None, origin, *theta.components.cells)
    with np.errstate(over="ignore"):
        resp = rows.each(lambda block: theta.resp(block).T, len(model.means_))
        return rows.each(theta.log_prob), resp, rows.each(theta.labels, dtype=np.intp)


@pytest.mark.parametrize("kind", STRUCTURES)
@pytest.mark.parametrize("p", [2, 9, 30])
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


@pytest.mark.parametrize(("kind", "p"), [*((kind, 9) for kind in STRUCTURES), ("full", 30)])
@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_float32_is_close_to_float64(kind, p, shift):
    X = (table(p) + shift).astype(np.float32)
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


def as_memmap(X, folder):
    mapped = np.memmap(folder / "rows", X.dtype, "w+", shape=X.shape)
    mapped[:] = X
    return mapped


FLOATS = [np.float64, np.float32]
CONTAINERS = {
    "C order": lambda X, folder: np.ascontiguousarray(X),
    "Fortran order": lambda X, folder: np.asfortranarray(X),
    "every second row": lambda X, folder: np.repeat(X, 2, axis=0)[::2],
    "float32": lambda X, folder: X.astype(np.float32),
    "memory map": as_memmap,
    "list": lambda X, folder: X.tolist(),
    "pandas": lambda X, folder: pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])]),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize(("kind", "p"), [*((kind, 3) for kind in STRUCTURES), ("full", 30)])
def test_infinity_is_refused(kind, p, container, tmp_path):
    """Every method refuses it, in scikit-learn's words, wherever it stands."""
    model = fitted(kind, CONTAINERS[container](table(p), tmp_path))
    X = np.tile(table(p), (8, 1))
    X[3000, p - 1], X[10, 1] = np.inf, np.nan
    given = CONTAINERS[container](X, tmp_path)
    with pytest.raises(ValueError, match="infinity") as expected:
        check_array(
            given, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan", input_name="X"
        )
    for method in (*METHODS, "transform", "score", "bic", "elbo", "gap", "impute"):
        with pytest.raises(ValueError, match="infinity") as error:
            getattr(model, method)(given)
        assert str(error.value) == str(expected.value)


@pytest.mark.parametrize("kind", STRUCTURES)
@pytest.mark.parametrize("method", METHODS)
def test_rows_that_are_not_looked_at_first_get_the_same_answer(kind, method):
    """A list is checked cell by cell beforehand, an array is not."""
    X = table(4)
    model = fitted(kind, X)
    X[3, 1], X[5] = np.nan, 1e200
    np.testing.assert_array_equal(getattr(model, method)(X), getattr(model, method)(X.tolist()))


@pytest.mark.parametrize("kind", STRUCTURES)
@pytest.mark.parametrize("scale", [1e-20, 1e19, 1e30])
def test_variances_beyond_float32_are_kept_in_double(kind, scale):
    """The scores of float32 rows follow log p(c x) = log p(x) - p log c at any scale they have."""
    X = table(3)
    plain = fitted(kind, X)
    rows = (scale * X).astype(np.float32)
    model = fitted(kind, rows)
    assert model.means_.dtype == model.score_samples(rows).dtype == np.float32
    expected = plain.score_samples(X) - 3 * np.log(scale)
    np.testing.assert_allclose(model.score_samples(rows), expected, atol=2e-3)
    assert model.score(rows) == pytest.approx(model.lower_bound_, abs=1e-4)


def test_parameters_too_large_for_float32_are_kept_in_double():
    X = np.array([[1.0], [1.0 + 1e-7]] * 20)
    model = fitted("tied", X, K=1)
    model.precisions_cholesky_[:] = 1e30
    model.means_[:] = 1.0
    assert np.isfinite(model.score_samples(np.ones((2, 1), dtype=np.float32))).all()
