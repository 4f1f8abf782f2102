"""Estimators x invariants: what every estimator of the library promises, checked on each."""

import os
import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import check_estimator

from skelbo import (
    MCEM,
    ELBOMonitor,
    EMGaussianMixture,
    EMMixture,
    GaussianMLE,
    SingularCovarianceWarning,
    VariationalEM,
)
from skelbo.gaussian.structures import STRUCTURES

MLES = [GaussianMLE(kind) for kind in ("full", "diag", "spherical")]
MIXTURES = [
    EMGaussianMixture(K, covariance_type=kind, random_state=0)
    for K in (1, 2)
    for kind in STRUCTURES
]
MIXED = [
    EMMixture(2, n_init=1, random_state=0),
    EMMixture(2, covariance_type="tied", n_init=1, random_state=0),
]
ESTIMATORS = MLES + MIXTURES + MIXED
SOLVERS = [EMGaussianMixture(2, solver=solver, random_state=0) for solver in ("gem", "gradient")]
UNBOUNDED = {
    "check_sample_weight_equivalence_on_dense_data": "15 rows in 30 columns: L-BFGS runs along an "
    "almost unbounded likelihood, where rounding decides the path"
}
LATENT = [
    VariationalEM(random_state=0),
    VariationalEM(1, model="gaussian"),
    MCEM(1, model="gaussian", random_state=0),
]
# Two factors in four columns, as here, leave EM long ridges to climb: no test waits for the end.
slow = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
every_estimator = pytest.mark.parametrize(
    "estimator",
    [
        pytest.param(e, marks=slow) if getattr(e, "covariance_type", "") == "factor" else e
        for e in ESTIMATORS
    ],
    ids=repr,
)

# Checks that `check_estimator` leaves to scikit-learn's own test-suite.
EXTRA_CHECKS = [
    "check_param_validation",
    "check_dataframe_column_names_consistency",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
    "check_get_feature_names_out_error",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_inplace_ensure_writeable",
]
N_CHECKS = 53


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::skelbo.SingularCovarianceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", ESTIMATORS + SOLVERS, ids=repr)
def test_check_estimator_whole(estimator):
    """No failure, nothing skipped but the check that needs a variable, none excused for EM."""
    excuses = UNBOUNDED if getattr(estimator, "solver", "em") == "gradient" else None
    results = check_estimator(
        clone(estimator), on_fail=None, on_skip=None, expected_failed_checks=excuses
    )
    statuses = {result["check_name"]: result["status"] for result in results}
    assert [name for name, status in statuses.items() if status == "failed"] == []
    skipped = {name for name, status in statuses.items() if status == "skipped"}
    assert skipped <= {"check_array_api_input"}
    assert len(results) == N_CHECKS


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::skelbo.SingularCovarianceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::skelbo.HeywoodWarning")
@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning")
@pytest.mark.parametrize("check", EXTRA_CHECKS)
@pytest.mark.parametrize("estimator", ESTIMATORS + LATENT, ids=repr)
def test_extra_checks(estimator, check):
    getattr(estimator_checks, check)(type(estimator).__name__, clone(estimator))


@pytest.mark.slow
def test_array_api_check_runs_when_enabled():
    """The one check that is skipped without SCIPY_ARRAY_API=1 passes with it."""
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from sklearn.utils.estimator_checks import check_estimator\n"
        "from skelbo import EMGaussianMixture, GaussianMLE\n"
        "for estimator in (GaussianMLE(), EMGaussianMixture(2)):\n"
        "    results = check_estimator(estimator, on_skip=None)\n"
        f"    assert len(results) == {N_CHECKS}\n"
        "    assert {result['status'] for result in results} == {'passed'}\n"
    )
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@every_estimator
def test_float32_in_float32_out(estimator, iris):
    X = iris.astype(np.float32)
    model = clone(estimator).fit(X)
    outputs = [model.transform(X), model.score_samples(X), model.impute(X), model.elbo(X)]
    outputs += [model.sample(3, random_state=0)[0], model.inverse_transform(model.transform(X))]
    assert {output.dtype for output in outputs} == {np.dtype(np.float32)}
    same = X.astype(np.float64)  # fits to rounded numbers may end elsewhere on a ridge
    double = clone(estimator).fit(same)
    assert model.lower_bound_ == pytest.approx(double.lower_bound_, abs=1e-5)
    assert_allclose(model.score_samples(X), double.score_samples(same), atol=1e-3)
    assert isinstance(model.score(X), float)


@every_estimator
def test_integers(estimator):
    X = np.random.default_rng(0).integers(0, 50, (40, 3))
    model = clone(estimator).fit(X)
    assert model.score(X) == model.score(X.astype(float)) and model.transform(X).dtype == float


