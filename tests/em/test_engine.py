"""EM on any `Theta`: Baum-Welch for Gaussian emissions in thirty lines, against enumeration."""

from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import logsumexp, softmax

from skelbo import ELBOMonitor, EMGaussianMixture
from skelbo.data.rows import Block
from skelbo.em.engine import EMEngine
from skelbo.em.loop import AscentError
from skelbo.em.progress import Progress
from skelbo.gaussian.components import Components
from skelbo.gaussian.moments import Moments
from skelbo.gaussian.regularization import regularization
from skelbo.gaussian.structures import STRUCTURES
from skelbo.mixture.mixture import Mixture


@dataclass(frozen=True)
class Chain:
    """A hidden Markov model: log-probabilities of first states and of transitions, emissions."""

    log_start: np.ndarray
    log_transition: np.ndarray
    components: Components

    @property
    def is_regular(self):
        return not self.components.covariance.floored.any()

    def e_step(self, block):
        density = self.components.density(block)
        log_prob = density.log_prob
        forward, backward = np.empty_like(log_prob), np.zeros_like(log_prob)
        forward[:, 0] = self.log_start + log_prob[:, 0]
        for t in range(1, log_prob.shape[1]):
            into = np.logaddexp.reduce(forward[:, t - 1, None] + self.log_transition, axis=0)
            forward[:, t] = into + log_prob[:, t]
        for t in range(log_prob.shape[1] - 2, -1, -1):
            after = log_prob[:, t + 1] + backward[:, t + 1]
            backward[:, t] = np.logaddexp.reduce(self.log_transition + after, axis=1)
        bound = logsumexp(forward[:, -1])
        after = (log_prob + backward)[:, 1:]
        pairs = forward[:, None, :-1] + self.log_transition[:, :, None] + after - bound
        resp = np.exp(forward + backward - bound)
        statistics = resp[:, 0], np.exp(pairs).sum(axis=2), density.moments(resp)
        return bound / log_prob.shape[1], statistics

    def m_step(self, statistics, regularization):
        first, pairs, moments = statistics
        transition = pairs / pairs.sum(axis=1, keepdims=True)
        components = self.components.updated(moments, regularization)
        first, transition = (np.log(np.maximum(a, 1e-300)) for a in (first, transition))
        return Chain(first, transition, components)

    def to_vector(self, units):
        parts = self.log_start, self.log_transition, self.components.means / units
        return np.concatenate(
            [*(part.ravel() for part in parts), self.components.covariance.to_vector(units)]
        )

    def from_vector(self, vector, units):
        K, p = self.components.means.shape
        start, transition, means, rest = np.split(vector, np.cumsum([K, K * K, K * p]))
        covariance = self.components.covariance.structure.from_vector(rest, K, units)
        if covariance is None:
            return None
        components = Components(means.reshape(K, p) * units, covariance)
        transition = transition.reshape(K, K)
        return Chain(np.log(softmax(start)), np.log(softmax(transition, axis=1)), components)


def block_of(X):
    """Return a sequence as one block of rows, in its order."""
    return Block(np.ascontiguousarray(X.T), np.ones(len(X)), np.arange(len(X)))


def sequence(n, p, seed):
    """Return n rows of a chain of two Gaussians that overlap."""
    rng = np.random.default_rng(seed)
    states = [0]
    for _ in range(n - 1):
        states.append(states[-1] if rng.random() < 0.8 else 1 - states[-1])
    centres = np.array([[0.0] * p, [1.5] * p])
    X = centres[states] + rng.standard_normal((n, p)) * [1.0, 0.7, 1.3][:p]
    return X - X.mean(axis=0)


def chain(kind, X, K, seed):
    """Return a chain fitted to random labels of the rows."""
    rng = np.random.default_rng(seed)
    resp = rng.dirichlet(np.ones(K), len(X)).T
    means = resp @ X / resp.sum(axis=1)[:, None]
    rule = regularization("auto", X.var(axis=0))
    structure = STRUCTURES[kind].configured(X.shape[1], 1)
    moments = structure.label_moments(X.T, resp, means, True)
    components = Components.from_moments(structure, moments, rule)
    return Chain(np.full(K, -np.log(K)), np.log(rng.dirichlet(np.ones(K) * 5, K)), components)


def engine(X, **options):
    """Return the engine for one sequence."""
    variances = X.var(axis=0)
    options = {"tol": "auto", "max_iter": 2000, **options}
    rule = regularization("auto", variances)
    return EMEngine(block_of(X), rule, np.sqrt(variances), **options)


def fitted(em, starts, monitor=None):
    """Run the engine, with a callback if one is given."""
    estimator = EMGaussianMixture()
    if monitor is not None:
        estimator.set_callbacks(monitor)
    return em.fit(starts, Progress(estimator, None, len(starts), em.max_iter))


