"""Trainings that run away end with an error that names the learning rate."""

import numpy as np
import pytest
import torch
from torch import nn

from skelbo import GANEstimator, VAEEstimator, VQVAEEstimator
from skelbo.neural.diagnostics import check_finite
from skelbo.neural.training.runaway import (
    check_divergence,
    check_rows,
    check_steps,
    check_weights,
)


def test_half_of_the_steps_may_be_skipped():
    check_steps(2, 4, 1, 0.1)
    with pytest.raises(ValueError, match=r"3 of 4 steps of epoch 1 .* \(now 0.1\)"):
        check_steps(3, 4, 1, 0.1)


@pytest.mark.parametrize("kind", [torch.optim.RMSprop, torch.optim.Adam])
def test_squares_of_gradients_that_overflow_are_found(kind):
    weight = nn.Parameter(torch.ones(3))
    optimizer = kind([weight], lr=0.1)
    for gradient in 1.0, 1e30:
        check_weights([weight], optimizer, 1, 0.1)
        weight.grad = torch.full((3,), gradient)
        optimizer.step()
    assert torch.isfinite(weight).all()
    with pytest.raises(ValueError, match="averages of their gradients"):
        check_weights([weight], optimizer, 2, 0.1)


def test_weights_rows_and_divergences_are_finite():
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    check_rows(torch.zeros(3), 1, 0.1)
    check_divergence(-0.5, 1, 0.1)
    with pytest.raises(ValueError, match="weights are not finite after epoch 4"):
        check_weights([torch.tensor([np.inf])], optimizer, 4, 0.1)
    with pytest.raises(ValueError, match="encoding of 2 of 3 rows is not finite after epoch 4"):
        check_rows(torch.tensor([1.0, np.nan, -np.inf]), 4, 0.1, "encoding")
    with pytest.raises(ValueError, match="divergence is nan after epoch 4"):
        check_divergence(np.nan, 4, 0.1)


FAR = np.array([[1.0], [5e9]], dtype=np.float32)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "estimator",
    [
        GANEstimator(1, lr=10.0, optimizer="rmsprop", random_state=969, max_iter=3),
        VAEEstimator(1, lr=1e6, optimizer="sgd", early_stopping=True, max_iter=3, random_state=0),
        VQVAEEstimator(1, lr=1e9, optimizer="sgd", max_iter=3, random_state=0),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_an_estimator_that_runs_away_names_the_learning_rate(estimator):
    X = np.repeat(FAR, 10, axis=0)
    with pytest.raises(ValueError, match=r"smaller lr \(now "):
        estimator.fit(X)


def test_a_bound_beyond_the_precision_of_the_table_is_not_finite():
    """Scores are in that precision, and log p(x) of -1e39 would be minus infinity."""
    bound, mean = np.array([-1.0, -1e39]), np.zeros((2, 1))
    check_finite(bound, mean, np.dtype(np.float64), 3, 0.1)
    with pytest.raises(ValueError, match="bound of 1 of 2 rows is not finite after epoch 3"):
        check_finite(bound, mean, np.dtype(np.float32), 3, 0.1)
