"""Threads share the work and leave no trace: not in the order, not in what BLAS may use."""

import threading
import time
import warnings
from contextvars import copy_context

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from skelbo.data.threads import map_in_order, n_threads, one_thread, own_threads, threads_for


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_are_taken_in_order(count):
    taken = []

    def work(item):
        time.sleep(0.002 * (item % 3 == 0))
        return item, threading.get_ident()

    map_in_order(work, range(20), count, taken.append)
    assert [item for item, _ in taken] == list(range(20))
    assert len({thread for _, thread in taken}) <= count


def test_few_results_wait_for_a_slow_one():
    """Work stops short of piling up behind the first item, which waits until it has."""
    begun, taken = [], []

    def work(item):
        begun.append(item)
        if item == 0:
            while len(begun) < 4:
                time.sleep(0.001)
            time.sleep(0.02)
            return len(begun)
        return None

    map_in_order(work, range(50), 2, taken.append)
    assert len(taken) == 50
    assert taken[0] == 4  # the three that may wait for it, and itself


def test_the_first_error_is_raised_and_ends_the_work():
    begun = []

    def work(item):
        begun.append(item)
        raise ZeroDivisionError(f"item {item}")

    with pytest.raises(ZeroDivisionError, match="item"):
        map_in_order(work, range(1000), 3)
    assert len(begun) <= 6


def test_numpy_warnings_are_those_of_the_caller():
    with np.errstate(invalid="ignore"):
        map_in_order(lambda item: np.sqrt(np.full(2, -1.0)), range(10), 2)
    with np.errstate(invalid="raise"), pytest.raises(FloatingPointError):
        map_in_order(lambda item: np.sqrt(np.full(2, -1.0)), range(10), 2)


def test_an_interrupt_ends_the_work():
    begun = []

    def interrupt(result):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_in_order(begun.append, range(1000), 2, interrupt)
    assert len(begun) <= 4
    assert n_threads() >= 1


def test_fits_side_by_side_give_threads_back():
    """A fit that begins during another leaves BLAS what both found, when both are over.

    Not before: what the second calls may limit BLAS too, and put back what it found then.
    """
    other, first, second = copy_context(), own_threads(), own_threads()
    with threadpool_limits(2, user_api="blas"):
        first.__enter__()
        other.run(second.__enter__)
        assert other.run(n_threads) == 1
        k_means = threadpool_limits(1, user_api="blas")
        first.__exit__(None, None, None)
        assert n_threads() == 1
        k_means.restore_original_limits()
        other.run(second.__exit__, None, None, None)
        assert n_threads() == 2


def test_no_more_threads_than_items():
    together = threading.Barrier(3)

    def work(item):
        together.wait(timeout=10)
        return threading.get_ident()

    threads = []
    map_in_order(work, range(3), 64, threads.append)
    map_in_order(work, [], 64)
    assert len(set(threads)) == 3


def test_threads_are_given_back():
    """Within, BLAS has one thread and we have the others; work in a thread has itself only."""
    before, seen = n_threads(), []
    with own_threads():
        assert n_threads() == before
        with own_threads():
            assert n_threads() == before
        map_in_order(lambda item: n_threads(), range(4), 2, seen.append)
    assert n_threads() == before
    assert seen == [1, 1, 1, 1]


def test_small_operations_stay_in_one_thread():
    """Those of BLAS, OpenMP and torch, which is imported after the first fit here."""
    torch = pytest.importorskip("torch")
    with threadpool_limits(2):
        for n_cells, expected in ((2**21 - 1, 1), (2**21, 2)):
            with threads_for(n_cells):
                assert n_threads() == expected
                assert torch.get_num_threads() == expected
        assert n_threads() == torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError), one_thread():
            raise ZeroDivisionError
        assert n_threads() == torch.get_num_threads() == 2


@pytest.mark.slow
def test_small_fits_stay_in_one_thread(iris):
    """A model of one's own, in fit and score, and a small network."""
    torch = pytest.importorskip("torch")
    from skelbo import MCEM, VAEEstimator, VariationalEM
    from skelbo.models import LatentVariableModel

    threads = set()

    class Mean(LatentVariableModel):
        n_latents = 1

        def initialize(self, X, rng):
            return {"mean": np.nanmean(X, axis=0)}

        def log_likelihood(self, X, Z, theta):
            threads.add(torch.get_num_threads())
            return -0.5 * ((X - theta["mean"] - Z) ** 2).sum(-1)

    class Decoder(torch.nn.Linear):
        def forward(self, z):
            if len(z) > 1:  # one row checks the shapes
                threads.add(torch.get_num_threads())
            return super().forward(z)

    with threadpool_limits(2), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for model in (
            VariationalEM(1, model=Mean()),
            MCEM(1, model=Mean(), max_iter=2),
            VAEEstimator(2, decoder=Decoder(2, 4), max_iter=2, hidden_layer_sizes=(4,)),
        ):
            model.set_params(n_importance_samples=100).fit(iris).score(iris)
        assert threads == {1}
        assert torch.get_num_threads() == 2
