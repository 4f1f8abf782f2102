"""numpy's scalars as parameters are what Python's are: in fits, files, models and searches."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone

from skelbo import EMGaussianMixture, EMMixture, GaussianMLE, VAEEstimator, VariationalEM
from skelbo.meta import CriterionSearch, DensityOutlierDetector
from skelbo.models import FactorModel

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::skelbo.HeywoodWarning"),
]

TINY = {"hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0}


def test_numbers_of_few_bits_do_not_overflow(iris):
    table = np.repeat(iris, 2, axis=0)
    model = EMGaussianMixture(np.uint8(40), n_init=np.uint8(1), max_iter=np.int8(2), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.fit(table)
        plain = EMGaussianMixture(40, max_iter=2, random_state=0).fit(table)
    assert model.n_parameters_ == 599
    assert model.score(table) == plain.score(table)


@pytest.mark.parametrize("kind", [np.uint8, np.uint64, np.int16])
def test_unsigned_batches_draws_and_latents(iris, kind):
    net = VAEEstimator(kind(1), batch_size=kind(64), **TINY).fit(iris)
    assert net.score(iris) == VAEEstimator(1, batch_size=64, **TINY).fit(iris).score(iris)
    draws = {"model": "poisson", "max_iter": 5, "random_state": 0}
    few = VariationalEM(kind(2), n_importance_samples=kind(40), **draws).fit(np.ceil(iris))
    plain = VariationalEM(2, n_importance_samples=40, **draws).fit(np.ceil(iris))
    assert few.score(np.ceil(iris)) == plain.score(np.ceil(iris))
    model = VariationalEM(model=FactorModel(kind(1)), random_state=0).fit(iris)
    assert np.isfinite(model.score(iris))


def test_floats_of_numpy_leave_the_precision_of_a_table_alone(iris):
    rows = iris.astype(np.float32)
    fitted = GaussianMLE(reg_covar=np.float64(1e-3)).fit(rows)
    assert fitted.covariance_.dtype == np.float32
    assert fitted.score(rows) == GaussianMLE(reg_covar=1e-3).fit(rows).score(rows)


def test_the_same_value_of_another_type_is_no_change(iris):
    model = EMGaussianMixture(2, random_state=0).fit(iris)
    before = model.score(iris)
    model.set_params(n_components=np.int64(2), covariance_type=np.str_("full"))
    assert model.score(iris) == before


@pytest.mark.parametrize(
    "estimator",
    [
        EMGaussianMixture(np.int64(2), covariance_type=np.str_("diag"), warm_start=np.bool_(False)),
        EMMixture(2, n_init=1, likelihood=list(np.array(["gaussian"] * 4))),
        VariationalEM(1, model=FactorModel(np.int64(1), likelihood=np.str_("gaussian"))),
    ],
    ids=lambda e: type(e).__name__,
)
def test_files_hold_them(estimator, iris, tmp_path):
    fitted = clone(estimator).fit(iris)
    fitted.to_file(tmp_path / "model")
    assert type(fitted).from_file(tmp_path / "model").score(iris) == fitted.score(iris)


def test_grids_of_arrays(iris):
    grid = {"n_components": np.arange(1, 4, dtype=np.int8), "covariance_type": np.array(["diag"])}
    search = CriterionSearch(EMGaussianMixture(random_state=0), grid).fit(iris)
    assert list(search.results_["n_parameters"]) == [8, 17, 26]
    assert repr(search.best_estimator_) == (
        "EMGaussianMixture(covariance_type='diag', n_components=3, random_state=0)"
    )
    detector = DensityOutlierDetector(GaussianMLE(), contamination=np.float16(0.1))
    assert detector.contamination == float(np.float16(0.1))
    assert type(clone(detector).contamination) is float
