"""Schedulers and clusters: the same bits wherever blocks are computed, and when workers die."""

import logging
import os
import signal
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import dask
import dask.array as da
import pytest
from distributed import Client, LocalCluster, wait
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skelbo import EMGaussianMixture
from tests.data.dask_collections import count_notes, noted


@pytest.mark.slow
def test_same_blocks_same_bits_on_every_scheduler(faithful):
    X = da.from_array(faithful, chunks=(20, 2))
    model = EMGaussianMixture(2, max_iter=4, tol=0.0, random_state=0)
    fits = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for options in (
            {"scheduler": "synchronous"},
            {"scheduler": "threads", "num_workers": 3},
            {"scheduler": "processes", "pool": pool},
        ):
            with dask.config.set(options), pytest.warns(ConvergenceWarning):
                fits.append(clone(model).fit(X))
    for fit in fits[1:]:
        assert fit.lower_bounds_ == fits[0].lower_bounds_
        assert_array_equal(fit.means_, fits[0].means_)
        assert_array_equal(fit.covariances_, fits[0].covariances_)


@pytest.fixture
def cluster():
    """Two worker processes on this machine."""
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": logging.CRITICAL}
    with LocalCluster(n_workers=2, **options) as cluster, Client(cluster):
        yield cluster


class Killer:
    """A callback that kills a worker a moment after an iteration."""

    max_propagation_depth = None

    def __init__(self, cluster, victim, iteration):
        self.cluster, self.victim, self.iteration = cluster, victim, iteration

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context, *, metadata=None):
        if metadata and metadata.get("n_iter") == self.iteration:
            pid = self.cluster.workers[self.victim].pid
            threading.Timer(0.01 * self.iteration, os.kill, (pid, signal.SIGKILL)).start()


@pytest.mark.slow
def test_a_killed_worker_changes_nothing(cluster, tmp_path):
    """Fits during which a worker is killed end with the same bits."""
    X = noted(tmp_path, 8)
    model = EMGaussianMixture(3, max_iter=12, tol=0.0, random_state=0)

    def loads_of(fit, X=X):
        count_notes(tmp_path)
        with warnings.catch_warnings(), ThreadPoolExecutor(1) as thread:
            warnings.simplefilter("ignore", ConvergenceWarning)
            return thread.submit(fit, X).result(timeout=240), count_notes(tmp_path)

    with dask.config.set(scheduler="synchronous"):
        expected, _ = loads_of(clone(model).fit)
    fits = [loads_of(clone(model).fit)]
    persisted = X.persist()
    wait(persisted)
    for again in (persisted, persisted * 1.0):  # kept by the user, and what is made of that
        fits.append(loads_of(clone(model).fit, again))
        assert fits[-1][1] == 0
    for victim, iteration in ((0, 2), (1, 6)):
        killed = clone(model).set_callbacks(Killer(cluster, victim, iteration))
        fits.append(loads_of(killed.fit, persisted))
        assert fits[-1][1] > 0  # something was lost and read again
    for got, _ in fits:
        assert got.lower_bounds_ == expected.lower_bounds_
        assert_array_equal(got.means_, expected.means_)
        assert_array_equal(got.covariances_, expected.covariances_)
