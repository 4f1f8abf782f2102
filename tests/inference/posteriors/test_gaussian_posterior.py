"""Gaussian q of each row: matrices that are no precisions."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.exceptions import ConvergenceWarning

from skelbo import VariationalEM
from skelbo.inference.posteriors.gaussian_posterior import regular
from skelbo.models import DecoderModel


def test_only_matrices_that_need_it_are_altered():
    """A saddle, and a matrix of rank one to rounding, beside one that is fine."""
    sound = np.diag([1.0, 1e8])
    singular = np.eye(2) + 1e95 * np.outer([0.02, 1.0], [0.02, 1.0])
    mended = regular(np.stack([sound, np.diag([2.0, -3.0]), singular]))
    assert_array_equal(mended[0], sound)
    assert_allclose(mended[1], np.diag([2.0, 3.0]))
    assert np.all(np.linalg.eigvalsh(mended[2]) > 0)
    assert np.isfinite(np.linalg.solve(mended, np.ones((3, 2, 1)))).all()


def test_the_bound_of_a_count_of_billions_holds_the_width_of_its_posterior():
    """Three latents: the variance along the loadings is 1e-11, beside one of the prior."""
    X = np.array([[703915850.0, 0.0], [4200000000.0, 0.0]])
    loadings = np.array([[0.07, -0.08, -0.74], [-0.1, -0.27, -0.01]])
    theta = {"0.weight": loadings, "0.bias": np.array([24.2, -7.0])}
    decoder = DecoderModel(3, hidden_layer_sizes=(), likelihood="poisson")
    options = {"params_init": theta, "max_iter": 1, "random_state": 0}
    model = VariationalEM(3, model=decoder, posterior="full", **options)
    with pytest.warns(ConvergenceWarning):
        model.fit(X)
    weights, (level, _) = model.params_["0.weight"], model.params_["0.bias"]
    # The second column is a constant factor; log p of the first is that of a lognormal rate.
    exact = stats.norm.logpdf(np.log(X[:, 0]), level, np.linalg.norm(weights[0]))
    exact -= np.log(X[:, 0])
    assert_allclose(model.elbo(X), exact, atol=0.02)
    assert np.all(model.elbo(X) <= exact + 1e-3)
