"""Moments are additive, exact in weights, and blind to where the origin lies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from skelbo.gaussian.moments import Moments, Scatter

KINDS = [Scatter(dense, shared) for dense in (True, False) for shared in (True, False)]


def draw(seed, n, K=2, p=3):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((p, n)), rng.random((K, n)) + 0.01


def direct(kind, X, weights):
    """Compute weight, mean and scatter by the definition."""
    weight = weights.sum(axis=1)
    mean = weights @ X.T / weight[:, None]
    steps = X[None] - mean[:, :, None]
    scatter = np.einsum("kn,kin,kjn->kij", weights, steps, steps)
    if not kind.dense:
        scatter = np.diagonal(scatter, axis1=1, axis2=2)
    return weight, mean, scatter.sum(axis=0) if kind.shared else scatter


def assert_same(a, b, rtol=1e-10):
    assert_allclose(a.weight, b.weight, rtol=rtol)
    assert_allclose(a.mean, b.mean, rtol=rtol, atol=1e-12)
    assert_allclose(a.scatter, b.scatter, rtol=rtol, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("referenced", [False, True])
def test_definition(kind, referenced):
    X, weights = draw(0, 40)
    reference = np.ones((2, 3)) if referenced else None
    moments = Moments.of_block(kind, X, weights, reference)
    assert_same(moments, Moments(kind, *direct(kind, X, weights)))


@pytest.mark.parametrize("kind", KINDS)
@given(n=st.integers(2, 40), cut=st.floats(0, 1), seed=st.integers(0, 1000))
def test_additive(kind, n, cut, seed):
    """The moments of two parts add up to the moments of the whole, in either order."""
    X, weights = draw(seed, n)
    cut = int(cut * n)
    parts = [
        Moments.of_block(kind, X[:, part], weights[:, part])
        for part in (slice(None, cut), slice(cut, None))
    ]
    whole = Moments.of_block(kind, X, weights)
    assert_same(parts[0] + parts[1], whole)
    assert_same(parts[1] + parts[0], whole)


@pytest.mark.parametrize("kind", KINDS)
@given(counts=st.lists(st.integers(0, 4), min_size=2, max_size=20), seed=st.integers(0, 1000))
def test_weight_is_repetition(kind, counts, seed):
    X, resp = draw(seed, len(counts))
    weighted = Moments.of_block(kind, X, resp * counts)
    repeated = Moments.of_block(kind, np.repeat(X, counts, 1), np.repeat(resp, counts, 1))
    assert_same(weighted, repeated)


@pytest.mark.parametrize("kind", KINDS)
def test_far_origin_keeps_digits(kind):
    """With a reference near the data, an origin 1e8 away costs no more than the data's own ulp."""
    X, weights = draw(1, 50)
    near = Moments.of_block(kind, X, weights)
    X_far = X + 1e8
    far = Moments.of_block(kind, X_far, weights, np.full((2, 3), 1e8))
    exact = Moments.of_block(kind, X_far - 1e8, weights)
    assert_allclose(far.scatter, exact.scatter, rtol=1e-9)
    assert_allclose(far.scatter, near.scatter, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_scaled_and_empty(kind):
    X, weights = draw(2, 30)
    moments = Moments.of_block(kind, X, weights)
    assert_same(moments.scaled(2.0), moments + moments)
    weights[0] = 0.0
    empty = Moments.of_block(kind, X, weights)
    assert np.all(np.isfinite(empty.mean)) and np.all(np.isfinite(empty.scatter))
