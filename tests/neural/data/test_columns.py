"""Columns of every likelihood, mixed tables, and tables that no likelihood takes."""

import numpy as np
import pytest
from sklearn.datasets import load_iris

from tests.neural.networks import small

# A few epochs leave a poor q. That this is reported has a test of its own.
pytestmark = pytest.mark.filterwarnings("ignore::skelbo.ImportanceWarning")

RNG = np.random.default_rng(0)
IRIS = load_iris().data
BITS = (RNG.random((60, 1)) < [[0.3, 0.5, 0.8]]).astype(float)
COUNTS = RNG.poisson(RNG.gamma(2.0, 2.0, (60, 1)) * [[1.0, 2.0]]).astype(float)
CODES = np.column_stack([RNG.integers(0, 3, 60), RNG.integers(0, 2, 60)]).astype(float)
MIXED = np.column_stack([RNG.normal(5.0, 20.0, 60), BITS[:, 0], COUNTS[:, 0], CODES[:, 0]])
MIXED_KINDS = ["gaussian", "bernoulli", "poisson", "categorical"]


def test_likelihoods_are_chosen_per_column():
    X = np.column_stack([MIXED, np.arange(60.0)])
    model = small(likelihood="auto").fit(X)
    chosen = ["gaussian", "bernoulli", "gaussian", "categorical", "gaussian"]
    assert model.likelihood_.tolist() == chosen
    assert np.isnan(model.noise_variance_).tolist() == [kind != "gaussian" for kind in chosen]


@pytest.mark.parametrize(
    ("X", "likelihood"),
    [
        (BITS, "bernoulli"),
        (COUNTS, "poisson"),
        (CODES, "categorical"),
        (MIXED, MIXED_KINDS),
    ],
    ids=["bernoulli", "poisson", "categorical", "mixed"],
)
@pytest.mark.parametrize("missing", [False, True])
def test_every_likelihood_answers_everything(X, likelihood, missing):
    X = X.copy()
    if missing:
        X[::3, 0] = np.nan
        X[1::4, -1] = np.nan
    model = small(likelihood=likelihood, max_iter=20).fit(X)
    assert np.all(model.gap(X) >= 0)
    assert np.isfinite(model.score_samples(X)).all()
    draws, _ = model.sample(200, random_state=0)
    model.score_samples(draws)  # draws lie in the support
    complete = model.impute(X)
    assert np.array_equal(complete[~np.isnan(X)], X[~np.isnan(X)])
    assert not np.isnan(complete).any()
    assert model.inverse_transform(model.transform(X)).shape == X.shape


def test_a_decoder_starts_at_the_data_mean():
    model = small(likelihood="poisson", lr=1e-9, max_iter=1).fit(COUNTS)
    rates = model.inverse_transform(np.zeros((1, 2)))[0]
    assert np.all(np.abs(np.log(rates / COUNTS.mean(0))) < 1)
