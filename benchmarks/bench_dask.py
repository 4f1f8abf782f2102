"""Cost of Dask, the number of reads of the data, and fits during which a worker is killed.

    python benchmarks/bench_dask.py [--blocks 4 16 64 256] [--kills 20]

First table: milliseconds per EM iteration (256000 x 8, 8 components, full covariances) in memory,
on Dask's threads and on a cluster of two worker processes, by number of blocks; what the cluster
takes beyond the time in memory, per block; and how often each block was read, in a whole fit of a
persisted collection and of a lazy one. The
workers' allocator is set up as by the line `ALLOCATOR` below: Dask's own setting gives every large
temporary back to the system at once, which makes EM about three times slower. --plain leaves that.

With --kills N: N fits during each of which a worker is killed at a random moment, compared bit by
bit with the synchronous scheduler's.
"""

import argparse
import logging
import os
import random
import signal
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

from skelbo import EMGaussianMixture
from skelbo.mixture.backends import numba_pass

N_ROWS, N_COLUMNS = 256_000, 8
TIMEOUT = 120
# A worker that is killed again before it is back is otherwise given up by LocalCluster.
PATIENT = {"distributed.deploy.lost-worker-timeout": "1h"}
ALLOCATOR = {"distributed.nanny.pre-spawn-environ.MALLOC_TOP_PAD_": 2**26}


def load(index, n_rows, folder):
    """Make a block of rows, and leave a note that it was made."""
    (Path(folder) / uuid4().hex).touch()
    rng = np.random.default_rng(index)
    return rng.standard_normal((n_rows, N_COLUMNS)) + 3.0 * rng.integers(8, size=(n_rows, 1))


def lazy_table(n_blocks, n_rows, folder):
    """Return a Dask array whose blocks are made when they are needed."""
    shape = n_rows // n_blocks, N_COLUMNS
    make = dask.delayed(load)
    blocks = [da.from_delayed(make(i, shape[0], folder), shape, float) for i in range(n_blocks)]
    return da.concatenate(blocks)


def fit(X, n_iter):
    model = EMGaussianMixture(8, max_iter=n_iter, tol=0.0, acceleration=None, random_state=0)
    return model.fit(X)


def ms_per_iteration(X):
    """Return the milliseconds that ten more iterations take, each."""
    seconds = {}
    for n_iter in (2, 12):
        start = time.perf_counter()
        fit(X, n_iter)
        seconds[n_iter] = time.perf_counter() - start
    return 100 * (seconds[12] - seconds[2])


def count(folder):
    """Return how many notes were left, and remove them."""
    notes = list(Path(folder).iterdir())
    for note in notes:
        note.unlink()
    return len(notes)


def cost(block_counts, folder):
    titles = f"{'blocks':>7}{'memory':>9}{'threads':>9}{'cluster':>9}"
    print(f"{titles}{'beyond, per block':>19}{'loads':>7}{'lazy':>7}")
    for n_blocks in block_counts:
        lazy = lazy_table(n_blocks, N_ROWS, folder)
        with dask.config.set(scheduler="threads"):
            rows = lazy.compute()
            threads = ms_per_iteration(da.from_array(rows, chunks=(N_ROWS // n_blocks, N_COLUMNS)))
        memory = ms_per_iteration(rows)
        count(folder)
        kept = lazy.persist()
        cluster = ms_per_iteration(kept)
        loads = count(folder) / n_blocks
        fit(lazy, 12)
        line = f"{n_blocks:>7}{memory:>9.1f}{threads:>9.1f}{cluster:>9.1f}"
        beyond = (cluster - memory) / n_blocks
        lazily = count(folder) / n_blocks
        print(f"{line}{beyond:>16.2f} ms{loads:>7.1f}{lazily:>7.1f}", flush=True)


def same(a, b):
    return a.lower_bounds_ == b.lower_bounds_ and np.array_equal(a.covariances_, b.covariances_)


def kills(n_fits, cluster, client, folder):
    lazy = lazy_table(16, 32_000, folder)
    with dask.config.set(scheduler="synchronous"):
        expected = fit(lazy, 20)
    start = time.perf_counter()
    undisturbed = fit(lazy, 20)
    length = time.perf_counter() - start
    identical = done = late = 0
    while done < n_fits:
        client.wait_for_workers(2)
        count(folder)
        delay = length * random.random()
        with ThreadPoolExecutor(1) as thread:
            future = thread.submit(fit, lazy, 20)
            time.sleep(delay)
            if not (hit := not future.done() and kill_one(cluster)):
                late += 1
            try:
                got = future.result(timeout=TIMEOUT)
            except TimeoutError:
                print(f"hung after a kill at {delay:.2f} s", flush=True)
                os._exit(1)
        if not hit:
            continue
        done += 1
        identical += same(got, expected)
        result = "identical" if same(got, expected) else "DIFFERENT"
        loads = f"{count(folder)} loads of 16 blocks"
        print(f"fit {done}: killed after {delay:.2f} s, {loads}, {result}", flush=True)
    print(
        f"{identical} of {n_fits} fits with a worker killed bit for bit those of the synchronous "
        f"scheduler, none hung (undisturbed: {same(undisturbed, expected)}; {late} kills came "
        "after the end of a fit and do not count)"
    )


def kill_one(cluster):
    """Kill a worker process; return whether there was one to kill."""
    pids = [worker.pid for worker in cluster.workers.values() if worker.pid]
    try:
        os.kill(random.choice(pids), signal.SIGKILL)
    except (IndexError, ProcessLookupError):
        return False
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", nargs="*", type=int, default=[4, 16, 64, 256])
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="leave Dask's allocator setting")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    numba_pass.MIN_WORK = np.inf  # passes over a collection are not compiled, so none is here
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": logging.CRITICAL}
    with (
        dask.config.set(PATIENT if args.plain else {**PATIENT, **ALLOCATOR}),
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(n_workers=2, **options) as cluster,
        Client(cluster) as client,
    ):
        cost(args.blocks, folder)
        if args.kills:
            kills(args.kills, cluster, client, folder)


if __name__ == "__main__":
    main()
