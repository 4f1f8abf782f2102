"""Restarts, warm starts, streams, messages and parameters of `EMGaussianMixture`."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from skelbo import EMGaussianMixture
from skelbo.gaussian.structures import STRUCTURES

KINDS = list(STRUCTURES)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_same_iterations_as_scikit_learn(kind, iris):
    """From the same start, with its ridge, five plain steps end where scikit-learn's end."""
    start = GaussianMixture(3, covariance_type=kind, max_iter=1, random_state=0)
    with pytest.warns(ConvergenceWarning):
        start.fit(iris)
    options = {
        "covariance_type": kind,
        "weights_init": start.weights_,
        "means_init": start.means_,
        "precisions_init": start.precisions_,
        "reg_covar": 1e-6,
        "max_iter": 5,
        "tol": 0.0,
    }
    with pytest.warns(ConvergenceWarning):
        ours = EMGaussianMixture(3, **options).fit(iris)
    with pytest.warns(ConvergenceWarning):
        theirs = GaussianMixture(3, **options).fit(iris)
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-8, atol=1e-12)
    assert_allclose(ours.score_samples(iris), theirs.score_samples(iris), rtol=1e-9)
    assert_array_equal(ours.predict(iris), theirs.predict(iris))
    assert_allclose(ours.predict_proba(iris), theirs.predict_proba(iris), atol=1e-10)
    assert ours.bic(iris) == pytest.approx(theirs.bic(iris))
    assert ours.n_parameters_ == theirs._n_parameters()


def test_constructor_parameters_contain_scikit_learns():
    assert set(GaussianMixture().get_params()) <= set(EMGaussianMixture().get_params())
    public = {name for name in dir(GaussianMixture) if not name.startswith("_")}
    assert public <= set(dir(EMGaussianMixture))


# ---------------------------------------------------------------------------------------- restarts


@pytest.mark.slow
def test_collapsed_starts_are_recorded_and_passed_over():
    """scikit-learn raises here with ten starts; ours keeps one that stands."""
    X = np.random.default_rng(0).standard_normal((40, 2))
    options = {"n_init": 10, "init_params": "random_from_data", "random_state": 0, "max_iter": 300}
    with pytest.raises(ValueError, match="ill-defined"):
        GaussianMixture(6, reg_covar=0, **options).fit(X)
    model = EMGaussianMixture(6, reg_covar=0, **options).fit(X)
    assert 0 < len(model.failed_starts_) < 10
    assert all("ill-defined" in cause for _, cause in model.failed_starts_)
    floored = EMGaussianMixture(6, **options).fit(X)
    assert 0 < len(floored.failed_starts_) < 10
    assert all("floor" in cause for _, cause in floored.failed_starts_)


def test_more_starts_are_no_worse_and_share_the_first(faithful):
    one = EMGaussianMixture(3, random_state=5, max_iter=500).fit(faithful)
    many = EMGaussianMixture(3, random_state=5, max_iter=500, n_init=6).fit(faithful)
    assert many.lower_bound_ >= one.lower_bound_


def test_parameters_of_the_constructor_are_not_touched(faithful):
    weights, means = [0.5, 0.5], [[2, 54], [4, 80]]
    model = EMGaussianMixture(2, weights_init=weights, means_init=means, random_state=0)
    model.fit(faithful)
    assert model.weights_init is weights and model.means_init is means


def test_zero_iterations_publish_the_start_whole(faithful):
    precisions = np.array([np.eye(2), 2 * np.eye(2)])
    model = EMGaussianMixture(2, precisions_init=precisions, max_iter=0, random_state=0)
    model.fit(faithful)
    assert_allclose(model.precisions_, precisions)
    assert_allclose(model.covariances_, np.linalg.inv(precisions))
    assert model.n_iter_ == 0 and model.lower_bounds_ == []
    assert model.lower_bound_ == pytest.approx(model.score(faithful))


# -------------------------------------------------------------------------- warm starts and streams


def test_warm_start_goes_on_and_checks_its_shape(faithful, iris):
    model = EMGaussianMixture(3, warm_start=True, max_iter=3, random_state=0)
    bounds = []
    for _ in range(4):
        with pytest.warns(ConvergenceWarning):
            bounds += model.fit(faithful).lower_bounds_
    whole = EMGaussianMixture(3, max_iter=12, acceleration=None, random_state=0)
    with pytest.warns(ConvergenceWarning):
        whole.fit(faithful)
    assert_allclose(bounds, whole.lower_bounds_, rtol=1e-11)
    with pytest.raises(ValueError, match="n_components=2 is not that of the fit, n_comp.*=3"):
        model.set_params(n_components=2).fit(faithful)
    with pytest.raises(ValueError, match=r"X with 4 features does not fit .* warm_start=False"):
        model.set_params(n_components=3).fit(iris)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.long
def test_a_stream_comes_near_the_batch_fit(kind):
    X, _ = make_blobs(20_000, 4, centers=3, cluster_std=[1.0, 2.0, 1.5], random_state=0)
    train, test = X[:16_000], X[16_000:]
    batch = EMGaussianMixture(3, covariance_type=kind, random_state=0).fit(train)
    stream = EMGaussianMixture(3, covariance_type=kind, random_state=0)
    for start in range(0, len(train), 500):
        stream.partial_fit(train[start : start + 500])
    assert stream.score(test) == pytest.approx(batch.score(test), abs=0.02)


