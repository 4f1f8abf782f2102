"""Control variates leave the mean and reduce the error."""

import numpy as np
import pytest

from skelbo.inference.distinct_rows import DistinctRows
from skelbo.inference.log_marginal import log_marginal
from skelbo.inference.posteriors.best import best_q
from skelbo.inference.sampling.importance import BaseNoise
from skelbo.inference.sampling.samplers import make_sampler
from skelbo.inference.standard_errors import score_moments
from skelbo.models import BinaryFeatureModel, FactorModel
from tests.tables import answers, counts, real


@pytest.mark.parametrize(
    ("model", "X", "sampler"),
    [
        (FactorModel(2, likelihood="poisson"), counts(20), "importance"),
        (FactorModel(1, likelihood="bernoulli"), answers(20), "hmc"),
        (BinaryFeatureModel(2), real(20), "gibbs"),
    ],
)
def test_controls_leave_the_mean_and_take_the_error(model, X, sampler):
    theta = model.start(X, np.ones(20), np.random.RandomState(0), 0)
    data = DistinctRows.of_table(X, None)
    joint = model.joint(data.X, theta)
    points = log_marginal(joint, BaseNoise.draw(10, 2, np.random.RandomState(0)))[2]
    scores = model.scores(theta, data.X, points.Z)
    exact = np.einsum("n,sn,snp->p", data.weights, points.weights, scores)
    draws = make_sampler(sampler, model, np.random.RandomState(1))
    draws.restart(joint, best_q(joint, "full"))
    draws = draws.more(400)
    gradient, spread = score_moments(model, theta, data, draws, joint)
    plain = model.scores(theta, data.X, draws.Z)
    errors = data.weights[:, None] * draws.deviations(plain)
    before = (errors**2).sum((0, 1))
    away = (gradient - exact) ** 2 / (np.diagonal(spread) + 1e-9)
    assert np.all(np.diagonal(spread) < before) and np.diagonal(spread).sum() < 0.3 * before.sum()
    assert away.mean() < 4