def test_the_bound_is_the_sum_over_all_paths():
    X = sequence(6, 2, 0)
    theta = chain("full", X, 3, 1)
    log_prob = theta.components.density(block_of(X)).log_prob
    paths = [
        theta.log_start[path[0]]
        + sum(theta.log_transition[a, b] for a, b in pairwise(path))
        + sum(log_prob[k, t] for t, k in enumerate(path))
        for path in product(range(3), repeat=6)
    ]
    bound, (first, pairs, moments) = theta.e_step(block_of(X))
    assert bound == pytest.approx(logsumexp(paths) / 6, rel=1e-13)
    share = np.exp(np.array(paths) - logsumexp(paths)).reshape([3] * 6)
    assert_allclose(first, share.sum(axis=(1, 2, 3, 4, 5)), rtol=1e-12)
    axes = [tuple(a for a in range(6) if a not in (t, t + 1)) for t in range(5)]
    assert_allclose(pairs, sum(share.sum(axis=others) for others in axes), rtol=1e-12)
    assert moments.weight.sum() == pytest.approx(6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", STRUCTURES)
def test_a_chain_climbs_and_acceleration_reaches_its_mode(kind):
    """Monotone, with fewer iterations where plain EM takes many, at a bound no lower."""
    X = sequence(100, 3, 2)
    start = chain(kind, X, 2, 0)
    plain = fitted(engine(X, acceleration=None, max_iter=500), [start]).best
    fast = fitted(engine(X), [start]).best
    assert fast.converged and (plain.converged or kind == "factor")
    for ascent in (plain, fast):
        assert np.all(np.diff((ascent.start_bound, *ascent.lower_bounds)) > -1e-12)
    assert fast.n_iter < max(plain.n_iter, 50)
    assert fast.lower_bound > plain.lower_bound - 1e-6


@pytest.mark.slow
def test_a_chain_gets_restarts_and_callbacks():
    X, monitor = sequence(150, 2, 3), ELBOMonitor()

    def fails():
        raise AscentError("no such start")

    starts = [fails, *(lambda seed=seed: chain("full", X, 3, seed) for seed in range(4))]
    restarts = fitted(engine(X), starts, monitor)
    bounds = [curve[-1] for curve in monitor.curves().values()]
    assert restarts.failures[0] == (0, "no such start")
    assert restarts.best.lower_bound == max(bounds) and len(bounds) == 4


def test_a_chain_without_memory_is_a_mixture():
    """With rows of the transition matrix alike, the bound is that of the mixture."""
    X = sequence(100, 2, 4)
    theta = chain("diag", X, 2, 0)
    log_weights = np.log([0.3, 0.7])
    theta = Chain(log_weights, np.tile(log_weights, (2, 1)), theta.components)
    mixture = Mixture(np.exp(log_weights), theta.components)
    block = block_of(X)
    expected = mixture.expected(block)
    bound, (_, _, moments) = theta.e_step(block)
    assert bound == pytest.approx(expected.log_prob / 100, rel=1e-12)
    assert isinstance(moments, Moments)
    assert_allclose(moments.mean, expected.moments.mean, rtol=1e-9)


# -------------------------------------------------------------------------------------- short runs


def far_starts(X, n):
    """Return several chains from random labels."""
    return [chain("diag", X, 3, seed) for seed in range(n)]


def test_short_runs_continue_the_highest_bound():
    """The result is thirty iterations from its start, and no other would be higher there."""
    X = sequence(300, 3, 5)
    em = engine(X, tol=0.0, max_iter=100)
    starts = far_starts(X, 4)
    best = em.best_after_short_runs(starts)

    def after(theta, n_iter):
        for _ in range(n_iter):
            theta = theta.m_step(theta.e_step(em.rows)[1], em.regularization)
        return theta.e_step(em.rows)[0]

    early = np.array([after(theta, 10) for theta in starts])
    late = [after(starts[k], 30) for k in np.argsort(early)[2:]]
    assert best.e_step(em.rows)[0] == pytest.approx(max(late), abs=1e-12)
    assert np.ptp(early) > 1e-3


def test_short_runs_skip_starts_that_fail():
    X = sequence(100, 2, 6)
    em = engine(X)

    def fails():
        raise AscentError("a singular start")

    start = chain("diag", X, 2, 0)
    assert em.best_after_short_runs([fails, start]).is_regular
    assert em.best_after_short_runs([fails, fails]) is fails
    assert em.best_after_short_runs([fails]) is fails
    assert em.best_after_short_runs([start, start]) is start  # nothing to compare with
