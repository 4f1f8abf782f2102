"""Forward-backward against the sum over all paths, logarithms, time reversal and underflow."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skelbo.mixture.chain import forward_backward
from skelbo.mixture.chain.forward_backward import ForwardBackward
from skelbo.mixture.chain.log_space import run_posterior
from skelbo.mixture.chain.markov_chain import MarkovChain
from skelbo.mixture.chain.run_blocks import passes, run_blocks
from tests.mixture.chain.chains import (
    all_paths,
    random_chain,
    runs_of_lengths,
    set_block_cells,
    smoothed,
)


@pytest.mark.parametrize("zeros", [(), [(0, 2), (1, 0)]])
def test_sums_over_all_paths(backend, zeros):
    rng = np.random.default_rng(0)
    chain, lengths = random_chain(3, rng, zeros), [6, 1, 4]
    runs, weights = runs_of_lengths(lengths), np.array([1.0, 2.5, 0.5])
    log_prob = 3 * rng.standard_normal((runs.n_rows, 3))
    log_prob[2] = 0.0  # a row that is missing
    log_prob[8, 1] = -np.inf  # a state that excludes a row
    result, resp, _ = smoothed(chain, runs, log_prob, weights)
    parts = np.split(log_prob, runs.bounds[1:-1])
    paths = [all_paths(chain, part) for part in parts]
    assert_allclose(
        np.add.reduceat(result.log_steps, runs.bounds[:-1]), [p.log_prob for p in paths], rtol=1e-13
    )
    assert_allclose(resp, np.concatenate([p.resp(3) for p in paths]), atol=1e-13)
    pairs = sum(w * p.pairs(3) for w, p in zip(weights, paths, strict=True))
    assert_allclose(result.pairs, pairs, atol=1e-13)
    first = sum(w * p.resp(3)[0] for w, p in zip(weights, paths, strict=True))
    assert_allclose(result.first, first, atol=1e-13)


def test_steps_are_those_of_prefixes(backend):
    rng = np.random.default_rng(1)
    chain, log_prob = random_chain(3, rng), rng.standard_normal((7, 3))
    result, _, recursions = smoothed(chain, runs_of_lengths([7]), log_prob)
    prefixes = [all_paths(chain, log_prob[: t + 1]).log_prob for t in range(7)]
    assert_allclose(np.cumsum(result.log_steps), prefixes, rtol=1e-13)
    steps, ends = recursions.filter()
    assert_allclose(steps, result.log_steps, rtol=1e-13)
    assert_allclose(ends[0], all_paths(chain, log_prob).resp(3)[-1], rtol=1e-12)


@pytest.mark.parametrize("spread", [1.0, 30.0, 400.0])
@pytest.mark.parametrize("zeros", [(), [(0, 1), (2, 0), (1, 2)]])
@pytest.mark.parametrize("cells", [2**20, 128])
def test_long_and_short_runs_as_in_logarithms(backend, monkeypatch, spread, zeros, cells):
    """Runs that are cut into segments or blocks; likelihoods that differ by thousands of nats."""
    set_block_cells(monkeypatch, cells)
    rng = np.random.default_rng(2)
    chain, runs = random_chain(4, rng, zeros), runs_of_lengths([3, 400, 1, 150, 40])
    log_prob = spread * rng.standard_normal((runs.n_rows, 4))
    weights = rng.uniform(0.5, 2, runs.n_runs)
    result, resp, _ = smoothed(chain, runs, log_prob, weights)
    exact = [run_posterior(chain, part) for part in np.split(log_prob, runs.bounds[1:-1])]
    # Rounding of a likelihood of so many nats.
    atol = 1e-12 * spread * 400
    assert_allclose(result.log_steps, np.concatenate([e.log_steps for e in exact]), atol=atol)
    assert_allclose(resp, np.concatenate([e.resp for e in exact]), atol=atol)
    pairs = sum(w * e.pairs for w, e in zip(weights, exact, strict=True))
    assert_allclose(result.pairs, pairs, atol=10 * atol)
    # Every row but the first of a run is reached by one transition.
    assert result.pairs.sum() == pytest.approx(weights @ (runs.lengths - 1), rel=1e-12)


@pytest.mark.parametrize("zeros", [(), [(0, 1)]])
def test_what_is_not_kept_is_computed_again_with_the_same_bits(backend, monkeypatch, zeros):
    set_block_cells(monkeypatch, 300)
    rng = np.random.default_rng(3)
    chain, runs = random_chain(3, rng, zeros), runs_of_lengths([700, 20, 5, 310])
    log_prob = 5 * rng.standard_normal((runs.n_rows, 3))
    kept, kept_resp, _ = smoothed(chain, runs, log_prob)
    monkeypatch.setattr(forward_backward, "KEPT_BYTES", 0)
    again, resp, _ = smoothed(chain, runs, log_prob)
    assert_array_equal(resp, kept_resp)
    for name in ("log_steps", "first", "pairs"):
        assert_array_equal(getattr(again, name), getattr(kept, name))


def test_block_size_changes_rounding_alone(backend, monkeypatch):
    rng = np.random.default_rng(4)
    chain, runs = random_chain(3, rng), runs_of_lengths([500, 300])
    log_prob = 5 * rng.standard_normal((runs.n_rows, 3))
    whole, resp, _ = smoothed(chain, runs, log_prob)
    set_block_cells(monkeypatch, 150)
    parts, other, _ = smoothed(chain, runs, log_prob)
    assert_allclose(other, resp, atol=1e-12)
    assert_allclose(parts.pairs, whole.pairs, rtol=1e-12)


def test_time_reversal(backend):
    """The reversed chain gives reversed data the same probability, under the stationary law."""
    rng = np.random.default_rng(5)
    transmat = rng.dirichlet(np.ones(4), 4)
    values, vectors = np.linalg.eig(transmat.T)
    stationary = np.real(vectors[:, np.argmax(values.real)])
    stationary /= stationary.sum()
    reversed_transmat = transmat.T * stationary / stationary[:, None]
    log_prob = 2 * rng.standard_normal((600, 4))
    runs = runs_of_lengths([600])
    forward, resp, _ = smoothed(MarkovChain(stationary, transmat), runs, log_prob)
    backward, reversed_resp, _ = smoothed(
        MarkovChain(stationary, reversed_transmat), runs, log_prob[::-1]
    )
    total = forward.log_prob(runs, None)
    assert backward.log_prob(runs, None) == pytest.approx(total, rel=1e-12)
    assert_allclose(reversed_resp[::-1], resp, atol=1e-10)
    assert_allclose(backward.pairs.T, forward.pairs, rtol=1e-9)


# ------------------------------------------------------------------------------- underflow


def left_right(K):
    """Return a chain that never goes back, from its first state on."""
    transmat = np.triu(np.ones((K, K)))
    return MarkovChain(np.eye(K)[0], transmat / transmat.sum(axis=1, keepdims=True))


def test_an_outlier_at_which_the_only_possible_state_is_hopeless(backend):
    """exp(-1e12) is 0 in float64: the likelihood is finite all the same."""
    chain, runs = left_right(2), runs_of_lengths([3, 2])
    log_prob = np.array([[-1e12, 0.0], [-3.0, -1.0], [-1e12, -2e12], [0.0, 0.0], [-1.0, -1.0]])
    result, resp, recursions = smoothed(chain, runs, log_prob)
    assert list(recursions.redone) == [0]
    paths = all_paths(chain, log_prob[:3])
    assert result.log_steps[:3].sum() == pytest.approx(paths.log_prob, rel=1e-15)
    assert_allclose(resp[:3], paths.resp(2), atol=1e-10)
    assert np.isfinite(result.pairs).all() and result.pairs.sum() == pytest.approx(3)


def test_a_loss_that_no_single_row_shows(backend):
    """A path falls by 1e-330 before the others lose 1e-200 twice: each step alone looks safe."""
    transmat = np.array([[1.0, 0.0], [0.0, 1.0]])
    chain, runs = MarkovChain(np.array([0.5, 0.5]), transmat), runs_of_lengths([5])
    log_prob = np.array([[-760.0, 0.0], [0.0, -460.0], [0.0, -460.0], [0.0, -5.0], [0.0, 0.0]])
    result, resp, recursions = smoothed(chain, runs, log_prob)
    paths = all_paths(chain, log_prob)
    assert list(recursions.redone) == [0]
    assert result.log_steps.sum() == pytest.approx(paths.log_prob, rel=1e-14)
    assert_allclose(resp, paths.resp(2), atol=1e-12)


def test_separate_states_without_return_are_not_done_again(backend):
    """States that stay impossible need no logarithms, however long the run."""
    chain, runs = left_right(3), runs_of_lengths([6000])
    log_prob = np.full((6000, 3), -2000.0)
    log_prob[np.arange(6000), np.repeat([0, 1, 2], 2000)] = 0.0
    result, resp, recursions = smoothed(chain, runs, log_prob)
    assert not recursions.redone
    assert_array_equal(resp.argmax(axis=1), np.repeat([0, 1, 2], 2000))
    assert result.pairs[0, 1] == pytest.approx(1.0)


IMPOSSIBLE = {
    "no state explains a row": (lambda rng: random_chain(3, rng), [(2, slice(None))]),
    "no path explains a row": (lambda rng: left_right(3), [(1, [0, 1]), (3, [1, 2])]),
    "the first row": (lambda rng: left_right(3), [(0, 0)]),
    "the last row, and another": (lambda rng: random_chain(3, rng), [(1, [0, 2]), (4, [0, 1, 2])]),
}  # fmt: skip


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_a_row_of_probability_zero_counts_as_missing(backend, kind):
    """Its step is -inf; later rows are conditional on the others: all paths of the run without."""
    rng = np.random.default_rng(9)
    chain, excluded = IMPOSSIBLE[kind][0](rng), IMPOSSIBLE[kind][1]
    log_prob, runs = rng.standard_normal((8, 3)), runs_of_lengths([5, 3])
    for row, states in excluded:
        log_prob[row, states] = -np.inf
    missing, impossible = log_prob[:5].copy(), []
    for t in range(5):
        if np.isneginf(all_paths(chain, missing[: t + 1]).log_prob):
            missing[t] = 0.0
            impossible.append(t)
    assert impossible
    result, resp, recursions = smoothed(chain, runs, log_prob)
    assert_array_equal(np.flatnonzero(np.isneginf(result.log_steps)), impossible)
    paths, other = all_paths(chain, missing), all_paths(chain, log_prob[5:])
    others = np.isfinite(result.log_steps[:5])
    assert result.log_steps[:5][others].sum() == pytest.approx(paths.log_prob, rel=1e-12)
    assert result.log_steps[5:].sum() == pytest.approx(other.log_prob, rel=1e-12)
    assert_allclose(resp, np.concatenate([paths.resp(3), other.resp(3)]), atol=1e-12)
    assert_allclose(result.pairs, paths.pairs(3) + other.pairs(3), atol=1e-12)
    steps, ends = recursions.filter()
    assert_array_equal(steps, result.log_steps)
    assert_allclose(ends, [paths.resp(3)[-1], other.resp(3)[-1]], atol=1e-12)
    filtered, again = recursions.posteriors()
    prefixes = [all_paths(chain, missing[: t + 1]).resp(3)[-1] for t in range(5)]
    assert_allclose(filtered[:5], prefixes, atol=1e-12)
    assert_array_equal(again, resp)


@pytest.mark.parametrize("lengths", [[120], [120, 110]])
def test_an_impossible_row_of_a_long_run(backend, lengths):
    """Segments behind it, of a chain that is not sparse: as if the row were missing."""
    chain, runs = random_chain(2, np.random.default_rng(0)), runs_of_lengths(lengths)
    log_prob = np.random.default_rng(1).standard_normal((sum(lengths), 2))
    missing = log_prob.copy()
    log_prob[5], missing[5] = -np.inf, 0.0
    result, resp, recursions = smoothed(chain, runs, log_prob)
    expected, without, _ = smoothed(chain, runs, missing)
    assert not recursions.redone
    assert_array_equal(np.flatnonzero(np.isneginf(result.log_steps)), [5])
    assert_array_equal(np.delete(result.log_steps, 5), np.delete(expected.log_steps, 5))
    assert_array_equal(resp, without)
    assert_array_equal(result.pairs, expected.pairs)


def test_many_improbable_rows_do_not_underflow(backend):
    rng = np.random.default_rng(6)
    chain = random_chain(2, rng)
    log_prob = np.tile(-700.0 * rng.random((1000, 2)), (100, 1))
    result, _, recursions = smoothed(chain, runs_of_lengths([100_000]), log_prob)
    assert np.isfinite(result.log_steps).all() and not recursions.redone


@pytest.mark.parametrize("order", ["C", "F"])
def test_half_log(backend, order):
    log_prob = np.array([[-1.0, -3.0], [-np.inf, -np.inf], [-5000.0, 7.0]], order=order)
    runs, chain = runs_of_lengths([3]), random_chain(2, np.random.default_rng(7))
    scaled, top = passes(chain, 3)(run_blocks(runs, 2)[0]).half_log(log_prob)
    assert_allclose(scaled, [[1.0, np.exp(-2)], [1.0, 1.0], [0.0, 1.0]])
    assert_array_equal(top, [-1.0, -np.inf, 7.0])


def test_memory_is_that_of_a_block_not_of_the_rows(backend, monkeypatch):
    """No array of shape (n_rows, K) is held for a long table."""
    set_block_cells(monkeypatch, 2**13)
    monkeypatch.setattr(forward_backward, "KEPT_BYTES", 0)
    chain, runs = random_chain(8, np.random.default_rng(8)), runs_of_lengths([40_000])

    def log_prob(rows):
        return -np.cos(np.arange(rows.start, rows.stop)[:, None] * np.arange(1.0, 9.0))

    recursions = ForwardBackward(chain, runs, log_prob)
    recursions.smooth(lambda block, resp: None)  # what is kept from one iteration to the next
    tracemalloc.start()
    recursions.smooth(lambda block, resp: None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * runs.n_rows * 8 / 2
