"""Scores and information are derivatives of log p(x, z)."""

import numpy as np
import pytest

from skelbo.models import BinaryFeatureModel, FactorModel
from tests.tables import answers, counts, real


@pytest.mark.parametrize(
    ("model", "X"),
    [
        (FactorModel(2), real(8)),
        (FactorModel(2, noise="isotropic", fit_intercept=False), real(8)),
        (FactorModel(2, likelihood="poisson"), counts(8)),
        (FactorModel(1, likelihood="bernoulli"), answers(8)),
        (BinaryFeatureModel(3), real(8)),
    ],
)
@pytest.mark.parametrize("missing", [False, True])
def test_scores_and_information_are_derivatives(model, X, missing):
    X = X.copy()
    if missing:
        X[0, 1] = X[5, 2] = np.nan
    rng = np.random.RandomState(0)
    theta = model.start(X, np.ones(8), rng, 1)
    Z = rng.standard_normal((3, 8, model.n_latents))
    if model.latent == "binary":
        Z = (Z > 0).astype(float)
    weights = rng.random_sample((3, 8))
    scores = model.scores(theta, X, Z)
    information = model.information(theta, X, Z, weights)
    column = 0
    for name, value in theta.items():
        for index in np.ndindex(np.shape(value)):
            sides = []
            for sign in (1, -1):
                moved = np.array(value)
                moved[index] += sign * 1e-5
                near = {**theta, name: moved}
                total = (weights[..., None] * model.scores(near, X, Z)).sum((0, 1))
                sides.append((model.joint(X, near).log_joint(Z), total))
            slope = (sides[0][0] - sides[1][0]) / 2e-5
            assert np.allclose(slope, scores[..., column], rtol=1e-5, atol=1e-5)
            bend = -(sides[0][1] - sides[1][1]) / 2e-5
            assert np.allclose(bend, information[column], rtol=1e-4, atol=1e-4)
            column += 1
