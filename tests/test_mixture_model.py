"""EMMixture: the Gaussian mixture as a special case, mixed columns, streams, files, refusals."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.base import clone

from skelbo import ELBOMonitor, EMGaussianMixture, EMMixture, SingularCovarianceWarning
from skelbo.likelihoods import LIKELIHOODS
from skelbo.mixture_model import COVARIANCE_TYPES

KINDS = ["gaussian", "bernoulli", "gaussian", "poisson", "categorical"]
RATES, PROBABILITIES = np.array([1.0, 4.0, 9.0]), np.array([0.1, 0.5, 0.9])


def mixed(n=400, missing=0.0, seed=0):
    """Return a table of three groups with columns of every kind, and the groups."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    codes = (labels + (rng.random(n) < 0.2)) % 3
    columns = [rng.standard_normal(n) + 3 * labels, rng.random(n) < PROBABILITIES[labels]]
    columns += [5 * rng.standard_normal(n) + 100, rng.poisson(RATES[labels]), codes]
    X = np.column_stack(columns).astype(float)
    X[rng.random(X.shape) < missing] = np.nan
    return X, labels


def fitted(X, n_components=3, **options):
    options = {"likelihood": KINDS, "random_state": 0, "n_init": 3, **options}
    weight = options.pop("sample_weight", None)
    return EMMixture(n_components, **options).fit(X, sample_weight=weight)


# ------------------------------------------------------ the Gaussian special case


@pytest.mark.parametrize("n_init", [1, 3])
@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_one_gaussian_block_is_the_gaussian_mixture_to_the_last_bit(kind, missing, n_init):
    X = mixed(200, missing)[0][:, [0, 2]]
    weights = np.random.default_rng(1).integers(0, 3, len(X))
    options = {"covariance_type": kind, "n_init": n_init, "random_state": 0}
    ours = EMMixture(3, **options).fit(X, sample_weight=weights)
    theirs = EMGaussianMixture(3, **options).fit(X, sample_weight=weights)
    order = np.argsort(-theirs.weights_, kind="stable")
    assert ours.lower_bounds_ == theirs.lower_bounds_ and ours.n_iter_ == theirs.n_iter_
    assert_array_equal(ours.weights_, theirs.weights_[order])
    assert_array_equal(ours.means_, theirs.means_[order])
    shared = kind.startswith("tied")
    for name in ("covariances_", "precisions_", "precisions_cholesky_"):
        found = getattr(theirs, name)
        assert_array_equal(getattr(ours, name), found if shared else found[order])
    assert ours.n_parameters_ == theirs.n_parameters_
    assert_allclose(ours.score_samples(X), theirs.score_samples(X), rtol=1e-12, atol=1e-13)
    assert_allclose(ours.impute(X), theirs.impute(X), rtol=1e-10)
    assert ours.likelihood_.tolist() == ["gaussian", "gaussian"]
    assert not {"rates_", "probabilities_", "category_probabilities_"} & set(vars(ours))