def test_a_stream_goes_on_after_fit(faithful):
    """A small batch after a large fit moves it a little; an empty column in it does no harm."""
    model = EMGaussianMixture(2, random_state=0).fit(faithful)
    before = model.score(faithful)
    batch = faithful[:10].copy()
    batch[:, 1] = np.nan
    after = model.partial_fit(batch).score(faithful)
    assert before - 0.05 < after < before
    assert model.fit(faithful).score(faithful) == pytest.approx(before)


def test_a_stream_with_missing_cells_and_weights(iris):
    X = np.random.default_rng(0).permutation(iris)
    X[np.random.default_rng(1).random(X.shape) < 0.1] = np.nan
    stream = EMGaussianMixture(2, covariance_type="diag", random_state=0)
    for start in range(0, 150, 50):
        stream.partial_fit(X[start : start + 50], sample_weight=np.full(50, 2.0))
    batch = EMGaussianMixture(2, covariance_type="diag", random_state=0).fit(X)
    assert stream.score(X) == pytest.approx(batch.score(X), abs=0.2)


# ------------------------------------------------------------------------------------ after the fit


def test_sampling(faithful):
    model = EMGaussianMixture(2, random_state=0).fit(faithful)
    first, second = model.sample(10)[0], model.sample(10)[0]
    assert not np.array_equal(first, second)
    again = EMGaussianMixture(2, random_state=0).fit(faithful)
    assert_array_equal(again.sample(10)[0], first)
    given = {"weights_init": model.weights_, "means_init": model.means_}
    given |= {"precisions_init": model.precisions_, "random_state": 0}
    start = EMGaussianMixture(2, **given).fit(faithful)  # which draws nothing
    third, fourth = start.sample(10)[0], start.sample(10)[0]
    assert not np.array_equal(third, fourth)
    assert_array_equal(EMGaussianMixture(2, **given).fit(faithful).sample(10)[0], third)
    X, labels = model.sample(1000, random_state=0)
    assert X.shape == (1000, 2) and np.all(np.diff(labels) >= 0)
    for bad in (0, -1, 2.5):
        with pytest.raises(ValueError, match=f"Invalid value for 'n_samples': {bad}"):
            model.sample(bad)


def test_latents_mean_what_they_say(faithful):
    model = EMGaussianMixture(2, random_state=0).fit(faithful)
    resp = model.transform(faithful)
    assert_allclose(resp.sum(axis=1), 1)
    assert_array_equal(resp, model.predict_proba(faithful))
    assert_allclose(model.inverse_transform(np.eye(2)), model.means_)
    assert list(model.get_feature_names_out()) == ["emgaussianmixture0", "emgaussianmixture1"]


def test_verbose(faithful, capsys):
    EMGaussianMixture(2, verbose=2, verbose_interval=2, random_state=0).fit(faithful)
    out = capsys.readouterr().out
    assert "Initialization 0" in out and "Iteration 2" in out and "time lapse" in out


BAD_PARAMETERS = {
    "more components than rows": (
        {"n_components": 300},
        "n_components = 300, n_samples = 272; use fewer components or more data",
    ),
    "weights shape": ({"weights_init": [1.0]}, r"'weights' should have the shape of \(2,\)"),
    "weights range": ({"weights_init": [2.0, -1.0]}, r"in the range \[0, 1\]"),
    "weights sum": ({"weights_init": [0.5, 0.4]}, "should be normalized"),
    "means shape": ({"means_init": np.zeros((3, 2))}, "'means' should have the shape"),
    "means not finite": ({"means_init": [[np.nan, 0], [0, 0]]}, "NaN"),
    "precisions shape": ({"precisions_init": np.eye(2)}, "'full precision' should have the shape"),
    "precisions not symmetric": (
        {"precisions_init": [[[1.0, 0.5], [0.0, 1.0]], np.eye(2)]},
        "'full precision' should be symmetric, positive-definite",
    ),
    "precisions not positive": (
        {"precisions_init": [-np.eye(2), np.eye(2)]},
        "'full precision' should be symmetric, positive-definite",
    ),
    "diagonal precisions not positive": (
        {"covariance_type": "tied_diag", "precisions_init": [1.0, 0.0]},
        "'tied_diag precision' should be positive",
    ),
    "solver for factors": (
        {"covariance_type": "factor", "solver": "gem"},
        "solver='gem' does not fit covariance_type='factor'; use solver='em'",
    ),
    "precisions of factors": (
        {"covariance_type": "factor", "precisions_init": [np.eye(2), np.eye(2)]},
        "'factor precision' cannot start covariance_type='factor'",
    ),
    "negative number of factors": ({"n_factors": -1}, "The 'n_factors' parameter of EMGau"),
    "device": ({"device": "abacus"}, "device='abacus' cannot be used here, expected a torch dev"),
    "covariance type": ({"covariance_type": "banded"}, "The 'covariance_type' parameter of EMGau"),
    "tol": ({"tol": -1.0}, "The 'tol' parameter of EMGau"),
}


@pytest.mark.parametrize("case", BAD_PARAMETERS)
def test_bad_parameters_by_message(case, faithful):
    parameters, message = BAD_PARAMETERS[case]
    with pytest.raises(ValueError, match=message):
        EMGaussianMixture(**{"n_components": 2, **parameters}).fit(faithful)


def test_a_fit_whose_every_start_fails_says_why():
    X = np.repeat([[0.0, 0.0], [1.0, 1.0]], 5, axis=0)
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        EMGaussianMixture(2, reg_covar=0, n_init=3, random_state=0).fit(X)
