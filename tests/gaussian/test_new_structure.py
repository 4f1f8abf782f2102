"""A covariance structure of one class and one line of the table has all that the others have."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skelbo import EMGaussianMixture
from skelbo.display.gaussian_components import gaussian_components
from skelbo.gaussian.structures import STRUCTURES, Full

HALF = 2


class TwoBlocks(Full):
    """The first two columns are independent of the others, given the component."""

    solvers = frozenset({"em", "gem"})

    @classmethod
    def estimate(cls, moments):
        covariances = super().estimate(moments).copy()
        covariances[:, :HALF, HALF:] = covariances[:, HALF:, :HALF] = 0.0
        return covariances

    @classmethod
    def n_parameters(cls, K, p):
        return Full.n_parameters(K, HALF) + Full.n_parameters(K, p - HALF)


@pytest.fixture(autouse=True)
def _in_the_table(monkeypatch):
    monkeypatch.setitem(STRUCTURES, "two_blocks", TwoBlocks)


def fit(X, K=1, **options):
    options = {"covariance_type": "two_blocks", "random_state": 0, "max_iter": 1000, **options}
    return EMGaussianMixture(K, **options).fit(X)


def with_gaps(X):
    X = X.copy()
    X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    return X


def test_one_component_is_two_gaussians(iris):
    X = with_gaps(iris)
    parts = [
        EMGaussianMixture(1, max_iter=1000).fit(part).lower_bound_
        for part in (X[:, :HALF], X[:, HALF:])
    ]
    model = fit(X)
    assert model.lower_bound_ == pytest.approx(sum(parts), abs=1e-7)
    assert model.n_parameters_ == 4 + 3 + 3
    assert np.all(model.covariances_[0][:HALF, HALF:] == 0)


@pytest.mark.parametrize("solver", ["em", "gem"])
@pytest.mark.parametrize("gaps", [False, True])
def test_several_components(iris, solver, gaps):
    X = with_gaps(iris) if gaps else iris
    model = fit(X, 3, solver=solver)
    assert np.diff(model.lower_bounds_).min() > -1e-10
    assert model.score(X) == pytest.approx(model.lower_bound_, rel=1e-12)
    assert model.lower_bound_ == pytest.approx(fit(X, 3).lower_bound_, abs=1e-4)
    assert np.all(model.covariances_[:, :HALF, HALF:] == 0)
    assert np.isfinite(model.impute(with_gaps(iris))).all()
    assert fit(X, 3, acceleration=None).lower_bound_ == pytest.approx(model.lower_bound_, abs=1e-4)


def test_streams_and_dask(iris):
    da = pytest.importorskip("dask.array")
    model = EMGaussianMixture(2, covariance_type="two_blocks", random_state=0)
    for batch in np.array_split(np.random.default_rng(0).permutation(iris), 3):
        model.partial_fit(batch)
    assert model.score(iris) > EMGaussianMixture(1).fit(iris).score(iris)
    lazy = fit(da.from_array(iris, chunks=(60, -1)), 2)
    assert_allclose(lazy.lower_bound_, fit(iris, 2).lower_bound_, rtol=1e-6)


def test_what_it_lacks_is_refused(iris):
    with pytest.raises(ValueError, match=r"solver='gradient' does not fit covariance_type='two_bl"):
        fit(iris, solver="gradient")


def test_summary_picture_and_bootstrap(iris):
    model = fit(iris, 2)
    table = model.summary()
    names = [name for name in table.parameters["parameter"] if name.startswith("covariances[0")]
    assert len(names) == 10  # the lower triangle
    assert any("derivatives of this structure" in warning for warning in table.warnings)
    covariances = gaussian_components(model)[1]
    assert_allclose(covariances, model.covariances_)
    model.compute_standard_errors(iris, method="bootstrap", n_bootstrap=3, random_state=0)
    assert np.all(model.standard_errors_["covariances"][:, :HALF, HALF:] == 0)
