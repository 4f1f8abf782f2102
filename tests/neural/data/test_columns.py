"""Columns of every likelihood, mixed tables, and tables that no likelihood takes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_iris

from skelbo.neural.data.columns import Columns
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


@pytest.mark.parametrize("factor", [2.0**-20, 1.0, 2.0**20])
def test_a_constant_column_has_the_unit_of_the_others(factor):
    """It has no scale of its own; a column of answers, without a unit, gives none."""
    X = np.array([[1.5, 7.0, 0.0], [2.5, 7.0, 1.0], [9.0, 7.0, 1.0]])
    kinds = ["gaussian", "gaussian", "bernoulli"]
    scale = Columns.read(X * [factor, factor, 1.0], None, kinds).scale
    assert_allclose(scale, [factor * X[:, 0].std()] * 2 + [1.0], rtol=1e-12)
    alone = Columns.read(X[:, 1:] * [factor, 1.0], None, kinds[1:]).scale
    assert_allclose(alone, [7.0 * factor, 1.0])
    assert_allclose(Columns.read(np.zeros((3, 1)), None, "gaussian").scale, [1.0])


@pytest.mark.filterwarnings("ignore")  # the constant column; one epoch is no convergence
def test_a_unit_of_all_columns_shifts_scores_alone_beside_a_constant_column():
    X = np.column_stack([load_iris().data[:20], np.full(20, 3.0)])
    X[-1, -1] = 3.5  # of weight zero: the fit does not have it
    weights = np.r_[np.ones(19), 0.0]
    one, other = (small(max_iter=1).fit(c * X, sample_weight=weights) for c in (1.0, 2.0**10))
    shift = 5 * np.log(2.0**10)
    found = other.score_samples(2.0**10 * X) + shift
    assert_allclose(found, one.score_samples(X), rtol=1e-5)