@every_estimator
@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_frames(estimator, frame, iris):
    columns = ["a", "b", "c", "d"]
    table = frame(dict(zip(columns, iris.T, strict=True)))
    model = clone(estimator).fit(table)
    assert_array_equal(model.feature_names_in_, columns)
    assert_array_equal(model.score_samples(table), clone(estimator).fit(iris).score_samples(iris))
    kind = "pandas" if frame is pd.DataFrame else "polars"
    latents = model.set_output(transform=kind).transform(table)
    assert isinstance(latents, frame)
    assert list(latents.columns) == list(model.get_feature_names_out())


@every_estimator
def test_scores_do_not_depend_on_the_batch(estimator, iris):
    X = iris.copy()
    X[::7, 1] = np.nan
    model = clone(estimator).fit(X)
    for method in (model.score_samples, model.transform, model.elbo, model.impute):
        one_by_one = np.concatenate([method(row[None]) for row in X])
        assert_allclose(one_by_one, method(X), rtol=1e-9, atol=1e-12)
        assert_allclose(method(X[::-1])[::-1], method(X), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("lazy", [False, True], ids=["numpy", "dask"])
def test_a_row_of_weight_zero_is_absent_where_its_density_underflows(lazy, faithful):
    """Zero times log p(x) = -inf is no part of a mean."""
    model = EMGaussianMixture(2, random_state=0).fit(faithful)
    X, weights = np.vstack([faithful, [[1e160, 0.0]]]), np.append(np.ones(272), 0.0)
    if lazy:
        array = pytest.importorskip("dask.array")
        X, weights = array.from_array(X, chunks=(100, 2)), array.from_array(weights, chunks=100)
    assert model.score(X, sample_weight=weights) == pytest.approx(model.score(faithful), rel=1e-14)


@every_estimator
def test_reproducible_and_polite(estimator, iris):
    """The same seed gives the same fit; the caller's generator and arguments are untouched."""
    X, weights = iris.copy(), np.arange(150.0)
    np.random.seed(7)
    state = np.random.get_state()[1].copy()
    parameters = estimator.get_params()
    first = clone(estimator).fit(X, sample_weight=weights)
    second = clone(estimator).fit(X, sample_weight=weights)
    assert_array_equal(first.transform(X), second.transform(X))
    assert_array_equal(first.sample(5, random_state=1)[0], second.sample(5, random_state=1)[0])
    unseeded = clone(estimator)
    if "random_state" in parameters:
        unseeded.set_params(random_state=None)
    unseeded.fit(X)
    unseeded.sample(2)
    assert_array_equal(np.random.get_state()[1], state)
    assert_array_equal(X, iris)
    assert_array_equal(weights, np.arange(150.0))
    assert first.get_params() == parameters


@every_estimator
def test_pickle_and_joblib(estimator, iris, tmp_path):
    model = clone(estimator).fit(iris)
    joblib.dump(model, tmp_path / "model")
    for again in (pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model")):
        assert_array_equal(again.score_samples(iris), model.score_samples(iris))
        assert again.fit(iris).score(iris) == model.score(iris)


@every_estimator
def test_impute_keeps_what_is_known(estimator, iris):
    X = iris.copy()
    X[np.random.default_rng(0).random(X.shape) < 0.2] = np.nan
    filled = clone(estimator).fit(X).impute(X)
    assert_array_equal(filled[~np.isnan(X)], X[~np.isnan(X)])
    assert np.all(np.isfinite(filled))
    error = np.sqrt(np.mean((filled - iris)[np.isnan(X)] ** 2))
    by_mean = np.sqrt(np.mean((np.nanmean(X, axis=0) - iris)[np.isnan(X)] ** 2) * 4 / 4)
    assert error < 1.35 * by_mean


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@every_estimator
def test_in_a_search_over_a_pipeline(estimator, iris):
    labels = np.repeat([0, 1, 2], 50)
    pipeline = make_pipeline(StandardScaler(), clone(estimator), LogisticRegression())
    name = type(estimator).__name__.lower()
    kinds = {f"{name}__covariance_type": ["full", "diag"]}
    search = GridSearchCV(pipeline, kinds, n_jobs=2).fit(iris, labels)
    assert search.best_score_ > (0.3 if getattr(estimator, "n_components", 2) == 1 else 0.6)
    density = GridSearchCV(clone(estimator), {"covariance_type": ["full", "diag"]}).fit(iris)
    assert np.all(np.isfinite(density.cv_results_["mean_test_score"]))


@every_estimator
def test_progress_bar_and_monitor(estimator, iris, capsys):
    monitor = ELBOMonitor()
    X = iris.copy()
    X[0, 0] = np.nan
    model = clone(estimator).set_callbacks(ProgressBar(), monitor).fit(X)
    ((key, bounds),) = monitor.curves().items()
    assert key == (0, 0)
    np.testing.assert_allclose(bounds, model.lower_bounds_, rtol=1e-13)
    assert type(estimator).__name__ in capsys.readouterr().out


BAD_INPUT = {
    "no rows": (np.empty((0, 3)), {}, "0 sample"),
    "one row": (np.ones((1, 3)), {}, "1 sample"),
    "no columns": (np.empty((5, 0)), {}, "0 feature"),
    "infinite": (np.array([[1.0, np.inf], [2.0, 1.0]]), {}, "infinity"),
    "strings": (np.array([["a", "b"], ["c", "d"]]), {}, "could not convert string"),
    "one dimension": (np.arange(5.0), {}, "Expected 2D array"),
    "complex": (np.ones((5, 2)) * 1j, {}, "Complex data not supported"),
    "negative weight": (np.eye(3), {"sample_weight": [1, -1, 1]}, "negative weights"),
    "zero weights": (np.eye(3), {"sample_weight": [0, 0, 0]}, "zero"),
    "wrong weights": (np.eye(3), {"sample_weight": [1, 1]}, r"sample_weight has shape \(2,\)"),
    "weight not finite": (np.eye(3), {"sample_weight": [1, np.nan, 1]}, "NaN"),
    "empty column": (
        np.array([[1.0, np.nan], [2.0, np.nan]]),
        {},
        "column 1 of X has no observed cell",
    ),
    "column seen at weight zero": (
        np.array([[1.0, 1.0], [2.0, np.nan], [3.0, np.nan]]),
        {"sample_weight": [0, 1, 1]},
        "column 1 of X has no observed cell",
    ),
    "overflow": (np.array([[1e200, 1.0], [-1e200, 2.0], [0.0, 3.0]]), {}, "overflow"),
}


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize("case", BAD_INPUT)
@every_estimator
def test_bad_input_by_message(estimator, case):
    X, arguments, message = BAD_INPUT[case]
    with pytest.raises(ValueError, match=message):
        clone(estimator).fit(X, **arguments)


@every_estimator
def test_what_does_not_fit_the_fitted_model(estimator, iris):
    model = clone(estimator).fit(iris)
    for method in ("score_samples", "score", "transform", "elbo", "gap", "impute", "bic"):
        with pytest.raises(ValueError, match="X has 3 features, but .* is expecting 4"):
            getattr(model, method)(iris[:, :3])
    with pytest.raises(ValueError, match=r"Z has shape \(150, 9\), expected \(n_samples"):
        model.inverse_transform(np.zeros((150, 9)))
    with pytest.raises(ValueError, match="Z contains NaN or infinity, expected finite latents"):
        model.inverse_transform(np.full_like(model.transform(iris), np.nan))


DEGENERATE = {
    "two rows": np.array([[0.0, 1.0, 2.0], [1.0, 3.0, 7.0]]),
    "fewer rows than columns": np.random.default_rng(0).standard_normal((6, 10)),
    "constant column": np.c_[np.random.default_rng(0).standard_normal((30, 2)), np.full(30, 5.0)],
    "all constant": np.full((10, 2), 3.0),
    "all zero": np.zeros((10, 2)),
    "duplicated rows": np.repeat([[0.0, 0.0], [1.0, 2.0], [4.0, 3.0]], 10, axis=0),
    "duplicated columns": np.repeat(np.random.default_rng(0).standard_normal((30, 1)), 3, axis=1),
    "scales": np.random.default_rng(0).standard_normal((50, 2)) * [1e6, 1e-6],
    "tiny": np.random.default_rng(0).standard_normal((50, 2)) * 1e-100,
    "huge": np.random.default_rng(0).standard_normal((50, 2)) * 1e100,
    "far": np.random.default_rng(0).standard_normal((50, 2)) + 1e12,
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", DEGENERATE)
@every_estimator
def test_degenerate_data_give_finite_answers(estimator, case, weighted):
    """Never a NaN: a fit with a warning that names the cause, and finite scores."""
    X = DEGENERATE[case]
    weights = np.arange(1.0, len(X) + 1) if weighted else None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = clone(estimator).fit(X, sample_weight=weights)
    assert {w.category.__name__ for w in caught} <= {
        "SingularCovarianceWarning",
        "ConvergenceWarning",
    }
    singular = {"fewer rows than columns", "constant column", "all constant", "all zero"}
    if case in singular and getattr(estimator, "covariance_type", "") == "full":
        assert any(w.category is SingularCovarianceWarning for w in caught)
    for output in (model.score_samples(X), model.transform(X), model.impute(X), model.elbo(X)):
        assert np.all(np.isfinite(output))
    assert np.isfinite(model.lower_bound_) and np.isfinite(model.bic(X))
    assert np.all(np.isfinite(model.sample(4, random_state=0)[0]))


@every_estimator
def test_rows_far_from_everything(estimator, iris):
    """A row whose density underflows has density zero, and still a posterior."""
    model = clone(estimator).fit(iris)
    far = np.full((1, 4), 1e180)
    assert model.score_samples(far)[0] == -np.inf
    assert np.all(~np.isnan(model.transform(far)))
    assert model.elbo(far)[0] == -np.inf
    assert model.gap(far)[0] == 0


@every_estimator
def test_a_number_is_not_a_table(estimator, iris):
    model = clone(estimator).fit(iris)
    for method in (model.score_samples, model.transform, model.elbo):
        with pytest.raises(ValueError, match="Expected 2D array, got scalar array"):
            method(np.array(1.0))
