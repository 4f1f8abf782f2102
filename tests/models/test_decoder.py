"""Decoder models fit, draw and leave the given network alone."""

import numpy as np
import pytest
import torch

from skelbo import NoiseFloorWarning, VariationalEM
from skelbo.models import DecoderModel
from tests.tables import answers, counts, real


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli", "poisson"])
def test_decoder(likelihood):
    X = {"gaussian": real(30), "bernoulli": answers(30), "poisson": counts(30)}[likelihood]
    model = DecoderModel(1, hidden_layer_sizes=(4,), likelihood=likelihood)
    estimator = VariationalEM(model=model, max_iter=5, random_state=0).fit(X)
    assert np.diff(estimator.lower_bounds_).min() > -1e-9
    assert estimator.inverse_transform(estimator.transform(X)).shape == X.shape
    assert estimator.sample(7, random_state=0)[0].shape == (7, X.shape[1])
    own = torch.nn.Sequential(
        torch.nn.Linear(1, 3), torch.nn.Tanh(), torch.nn.Linear(3, X.shape[1])
    )
    before = own[0].weight.detach().clone()
    VariationalEM(
        model=DecoderModel(1, decoder=own, likelihood=likelihood), max_iter=2, random_state=0
    ).fit(X)
    assert torch.equal(own[0].weight, before)  # the user's network is not trained in place


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_noise_variance_at_its_floor_has_a_warning_of_its_class():
    X = np.full((15, 1), 1e9)
    decoder = DecoderModel(1, hidden_layer_sizes=(4,))
    model = VariationalEM(1, model=decoder, max_iter=1, random_state=0)
    with pytest.warns(NoiseFloorWarning, match="floor"):
        model.fit(X)


def test_a_decoder_far_from_zero_has_the_density_of_its_rows_about_the_last_bias():
    model, X = DecoderModel(1, hidden_layer_sizes=(4,)), torch.tensor(real(5))
    X[1, 0] = torch.nan
    theta = model.initialize(X, np.random.RandomState(0))
    Z = torch.tensor(np.random.RandomState(1).standard_normal((3, 5, 1)))
    there = {**theta, "1.bias": theta["1.bias"] + 2.0**50}
    X = (X + 2.0**50) - 2.0**50  # so that the shift is exact
    near = model.log_likelihood(X, Z, {**theta, "1.bias": there["1.bias"] - 2.0**50})
    torch.testing.assert_close(model.log_likelihood(X + 2.0**50, Z, there), near)


def test_a_decoder_that_is_no_network_is_named():
    with pytest.raises(ValueError, match=r"decoder=3, expected a torch.nn.Module or None"):
        VariationalEM(model=DecoderModel(1, decoder=3)).fit(real(30))
