"""Products with the directions of covariances equal those with their matrices."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skelbo import EMGaussianMixture, GaussianMLE
from skelbo.gaussian.covariance_tangent import (
    dense_tangent,
    diagonal_tangent,
    factor_tangent,
    isotropic_tangent,
)

LOADINGS = np.random.default_rng(0).standard_normal((4, 2))
TANGENTS = {
    "dense": dense_tangent(4),
    "diagonal": diagonal_tangent(4),
    "isotropic": isotropic_tangent(4),
    "factor": factor_tangent(LOADINGS),
    "factor of rank one": factor_tangent(LOADINGS * [1, 0]),
}


@pytest.mark.parametrize("name", TANGENTS)
def test_products(name):
    tangent, rng = TANGENTS[name], np.random.default_rng(1)
    E = np.array([tangent.matrix(one) for one in np.eye(tangent.n_parameters)])
    A, B = (M + M.T for M in rng.standard_normal((2, 4, 4)))
    v = rng.standard_normal((6, 4))
    assert_allclose(tangent.quadratic_forms(v), np.einsum("ni,jik,nk->nj", v, E, v), atol=1e-13)
    assert_allclose(tangent.traces(A), np.einsum("ik,jki->j", A, E), atol=1e-13)
    assert_allclose(tangent.products(A, v[0]), A @ E @ v[0], atol=1e-13)
    assert_allclose(tangent.overlaps(A, B), np.einsum("iab,bc,jcd,da->ij", E, A, E, B), atol=1e-12)
    null = tangent.null_space()
    assert len(null) == len(E) - np.linalg.matrix_rank(E.reshape(len(E), -1))
    assert_allclose(np.tensordot(null, E, 1), 0.0, atol=1e-13)


def test_directions_are_the_derivatives():
    free = np.arange(1.0, 11.0)
    matrix = TANGENTS["dense"].matrix(free)
    assert_allclose(matrix[np.tril_indices(4)], free)
    assert_allclose(matrix, matrix.T)
    assert_allclose(TANGENTS["isotropic"].matrix(np.array([3.0])), 3 * np.eye(4))
    step, noise = 1e-6 * np.arange(8.0).reshape(4, 2), np.zeros(4)
    moved = (LOADINGS + step) @ (LOADINGS + step).T - LOADINGS @ LOADINGS.T
    change = TANGENTS["factor"].matrix(np.concatenate([step.ravel(), noise]))
    assert_allclose(change, moved, atol=1e-9)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (GaussianMLE("diag"), None),
        (GaussianMLE(), "180900 parameters"),
        (EMGaussianMixture(2, covariance_type="factor", random_state=0), "4802 parameters"),
    ],
    ids=["diag", "full", "factor"],
)
@pytest.mark.filterwarnings("ignore::skelbo.SingularCovarianceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_summaries_of_wide_tables_form_no_matrix_for_each_parameter(model, reason):
    """One p x p matrix for each parameter of 600 columns took 1.7 GB (diag) or 484 GiB (full)."""
    X = np.random.default_rng(0).standard_normal((12, 600))
    model.fit(X)
    tracemalloc.start()
    try:
        warnings = model.summary().warnings
        assert tracemalloc.get_traced_memory()[1] < 400e6
    finally:
        tracemalloc.stop()
    if reason is None:
        assert not warnings
        n, variance = len(X), X.var(axis=0)
        assert_allclose(model.standard_errors_["covariance"], variance * np.sqrt(2 / n), rtol=1e-6)
    else:
        assert any(reason in text for text in warnings)
