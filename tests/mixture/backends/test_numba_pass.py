"""The compiled pass is the E-step by natural parameters, to the rounding of its sums."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from threadpoolctl import threadpool_limits

from skelbo import EMGaussianMixture
from skelbo.data.rows import Block, Rows
from skelbo.em.progress import Progress
from skelbo.gaussian.structures import STRUCTURES
from skelbo.mixture.backends import numba_pass
from skelbo.mixture.backends.numba_pass import compiled_e_step
from skelbo.mixture.initialization import start_mixture
from skelbo.mixture.mixture import Mixture
from skelbo.mixture.row_sample import sample_rows
from tests.mixture.fits import clouds, engine_of, fitted, theta_of

pytest.importorskip("numba")
fused_kernel = pytest.importorskip("skelbo.mixture.backends.numba_kernel")

TYPES = ["full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"]


@pytest.fixture
def forget():
    """Forget whether numba can compile, before and after the test."""
    numba_pass.kernel.cache_clear()
    yield
    numba_pass.kernel.cache_clear()


def test_exponentials_and_logarithms_keep_their_digits():
    """Errors are a few units in the last place, as the bound adds them up; far below all, zero."""
    x = -np.concatenate([np.geomspace(1e-300, 707, 4001), [0.0]])
    got = np.array([fused_kernel.exp(value) for value in x])
    assert_allclose(got, np.exp(x), rtol=8e-16)
    assert [fused_kernel.exp(value) for value in (0.0, -0.0, -709.0, -np.inf)] == [1, 1, 0, 0]
    x = np.concatenate([1 + np.geomspace(1e-16, 1, 1001), np.geomspace(1, 1e300, 2001)])
    got = np.array([fused_kernel.log(value) for value in x])
    assert_allclose(got, np.log(x), rtol=8e-16, atol=1e-16)


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
    theta, origin = theta_of(fitted(scale * clouds(300, p, K, seed), K, kind))
    if seed % 3 == 0 and K > 1:  # a component that has died stays dead
        theta = Mixture(np.r_[0.0, theta.weights[1:] / theta.weights[1:].sum()], theta.components)
    values = np.ascontiguousarray((scale * clouds(n, p, K, seed + 1) - origin).T)
    weights = rng.integers(1, 5, n).astype(float) if weighted else np.ones(n)
    block = Block(values, weights, np.arange(n))
    got, expected = numba_pass.expected(block, theta), theta.expected(block)
    assert_allclose(got.log_prob, expected.log_prob, rtol=1e-12, atol=1e-12 * n)
    reach = np.abs(values).max()
    for name, size in {"weight": n, "mean": reach, "scatter": n * reach**2}.items():
        a, b = getattr(got.moments, name), getattr(expected.moments, name)
        assert_allclose(a, b, rtol=1e-8, atol=1e-12 * size)
    assert (got.moments.weight == 0).tolist() == (expected.moments.weight == 0).tolist()


def start_of(em, kind, K):
    """Return a start of an engine's fit."""
    sample = sample_rows(em.rows, K)
    rng = np.random.RandomState(0)
    structure = STRUCTURES[kind].configured(em.rows.n_features, 2)
    return start_mixture("kmeans", sample, K, structure, em.regularization, rng)


def ascent_of(em, theta):
    """Return the ascent of an engine from one start."""
    return em.fit([theta], Progress(EMGaussianMixture(), None, 1, em.max_iter)).best


@pytest.mark.parametrize("kind", [*TYPES, "factor"])
@pytest.mark.parametrize("case", ["plain", "weights", "holes", "collapse"])
def test_ascents_take_the_same_path(kind, case):
    """Iteration by iteration, with weights, missing cells, and a component in the other form."""
    X = clouds(2000, 4, 3)
    weights = None
    if case == "weights":
        weights = np.random.default_rng(1).integers(0, 3, len(X)).astype(float)
    if case == "holes":
        X[::7, 1] = np.nan
    if case == "collapse":
        X[:200] = X[0]
    em = engine_of(X, 3, kind, weights, max_iter=8, tol=0.0)
    theta = start_of(em, kind, 3)
    expected = ascent_of(em, theta)
    e_step = compiled_e_step(em.rows, 3, STRUCTURES[kind], min_work=0)
    got = ascent_of(replace(em, e_step=e_step), theta)
    assert_allclose(got.lower_bounds, expected.lower_bounds, rtol=1e-9)
    means = (ascent.theta.components.means for ascent in (got, expected))
    assert_allclose(*means, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", TYPES)
def test_threads_do_not_change_bits(kind):
    """And neither the table's layout nor whether it may be written to costs another compilation."""
    X = clouds(60_000, 5, 4)
    theta, origin = theta_of(fitted(X[:1000], 4, kind))

    def e_step(X, weights=None):
        rows = Rows(X, weights, origin, *theta.components.cells)
        return compiled_e_step(rows, 4, STRUCTURES[kind], min_work=0)(theta)

    results = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads, user_api="blas"):
            results.append(e_step(X))
    X, weights = np.asfortranarray(X), np.ones(len(X))
    weights[0] = 2
    X.setflags(write=False)
    weights.setflags(write=False)
    assert np.isfinite(e_step(X, weights)[0])
    for bound, moments in results[1:]:
        assert bound == results[0][0]
        assert_array_equal(moments.mean, results[0][1].mean)
    assert len(fused_kernel.expected_sums.signatures) == 1


def test_only_long_passes_are_compiled():
    """The size of the table alone decides, so that fits are reproducible."""
    rows = Rows(clouds(2000, 4, 3))
    assert compiled_e_step(rows, 3, STRUCTURES["full"]) is None
    assert compiled_e_step(rows, 1000, STRUCTURES["full"]) is not None


@pytest.mark.usefixtures("forget")
@pytest.mark.parametrize("why", ["not installed", "cannot cache", "not to compile"])
def test_without_the_kernel_numpy_does_the_work(why, monkeypatch):
    """Numba is missing, has no folder for its cache, or is configured not to compile."""
    if why == "not installed":
        monkeypatch.setitem(sys.modules, "numba", None)
    elif why == "not to compile":
        monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    else:
        monkeypatch.delitem(sys.modules, "skelbo.mixture.backends.numba_kernel")
        monkeypatch.setattr("numba.njit", lambda **options: no_cache)
    X = clouds(500, 3, 2)
    theta, origin = theta_of(fitted(X, 2, "full"))
    rows = Rows(X, None, origin, *theta.components.cells)
    got = compiled_e_step(rows, 2, STRUCTURES["full"], min_work=0)(theta)
    assert numba_pass.kernel() is None
    assert got[0] == theta.e_step(rows)[0]


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
