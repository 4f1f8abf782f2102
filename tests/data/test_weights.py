"""Weights: one validated vector in fits, scores and criteria of every estimator."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import skelbo
from skelbo import MCEM, EMGaussianMixture, GaussianMLE, VariationalEM
from skelbo.data.weights import check_weights
from skelbo.models import FactorModel

X = np.random.default_rng(0).standard_normal((30, 3))
ESTIMATORS = {
    "GaussianMLE": GaussianMLE(),
    "EMGaussianMixture": EMGaussianMixture(2, random_state=0),
    "VariationalEM": VariationalEM(model=FactorModel(1, noise="isotropic"), n_components=1),
    "MCEM": MCEM(1, model=FactorModel(1, noise="isotropic"), max_iter=2, random_state=0),
}
REFUSED = {
    "negative": (np.r_[np.ones(29), -1e-9], "negative weights, the smallest is -1e-09"),
    "not a number": (np.r_[np.ones(29), np.nan], "sample_weight contains NaN"),
    "infinite": (np.r_[np.ones(29), np.inf], "sample_weight contains infinity"),
    "too few": (np.ones(29), r"has shape \(29,\), expected \(30,\)"),
    "two columns": (np.ones((30, 2)), r"has shape \(30, 2\), expected \(30,\)"),
    "all zero": (np.zeros(30), "zero for all rows"),
    "zero": (0, "zero for all rows"),
    "negative number": (-2.0, "negative weights"),
    "masked": (np.ma.array(np.ones(30), mask=np.arange(30) == 3), "masked weights"),
    "strings": (["a"] * 30, "could not convert string to float"),
}


@pytest.fixture(scope="module", params=ESTIMATORS)
def fitted(request):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return clone(ESTIMATORS[request.param]).fit(X)


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_weight_is_refused_everywhere(fitted, case):
    weights, message = REFUSED[case]
    for method in (fitted.score, fitted.aic, fitted.bic, clone(fitted).fit):
        with pytest.raises(ValueError, match=message):
            method(X, sample_weight=weights)


def test_scores_of_weights_are_those_of_repeated_rows(fitted):
    """Whole numbers of any type, one number for all, and zero where the density underflows."""
    counts = np.arange(30) % 3
    repeated = np.repeat(X, counts, axis=0)
    far = np.where((counts > 0)[:, None], X, 1e200)
    for name in ("score", "aic", "bic"):
        method = getattr(fitted, name)
        for dtype in (np.int8, np.float16, np.float32, np.float64, object):
            weighted = method(far, sample_weight=counts.astype(dtype))
            assert weighted == pytest.approx(method(repeated), rel=1e-10)
        twice = method(np.r_[X, X])
        for two in (2, 2.0, np.float16(2), np.array(2), np.full(30, 2), [2] * 30):
            assert method(X, sample_weight=two) == pytest.approx(twice, rel=1e-10)


@pytest.mark.parametrize("name", ["GaussianMLE", "EMGaussianMixture", "VariationalEM"])
def test_a_fit_takes_every_type_of_weight(name):
    weights = np.arange(30) % 3 + 1
    expected = clone(ESTIMATORS[name]).fit(X, sample_weight=weights.astype(float)).lower_bound_
    for dtype in (np.int8, np.float16, object):
        fit = clone(ESTIMATORS[name]).fit(X, sample_weight=weights.astype(dtype))
        assert fit.lower_bound_ == expected
    scalar = clone(ESTIMATORS[name]).fit(X, sample_weight=3.0).lower_bound_
    repeated = clone(ESTIMATORS[name]).fit(np.repeat(X, 3, axis=0)).lower_bound_
    assert scalar == pytest.approx(repeated, abs=1e-10)


@pytest.mark.filterwarnings("ignore::skelbo.HeywoodWarning")
@pytest.mark.parametrize("likelihood", ["bernoulli", "poisson", "gaussian"])
def test_only_ratios_of_weights_matter_to_the_maximum(likelihood):
    """Weights that sum to 0.1 have the start and the maximum of weights that sum to 60."""
    table = {"bernoulli": X > 0, "poisson": np.floor(np.exp(X)), "gaussian": X}[likelihood]
    table, weights = table.astype(float), np.arange(30.0) % 3 + 1
    model = VariationalEM(1, model=FactorModel(1, likelihood=likelihood), random_state=0)
    small = weights / weights.sum() / 10
    fits = [clone(model).fit(table, sample_weight=share) for share in (weights, small)]
    assert fits[0].lower_bound_ == pytest.approx(fits[1].lower_bound_, abs=1e-6)


def test_ones_are_no_weights():
    assert check_weights(None, 3) is None
    assert check_weights(1, 3) is None
    assert check_weights([1, 1, 1], 3) is None
    assert check_weights(2, 3).tolist() == [2.0, 2.0, 2.0]


def test_the_vae_takes_the_same_weights():
    model = skelbo.VAEEstimator(1, max_iter=1, n_importance_samples=10, random_state=0)
    for weights, message in REFUSED.values():
        with pytest.raises(ValueError, match=message):
            model.fit(X, sample_weight=weights)
