"""Standard errors of Gaussians and mixtures: closed forms, laws, edges, the bootstrap, coverage."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import NotFittedError

from skelbo import EMGaussianMixture, EMMixture, GaussianMLE
from skelbo.gaussian.structures import STRUCTURES


def two_clusters(n=400, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.4
    return rng.standard_normal((n, 2)) + np.where(labels[:, None], [3.0, 1.0], [0.0, 0.0])


def flat(errors):
    parts = [
        v for value in errors.values() for v in (value if isinstance(value, list) else [value])
    ]
    return np.concatenate([np.ravel(part) for part in parts])


def test_one_gaussian_in_closed_form(iris):
    model = GaussianMLE().fit(iris)
    S, errors = model.covariance_, model.standard_errors_
    assert_allclose(errors["mean"], np.sqrt(np.diag(S) / 150), rtol=1e-9)
    expected = np.sqrt((S**2 + np.outer(np.diag(S), np.diag(S))) / 150)
    assert_allclose(errors["covariance"], expected, rtol=1e-8)
    variances = GaussianMLE("diag").fit(iris)
    expected = variances.covariance_ * np.sqrt(2 / 150)
    assert_allclose(variances.standard_errors_["covariance"], expected, rtol=1e-9)
    common = GaussianMLE("spherical").fit(iris)
    expected = common.covariance_ * np.sqrt(2 / 600)
    assert_allclose(common.standard_errors_["covariance"], expected, rtol=1e-9)


def test_known_labels_leave_the_errors_of_groups():
    """Clusters far apart: weights are binomial, means and variances those of each group."""
    rng = np.random.default_rng(0)
    X = np.r_[rng.standard_normal((60, 1)), 1000 + rng.standard_normal((140, 1))]
    model = EMGaussianMixture(2, random_state=0).fit(X)
    errors = model.standard_errors_
    counts = np.round(200 * model.weights_)
    assert_allclose(errors["weights"], np.sqrt(0.3 * 0.7 / 200), rtol=1e-8)
    assert_allclose(errors["means"][:, 0], np.sqrt(model.covariances_[:, 0, 0] / counts), rtol=1e-8)
    expected = model.covariances_[:, 0, 0] * np.sqrt(2 / counts)
    assert_allclose(errors["covariances"][:, 0, 0], expected, rtol=1e-8)


@pytest.mark.parametrize("kind", STRUCTURES)
def test_shapes_are_those_of_the_attributes(kind, iris):
    model = EMGaussianMixture(2, covariance_type=kind, n_factors=1, random_state=0).fit(iris)
    errors = model.standard_errors_
    names = {"weights", "means", "covariances"}
    if kind == "factor":
        names = {"weights", "means", "loadings", "noise_variances"}
    assert set(errors) == names
    for name in names:
        assert np.shape(errors[name]) == np.shape(getattr(model, name + "_"))
        assert np.all(np.asarray(errors[name]) > 0)


@pytest.mark.parametrize("kind", ["full", "tied_diag"])
def test_weights_are_repetitions_and_units_are_followed(kind, faithful):
    X = faithful.copy()
    X[::7, 1] = np.nan
    weights = np.arange(272) % 3
    options = {"covariance_type": kind, "random_state": 0, "tol": 1e-12}
    one = EMGaussianMixture(2, **options).fit(X, sample_weight=weights)
    two = EMGaussianMixture(2, **options).fit(np.repeat(X, weights, axis=0))
    assert_allclose(flat(one.standard_errors_), flat(two.standard_errors_), rtol=1e-4)
    unit = np.array([1e6, 1e-6])
    other = EMGaussianMixture(2, **options).fit(X * unit + 5, sample_weight=weights)
    assert_allclose(
        other.standard_errors_["means"], one.standard_errors_["means"] * unit, rtol=1e-4
    )
    assert_allclose(other.standard_errors_["weights"], one.standard_errors_["weights"], rtol=1e-4)


def test_missing_cells_widen_errors(iris):
    X = iris.copy()
    X[:75, 0] = np.nan
    whole, part = GaussianMLE().fit(iris).standard_errors_, GaussianMLE().fit(X).standard_errors_
    assert part["mean"][0] > 1.05 * whole["mean"][0]
    column = GaussianMLE("diag").fit(X)
    assert_allclose(column.standard_errors_["mean"][0], np.sqrt(column.covariance_[0] / 75))


def test_latent_classes_of_every_kind_of_column():
    rng = np.random.default_rng(0)
    label = rng.random(500) < 0.4
    X = np.column_stack(
        [
            rng.standard_normal(500) + 6 * label,
            rng.random(500) < np.where(label, 0.8, 0.2),
            rng.poisson(np.where(label, 6.0, 2.0)),
            np.where(label, rng.choice(3, 500, p=[0.2, 0.3, 0.5]), rng.integers(0, 3, 500)),
        ]
    ).astype(float)
    kinds = ["gaussian", "bernoulli", "poisson", "categorical"]
    model = EMMixture(2, likelihood=kinds, random_state=0, n_init=1).fit(X)
    errors, counts = model.standard_errors_, 500 * model.weights_
    # Labels are nearly certain: errors are those of groups.
    p, rate = model.probabilities_[:, 0], model.rates_[:, 0]
    assert_allclose(errors["probabilities"][:, 0], np.sqrt(p * (1 - p) / counts), rtol=0.02)
    assert_allclose(errors["rates"][:, 0], np.sqrt(rate / counts), rtol=0.02)
    codes = model.category_probabilities_[0]
    expected = np.sqrt(codes * (1 - codes) / counts[:, None])
    assert_allclose(errors["category_probabilities"][0], expected, rtol=0.02)
    assert_allclose(
        errors["means"][:, 1:3].T, [errors["probabilities"][:, 0], errors["rates"][:, 0]]
    )
    assert np.isnan(errors["means"][:, 3]).all() and errors["covariances"].shape == (2, 1, 1)


def test_edges_are_zero_and_what_rows_do_not_determine_is_infinite():
    rng = np.random.default_rng(0)
    label = np.arange(300) < 150
    X = (rng.random((300, 5)) < np.where(label[:, None], 0.9, 0.2)).astype(float)
    X[label, 0] = 1.0
    edge = EMMixture(2, likelihood="bernoulli", random_state=0, tol=1e-13).fit(X)
    at_one = edge.probabilities_ > 1 - 1e-9
    assert at_one.any()
    assert np.all(edge.standard_errors_["probabilities"][at_one] == 0)
    assert np.all(edge.standard_errors_["probabilities"][~at_one] > 0)
    few = (rng.random((200, 2)) < 0.4).astype(float)  # two classes of two items: 5 of 3 parameters
    wide = EMMixture(2, likelihood="bernoulli", random_state=0).fit(few)
    assert np.isinf(flat({"p": wide.standard_errors_["probabilities"]})).any()
    codes = np.column_stack([rng.integers(0, 3, 100), rng.integers(0, 2, 100)]).astype(float)
    single = EMMixture(1, likelihood="categorical").fit(codes).standard_errors_
    shares = np.bincount(codes[:, 0].astype(int)) / 100
    expected = np.sqrt(shares * (1 - shares) / 100)
    assert_allclose(single["category_probabilities"][0][0], expected, rtol=1e-9)


@pytest.mark.filterwarnings("ignore::skelbo.SingularCovarianceWarning")
def test_a_variance_at_its_floor_has_no_error():
    rng = np.random.default_rng(0)
    X = np.c_[rng.standard_normal((50, 1)), np.zeros(50)]
    errors = GaussianMLE("diag").fit(X).standard_errors_
    assert errors["covariance"][1] == 0 and errors["covariance"][0] > 0


def test_copies_files_streams_and_dask_need_the_rows(faithful, tmp_path):
    model = EMGaussianMixture(2, random_state=0).fit(faithful)
    model.to_file(tmp_path / "model")
    read = EMGaussianMixture.from_file(tmp_path / "model")
    others = pickle.loads(pickle.dumps(model)), copy.deepcopy(model), read
    expected = flat(model.standard_errors_)
    for other in others:
        with pytest.raises(AttributeError, match="call compute_standard_errors"):
            _ = other.standard_errors_
        other.compute_standard_errors(faithful)
        assert_allclose(flat(other.standard_errors_), expected)
        with pytest.raises(ValueError, match="pass the rows and the weights of the fit, unchanged"):
            other.compute_standard_errors(faithful[:100])
    stream = EMGaussianMixture(2, random_state=0).fit(faithful).partial_fit(faithful[:50])
    assert not hasattr(stream, "standard_errors_")
    with pytest.raises(NotFittedError):
        EMGaussianMixture().compute_standard_errors(faithful)
    with pytest.raises(ValueError, match="method='jackknife', expected one of"):
        model.compute_standard_errors(faithful, method="jackknife")
    with pytest.raises(ValueError, match="n_bootstrap=1, expected an integer of at least 2"):
        model.compute_standard_errors(faithful, method="bootstrap", n_bootstrap=1)


@pytest.mark.parametrize("estimator", [GaussianMLE(), EMGaussianMixture(2, random_state=0)])
def test_copies_keep_errors_that_have_been_computed(estimator, faithful):
    model = estimator.fit(faithful)
    errors = flat(model.standard_errors_)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert np.array_equal(flat(other.standard_errors_), errors)
    model.compute_standard_errors(faithful, method="bootstrap", n_bootstrap=2, random_state=0)
    drawn = pickle.loads(pickle.dumps(model)).standard_errors_
    assert np.array_equal(flat(drawn), flat(model.standard_errors_))


def test_rows_that_were_changed_are_found_and_a_refit_forgets(faithful):
    X = faithful.copy()
    model = EMGaussianMixture(2, random_state=0).fit(X)
    X[:, 0] += 1
    with pytest.raises(ValueError, match="nats per row at the parameters, that of the fit"):
        _ = model.standard_errors_
    first = flat(model.fit(X).standard_errors_)
    assert not np.allclose(first, flat(model.fit(X[:200]).standard_errors_))


def test_dataframes_and_float32(faithful):
    table = pd.DataFrame(faithful, columns=["a", "b"])
    single = GaussianMLE().fit(faithful.astype(np.float32)).standard_errors_["mean"]
    assert_allclose(GaussianMLE().fit(table).standard_errors_["mean"], single, rtol=1e-4)


def test_too_many_parameters_are_an_error_with_a_remedy():
    X = np.random.default_rng(0).standard_normal((200, 60))
    with pytest.raises(AttributeError, match=r"1890 parameters.*method='bootstrap'"):
        _ = GaussianMLE().fit(X).standard_errors_


@pytest.mark.slow
def test_the_bootstrap_agrees_and_matches_components():
    X = two_clusters(300)
    model = EMGaussianMixture(2, covariance_type="tied", random_state=0).fit(X)
    analytic = copy.deepcopy(model).compute_standard_errors(X).standard_errors_
    model.compute_standard_errors(X, method="bootstrap", n_bootstrap=200, random_state=0)
    for name, errors in model.standard_errors_.items():
        assert_allclose(errors, analytic[name], rtol=0.3)
    normal = np.random.default_rng(0).standard_normal((300, 2))
    one = GaussianMLE().fit(normal)
    expected = flat(one.standard_errors_)
    found = one.compute_standard_errors(normal, method="bootstrap", random_state=0)
    assert_allclose(flat(found.standard_errors_), expected, rtol=0.35)


@pytest.mark.slow
def test_intervals_cover_the_truth():
    """95 % intervals of 100 tables hold a mean and a weight in 88 to 100 of them."""
    held = np.zeros(2)
    for seed in range(100):
        X = two_clusters(300, seed)
        model = EMGaussianMixture(2, covariance_type="tied", random_state=0).fit(X)
        k = int(model.means_[:, 0].argmax())
        errors = model.standard_errors_
        held[0] += abs(model.weights_[k] - 0.4) < 1.96 * errors["weights"][k]
        held[1] += abs(model.means_[k, 0] - 3.0) < 1.96 * errors["means"][k, 0]
    assert np.all(held >= 88)


def test_a_memory_map_is_read_part_by_part(tmp_path, monkeypatch):
    X = two_clusters(300)
    X[::9, 1] = np.nan
    X.tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", dtype=float, mode="r", shape=X.shape)
    expected = flat(EMGaussianMixture(2, random_state=0).fit(X).standard_errors_)
    monkeypatch.setattr("skelbo.mixture.information.PART_CELLS", 100)
    found = flat(EMGaussianMixture(2, random_state=0).fit(mapped).standard_errors_)
    assert_allclose(found, expected, rtol=1e-9)