def test_one_gaussian_block_of_many_rows_takes_the_same_passes():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60_000, 6)) + 2 * rng.integers(0, 3, (60_000, 1))
    options = {"max_iter": 5, "tol": 0.0, "random_state": 0, "n_init": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = (kind(4, **options).fit(X) for kind in (EMMixture, EMGaussianMixture))
    assert ours.lower_bounds_ == theirs.lower_bounds_


# ------------------------------------------------------------------- mixed columns


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("missing", [0.0, 0.15])
def test_the_bound_climbs_to_log_p(kind, missing):
    X, labels = mixed(missing=missing)
    model = fitted(X, covariance_type=kind)
    assert model.converged_ and np.diff(model.lower_bounds_).min(initial=0) > -1e-12
    assert model.lower_bound_ == pytest.approx(model.score(X), rel=1e-13)
    assert_allclose(model.elbo(X), model.score_samples(X), rtol=1e-12)
    assert np.abs(model.gap(X)).max() < 1e-11
    assert np.all(np.diff(model.weights_) <= 0)
    if "spherical" not in kind:  # the columns have different units
        assert (model.predict(X) == labels).mean() > (0.9 if missing == 0 else 0.8)


@pytest.mark.slow
def test_parameters_are_those_of_the_groups():
    X, _ = mixed(4000)
    model = fitted(X)
    assert_allclose(model.weights_, [0.5, 0.3, 0.2], atol=0.03)
    assert_allclose(model.means_[:, 0], [0, 3, 6], atol=0.2)
    assert_allclose(model.rates_[:, 0], RATES, rtol=0.1)
    assert_allclose(model.probabilities_[:, 0], PROBABILITIES, atol=0.05)
    (codes,) = model.category_probabilities_
    assert_allclose(codes, [[0.8, 0.2, 0], [0, 0.8, 0.2], [0.2, 0, 0.8]], atol=0.05)
    assert_array_equal(model.means_[:, 1], model.probabilities_[:, 0])
    assert_array_equal(model.means_[:, 3], model.rates_[:, 0])
    assert np.isnan(model.means_[:, 4]).all()
    assert model.covariances_.shape == (3, 2, 2)
    assert model.n_parameters_ == 2 + 3 * (2 + 3 + 1 + 1 + 2)
    assert 0.5 < model.entropy_r2_ < 1
    assert model.summary().statistics["entropy R2"] == model.entropy_r2_


def test_auto_chooses_by_column_and_publishes_what_it_chose():
    X, _ = mixed()
    names = ["gaussian", "bernoulli", "gaussian", "gaussian", "categorical"]
    assert fitted(X, likelihood="auto").likelihood_.tolist() == names


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_precision_of_the_data(dtype):
    X = mixed(missing=0.1)[0].astype(dtype)
    model = fitted(X)
    assert model.lower_bound_ == pytest.approx(fitted(X.astype(float)).lower_bound_, abs=1e-6)
    assert model.lower_bound_ == pytest.approx(model.score(X), abs=1e-6)
    outputs = [model.score_samples(X), model.transform(X), model.impute(X), model.elbo(X)]
    outputs += [model.sample(5)[0], model.inverse_transform(model.transform(X)), model.rates_]
    assert {output.dtype for output in outputs} == {np.dtype(dtype)}


@pytest.mark.slow
def test_units_of_gaussian_columns_change_nothing_but_the_scores():
    X, _ = mixed(missing=0.1)
    scale, shift = np.array([1e-3, 1, 1e4, 1, 1]), np.array([5.0, 0, -7, 0, 0])
    one, other = fitted(X), fitted(X * scale + shift)
    difference = np.log(scale[[0, 2]])
    seen = ~np.isnan(X[:, [0, 2]])
    assert_allclose(
        other.score_samples(X * scale + shift), one.score_samples(X) - seen @ difference, rtol=1e-8
    )
    assert_allclose(other.rates_, one.rates_, rtol=1e-6)


@pytest.mark.slow
def test_weights_are_repetition_and_order_is_none():
    X, _ = mixed(150, 0.1)
    weights = np.random.default_rng(0).integers(0, 3, len(X))
    one = fitted(X, sample_weight=weights)
    other = fitted(np.random.default_rng(1).permutation(np.repeat(X, weights, axis=0)))
    assert other.lower_bound_ == pytest.approx(one.lower_bound_, abs=1e-9)
    assert_allclose(other.category_probabilities_[0], one.category_probabilities_[0], atol=1e-4)
    assert other.aic(np.repeat(X, weights, axis=0)) == pytest.approx(one.aic(X, weights), abs=1e-5)


def test_missing_cells_are_omitted():
    X, _ = mixed(missing=0.1)
    model = fitted(X)
    weights, row = model.weights_, np.array([[np.nan, 1.0, np.nan, np.nan, 2.0]])
    expected = weights @ (model.probabilities_[:, 0] * model.category_probabilities_[0][:, 2])
    assert model.score_samples(row)[0] == pytest.approx(np.log(expected), rel=1e-12)
    empty = np.full((1, 5), np.nan)
    assert model.score_samples(empty)[0] == 0
    assert_allclose(model.transform(empty)[0], weights, rtol=1e-12)
    filled = model.impute(empty)[0]
    assert_allclose(filled[:4], (weights @ model.means_)[:4], rtol=1e-12)
    assert filled[4] == (weights @ model.category_probabilities_[0]).argmax()
    draws = model.impute(empty, n_draws=4000, random_state=0)[:, 0]
    assert_allclose(draws.mean(0)[:4], filled[:4], rtol=0.05)
    assert set(np.unique(draws[:, 4])) == {0.0, 1.0, 2.0}


def test_a_row_that_contradicts_a_boundary_is_impossible():
    X = np.array([[0.0, 0.0, 1.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0]] * 4)
    model = EMMixture(2, likelihood=["bernoulli", "poisson", "categorical"], random_state=0).fit(X)
    assert_array_equal(model.probabilities_, 0)
    bad = np.array([[1.0, 0.0, 0.0]])
    assert model.score_samples(bad)[0] == model.elbo(bad)[0] == -np.inf
    assert model.gap(bad)[0] == 0 and np.isfinite(model.transform(bad)).all()
    assert not np.isnan([*model.elbo_terms(bad).energy, *model.elbo_terms(bad).entropy]).any()
    assert model.impute([[1.0, np.nan, np.nan]]).shape == (1, 3)


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random_from_data", "random"])
@pytest.mark.parametrize("kind", ["full", "tied"])
def test_every_start_finds_the_groups(init_params, kind):
    X, labels = mixed()
    model = fitted(X, init_params=init_params, covariance_type=kind, n_init=4)
    assert (model.predict(X) == labels).mean() > 0.9


@pytest.mark.slow
def test_start_without_a_step_and_continued_fit():
    X, _ = mixed(missing=0.1)
    start = fitted(X, n_init=1, max_iter=0)
    assert start.n_iter_ == 0 and start.lower_bound_ == pytest.approx(start.score(X), rel=1e-12)
    model = EMMixture(3, likelihood=KINDS, n_init=1, warm_start=True, random_state=0, max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bounds = [model.fit(X).lower_bound_ for _ in range(4)]
    assert np.all(np.diff(bounds) > 0) and bounds[0] > start.lower_bound_
    whole, best = model.set_params(max_iter=500).fit(X), fitted(X).lower_bound_
    assert whole.converged_ and whole.lower_bound_ == pytest.approx(best, abs=1e-5)
    with pytest.raises(ValueError, match="column 4 of X has the value 3, .* codes 0 to 2 of the"):
        model.fit(X + np.eye(5)[4])


def test_counts_of_a_fit_are_those_whose_density_float64_resolves():
    X = np.random.default_rng(0).poisson(4e9, (20, 1)).astype(float)
    model = EMMixture(1, likelihood="poisson").fit(X)
    assert model.lower_bound_ == pytest.approx(model.score(X), abs=1e-4)
    assert model.score(X) == pytest.approx(
        stats.norm(X.mean(), 4e9**0.5).logpdf(X).mean(), abs=1e-3
    )
    with pytest.raises(ValueError, match=r"column 0 of X has the value 4e\+12, .* 'gaussian'"):
        model.fit(1000 * X.round(-8))


@pytest.mark.parametrize("likelihood", ["auto", KINDS])
def test_a_continued_fit_has_the_columns_of_the_one_before(likelihood):
    X, _ = mixed(n=40)
    model = EMMixture(2, likelihood=likelihood, n_init=1, warm_start=True, random_state=0).fit(X)
    with pytest.raises(ValueError, match="X with 3 features does not fit .* before, which has 5"):
        model.fit(X[:, :3])
    assert model.n_features_in_ == 5


@pytest.mark.slow
def test_acceleration_reaches_the_mode_of_plain_steps():
    X, _ = mixed(missing=0.3, seed=3)
    plain = fitted(X, acceleration=None, n_init=1, max_iter=5000)
    fast = fitted(X, acceleration="anderson", n_init=1)
    assert fast.converged_ and fast.lower_bound_ == pytest.approx(plain.lower_bound_, abs=1e-6)
    assert fast.n_iter_ < plain.n_iter_


# ------------------------------------------------------------- tables of any size


@pytest.mark.slow
def test_memory_map_and_dask_are_the_table(tmp_path):
    X, _ = mixed(missing=0.1)
    model = fitted(X)
    mapped = np.memmap(tmp_path / "X", np.float64, "w+", shape=X.shape)
    mapped[:] = X
    assert fitted(mapped).lower_bound_ == model.lower_bound_
    array = pytest.importorskip("dask.array").from_array(X, chunks=(90, 5))
    lazy = fitted(array)
    assert lazy.lower_bound_ == pytest.approx(model.lower_bound_, abs=1e-9)
    assert_allclose(lazy.rates_, model.rates_, rtol=1e-5)
    assert_allclose(lazy.score_samples(array).compute(), lazy.score_samples(X), rtol=1e-12)
    assert_array_equal(lazy.predict(array).compute(), lazy.predict(X))
    codes = fitted(array[:, 4:], likelihood="categorical", n_components=2)
    assert codes.lower_bounds_ == fitted(X[:, 4:], 2, likelihood="categorical").lower_bounds_


@pytest.mark.slow
def test_a_stream_ends_near_the_fit_to_all_rows():
    X, _ = mixed(30_000)
    model = EMMixture(3, likelihood=KINDS, n_init=1, random_state=0)
    for batch in np.split(X, 15):
        model.partial_fit(batch)
    whole = fitted(X, n_init=1)
    assert model.score(X) == pytest.approx(whole.score(X), abs=2e-3)
    assert np.all(np.diff(model.weights_) <= 0)
    with pytest.raises(ValueError, match="column 4 of X has the value 3, .* codes 0 to 2"):
        model.partial_fit(X[:5] + np.eye(5)[4])


def test_a_stream_may_show_new_codes_while_its_first_rows_are_kept():
    X, _ = mixed(600)
    order = np.argsort(X[:, 4] == 2, kind="stable")
    model = EMMixture(2, likelihood=KINDS, n_init=1, random_state=0)
    model.partial_fit(X[order[:60]])
    assert model.category_probabilities_[0].shape == (2, 2)
    model.partial_fit(X[order[60:]])
    assert model.category_probabilities_[0].shape == (2, 3)
    assert np.isfinite(model.score(X))


# --------------------------------------------------------- scikit-learn's habits


@pytest.mark.slow
def test_frames_pickles_and_callbacks():
    X, _ = mixed(missing=0.1)
    table = pd.DataFrame(X, columns=list("abcde"))
    monitor = ELBOMonitor()
    model = fitted(X)
    named = EMMixture(3, likelihood=KINDS, n_init=1, random_state=0).set_callbacks(monitor)
    named.fit(table).set_output(transform="pandas")
    assert list(named.transform(table).columns) == ["emmixture0", "emmixture1", "emmixture2"]
    assert list(named.impute(table).columns) == list("abcde")
    ((_, bounds),) = monitor.curves().items()
    assert_allclose(bounds, named.lower_bounds_, rtol=1e-13)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.score_samples(X), model.score_samples(X))
    assert_array_equal(clone(model).fit(X).transform(X), model.transform(X))


def test_edited_parameters_are_obeyed():
    X, _ = mixed()
    model = fitted(X)
    row = np.array([[np.nan, np.nan, np.nan, 2.0, np.nan]])
    model.rates_ = np.full((3, 1), 2.0)
    assert model.score_samples(row)[0] == pytest.approx(np.log(2 * np.exp(-2)), rel=1e-12)
    model.weights_ = np.array([1.0, 0.0, 0.0])
    assert_array_equal(model.predict(X), 0)
    model.category_probabilities_[0][:] = 0.5
    with pytest.raises(ValueError, match="category_probabilities_ has a row that is no distribut"):
        model.score(X)
    model.probabilities_ = np.full((3, 1), 1.5)
    model.category_probabilities_[0][:] = 1 / 3
    with pytest.raises(ValueError, match=r"probabilities_ has a value outside of \[0, 1\]"):
        model.score(X)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"likelihood": "binomial"}, r"likelihood='binomial' does not name one of .* 'auto'"),
        ({"likelihood": ["gaussian"] * 3}, "for each of the 5 columns of X; give one name"),
        ({"likelihood": ["gaussian"] * 3 + ["bernoulli"] * 2}, "column 3 of X has the value"),
        ({"likelihood": "poisson"}, "column 0 of X has the value .* round the column"),
        ({"covariance_type": "factor"}, "The 'covariance_type' parameter of EMMixture must be"),
        ({"n_components": 401}, "n_samples >= n_components .* n_components = 401"),
    ],
)
def test_refusals_of_parameters(parameters, message):
    X, _ = mixed()
    with pytest.raises(ValueError, match=message):
        EMMixture(**{"likelihood": KINDS, **parameters}).fit(X)


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        (1, 2.0, "column 1 of X has the value 2, but likelihood 'bernoulli' expected 0 or 1"),
        (3, -1.0, "Negative values in data: column 3 of X has the value -1"),
        (3, 0.5, "column 3 of X has the value 0.5, but likelihood 'poisson' expected counts"),
        (4, 1.5, "column 4 of X has the value 1.5, but likelihood 'categorical'"),
        (4, 3.0, "column 4 of X has the value 3, .* one of the codes 0 to 2 of the fit; merge"),
        (0, np.inf, "infinity"),
    ],
)
def test_refusals_of_cells_after_the_fit(column, cell, message):
    X, _ = mixed()
    model = fitted(X, n_init=1)
    bad = X[:3].copy()
    bad[1, column] = cell
    incomplete = bad.copy()
    incomplete[1, (column + 1) % 5] = np.nan
    methods = [model.score_samples, model.score, model.predict, model.predict_proba]
    for method in (*methods, model.transform, model.elbo, model.gap, model.icl):
        with pytest.raises(ValueError, match=message):
            method(bad)
    with pytest.raises(ValueError, match=message):
        model.impute(incomplete)
    if np.isfinite(cell) and cell != 3:
        with pytest.raises(ValueError, match=message):
            model.fit(bad)


def test_changed_parameters_are_named():
    X, _ = mixed()
    model = fitted(X, n_init=1).set_params(likelihood="auto")
    with pytest.raises(ValueError, match="likelihood='auto' is not that of the fit"):
        model.score(X)


def test_a_collapsed_covariance_is_a_warning():
    X, _ = mixed(100)
    X[:, 2] = 3.0
    with pytest.warns(SingularCovarianceWarning):
        model = fitted(X, n_init=1)
    assert np.isfinite(model.score(X))


def test_likelihoods_may_be_instances():
    X, _ = mixed()
    kinds = [LIKELIHOODS[name] for name in KINDS]
    assert fitted(X, likelihood=kinds).lower_bounds_ == fitted(X).lower_bounds_
