"""Standard errors are those of theory, infinite where nothing is determined, never NaN."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

from skelbo import VariationalEM
from skelbo.inference.distinct_rows import DistinctRows
from skelbo.inference.standard_errors import quadratic_forms, standard_errors
from skelbo.models import DecoderModel, FactorModel
from tests.own_models import TwoParameterLogistic
from tests.tables import answers, real


@pytest.mark.slow
def test_standard_errors_are_finite_infinite_or_absent_but_never_nan():
    absent = VariationalEM(
        model=DecoderModel(1, hidden_layer_sizes=(40,)), max_iter=2, tol=1e9, random_state=0
    )
    absent.fit(real(30))
    assert not hasattr(absent, "standard_errors_")
    with pytest.raises(AttributeError, match=r"286 numbers, .* at most 200; .*bootstrap"):
        _ = absent.standard_errors_
    with pytest.warns(UserWarning, match="Heywood"):
        heywood = VariationalEM(2, model="gaussian", random_state=0).fit(load_iris().data)
    errors = heywood.standard_errors_
    assert all(np.all(np.isfinite(value)) for value in errors.values())
    assert np.all(errors["noise_variance"][1:3] < 1e-9)  # held at the floor
    covariance = heywood.params_["loadings"] @ heywood.params_["loadings"].T
    variances = np.diagonal(covariance) + heywood.params_["noise_variance"]
    assert np.allclose(errors["intercepts"], np.sqrt(variances / 150), rtol=1e-5)
    unused = broken_free().fit(answers(40))
    assert np.isinf(unused.standard_errors_["idle"]) and np.isfinite(unused.standard_errors_["d"])


def test_a_ridge_of_noise_and_loadings_has_the_errors_of_its_end():
    """Two noise variances at zero: wherever on the ridge the ascent ended, one is held with it.

    Iris has a maximum in which the columns 1 and 2 are the latents, and the others a regression
    on them, whose residual variances have the errors of residual variances.
    """
    X = load_iris().data
    model = FactorModel(2)
    with pytest.warns(UserWarning, match="Heywood"):
        end = VariationalEM(model=model, random_state=0).fit(X)
    expected = None
    for share in (1e-6, 1e-5, 3e-5):
        noise = end.params_["noise_variance"].copy()
        noise[1:3] = share * X.var(axis=0)[1], 1e-6 * X.var(axis=0)[2]
        data = DistinctRows(X, np.ones(150), np.arange(150))
        theta = {**end.params_, "noise_variance": noise}
        fitted = SimpleNamespace(model=model, theta=theta, seed=0, posterior="exact")
        errors = standard_errors(fitted, data)[0]["noise_variance"]
        assert np.all(errors[1:3] < 1e-9)
        expected = errors if expected is None else expected
        assert np.allclose(errors, expected, rtol=1e-3, atol=1e-9)
    residual = end.params_["noise_variance"][[0, 3]]
    assert np.allclose(errors[[0, 3]], residual * np.sqrt(2 / 150), rtol=1e-3)


def broken_free():
    """A model with a parameter that the likelihood mentions and that does nothing."""

    def initialize(self, X, rng):
        return {"d": torch.zeros(()), "idle": torch.ones(())}

    def log_likelihood(self, X, Z, theta):
        eta = Z * 0.5 + theta["d"] + 0.0 * theta["idle"]
        return (X * eta - torch.nn.functional.softplus(eta)).sum(-1)

    methods = {"initialize": initialize, "log_likelihood": log_likelihood}
    return VariationalEM(model=type("Idle", (TwoParameterLogistic,), methods)(), random_state=0)


def test_errors_of_a_direction_without_noise_are_zero():
    """A rotated Gaussian factor model: rounding leaves no negative variance of the gradient."""
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((50, 1)) * rng.standard_normal(6)
    axes = np.linalg.svd(scores)[2].T  # all but the first are orthogonal to every score
    forms = quadratic_forms(axes, scores.T @ scores)
    assert forms.min() >= 0
    assert np.allclose(forms, [(scores**2).sum(), 0, 0, 0, 0, 0], atol=1e-12 * forms[0])
