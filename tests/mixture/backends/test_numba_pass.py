"""The compiled pass is the E-step by natural parameters, to the rounding of its sums."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator
from threadpoolctl import threadpool_limits

from skelbo import EMGaussianMixture
from skelbo.data.rows import Block
from skelbo.mixture.backends import numba_pass
from skelbo.mixture.mixture import Mixture

pytest.importorskip("numba")
fused_kernel = pytest.importorskip("skelbo.mixture.backends.numba_kernel")

TYPES = ["full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"]


def clouds(n, p, K, seed=0):
    """Return n rows of K clouds."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 4, (K, p))
    return centres[rng.integers(K, size=n)] + rng.standard_normal((n, p))


@pytest.fixture
def large(monkeypatch):
    """Every table counts as large."""
    monkeypatch.setattr(numba_pass, "MIN_WORK", 0)


@pytest.fixture
def forget():
    """What is known of numba is asked anew, and again after the test."""
    numba_pass.kernel.cache_clear()
    yield
    numba_pass.kernel.cache_clear()


def test_exponentials_and_logarithms_keep_their_digits():
    """To a few units in the last place, as the bound adds them up; far below all, zero."""
    x = -np.concatenate([np.geomspace(1e-300, 707, 4001), [0.0]])
    got = np.array([fused_kernel.exp(value) for value in x])
    assert_allclose(got, np.exp(x), rtol=8e-16)
    assert [fused_kernel.exp(value) for value in (0.0, -0.0, -709.0, -np.inf)] == [1, 1, 0, 0]
    x = np.concatenate([1 + np.geomspace(1e-16, 1, 1001), np.geomspace(1, 1e300, 2001)])
    got = np.array([fused_kernel.log(value) for value in x])
    assert_allclose(got, np.log(x), rtol=8e-16, atol=1e-16)


def fitted(X, K, kind, n_iter=3, **options):
    """Return a mixture after a few iterations."""
    model = EMGaussianMixture(K, covariance_type=kind, max_iter=n_iter, tol=0.0, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.set_params(acceleration=None, **options).fit(X)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(TYPES),
    st.integers(1, 9),
    st.integers(1, 7),
    st.sampled_from([1, 2, 255, 256, 257, 700]),
    st.booleans(),
    st.sampled_from([1.0, 1e-6, 1e5]),
    st.integers(0, 99),
)
def test_the_pass_is_the_e_step(kind, K, p, n, weighted, scale, seed):
    """The same bound and moments as by matrix products, whatever the lengths are multiples of."""
    rng = np.random.default_rng(seed)
    theta, rows = fitted(scale * clouds(300, p, K, seed), K, kind)._view(np.zeros((1, p)))
    if seed % 3 == 0 and K > 1:  # a component that has died stays dead
        theta = Mixture(np.r_[0.0, theta.weights[1:] / theta.weights[1:].sum()], theta.components)
    values = np.ascontiguousarray((scale * clouds(n, p, K, seed + 1) - rows.origin).T)
    weights = rng.integers(1, 5, n).astype(float) if weighted else np.ones(n)
    block = Block(values, weights, np.arange(n))
    got, expected = numba_pass.expected(block, theta), theta.expected(block)
    assert_allclose(got.log_prob, expected.log_prob, rtol=1e-12, atol=1e-12 * n)
    reach = np.abs(values).max()
    for name, size in {"weight": n, "mean": reach, "scatter": n * reach**2}.items():
        a, b = getattr(got.moments, name), getattr(expected.moments, name)
        assert_allclose(a, b, rtol=1e-8, atol=1e-12 * size)
    assert (got.moments.weight == 0).tolist() == (expected.moments.weight == 0).tolist()


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("kind", [*TYPES, "factor"])
@pytest.mark.parametrize("case", ["plain", "weights", "holes", "collapse"])
def test_fits_climb_the_same_path(kind, case, monkeypatch):
    """Iteration by iteration, with weights, missing cells, and a component in the other form."""
    X = clouds(2000, 4, 3)
    weights = np.random.default_rng(1).integers(0, 3, len(X)) if case == "weights" else None
    if case == "holes":
        X[::7, 1] = np.nan
    if case == "collapse":
        X[:200] = X[0]
    model = EMGaussianMixture(3, covariance_type=kind, max_iter=8, tol=0.0, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = clone(model).fit(X, sample_weight=weights)
        monkeypatch.setattr(numba_pass, "MIN_WORK", np.inf)
        expected = model.fit(X, sample_weight=weights)
    assert_allclose(got.lower_bounds_, expected.lower_bounds_, rtol=1e-9)
    assert_allclose(got.means_, expected.means_, rtol=1e-6)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("kind", TYPES)
def test_threads_do_not_change_bits(kind):
    """And neither the table's layout nor whether it may be written to costs another compilation."""
    X = clouds(60_000, 5, 4)
    fits = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads, user_api="blas"):
            fits.append(fitted(X, 4, kind))
    X, weights = np.asfortranarray(X), np.ones(len(X))
    weights[0] = 2
    X.setflags(write=False)
    weights.setflags(write=False)
    assert np.isfinite(fitted(X, 4, kind, n_iter=1).lower_bound_)
    for other in fits[1:]:
        assert other.lower_bounds_ == fits[0].lower_bounds_
        assert_array_equal(other.means_, fits[0].means_)
    assert len(fused_kernel.expected_sums.signatures) == 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("kind", ["full", "tied"])
def test_check_estimator_with_compiled_passes(kind):
    """scikit-learn's checks hold on either path."""
    check_estimator(EMGaussianMixture(2, covariance_type=kind, random_state=0))


@pytest.mark.usefixtures("forget", "large")
@pytest.mark.parametrize("why", ["not installed", "cannot cache", "not to compile"])
def test_without_the_kernel_numpy_does_the_work(why, monkeypatch):
    """Whether numba is missing, has nowhere to put its cache, or is told not to compile."""
    if why == "not installed":
        monkeypatch.setitem(sys.modules, "numba", None)
    elif why == "not to compile":
        monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    else:
        monkeypatch.delitem(sys.modules, "skelbo.mixture.backends.numba_kernel")
        monkeypatch.setattr("numba.njit", lambda **options: no_cache)
    X = clouds(500, 3, 2)
    got = fitted(X, 2, "full")
    assert numba_pass.kernel() is None
    monkeypatch.setattr(numba_pass, "MIN_WORK", np.inf)
    assert got.lower_bounds_ == fitted(X, 2, "full").lower_bounds_


def no_cache(function):
    """Fail as numba does where no folder can be written to."""
    raise RuntimeError(f"cannot cache function {function.__name__!r}: no locator available")


@pytest.mark.slow
def test_small_tables_do_not_import_numba():
    """The import takes longer than their fits."""
    code = """
import sys
import numpy as np
from skelbo import EMGaussianMixture
EMGaussianMixture(3, random_state=0).fit(np.random.default_rng(0).normal(size=(5000, 4)))
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
