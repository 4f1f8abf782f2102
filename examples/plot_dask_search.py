"""
How many clusters are in a Dask array
=====================================

The table is a Dask array of which only blocks are ever in memory. Each candidate is one distributed
fit: blocks are read on the workers, additive statistics come back. Candidates therefore run one
after another, each on all workers (n_jobs=None); joblib's "dask" backend would instead copy the
whole table to every worker. BIC takes one more pass a candidate, GridSearchCV a fit per fold.

    python examples/plot_dask_search.py
"""

import logging
import time

import dask
import dask.array as da
import numpy as np
from dask.distributed import Client, LocalCluster
from sklearn.model_selection import GridSearchCV

from skelbo import EMGaussianMixture
from skelbo.display import ModelSelectionDisplay

N_BLOCKS, ROWS = 6, 5000
CENTRES = np.array([[0, 0, 0], [5, 0, 0], [0, 5, 0], [5, 5, 6]], dtype=float)


def block(number):
    """Read one block: here it is made up, elsewhere it is a file."""
    rng = np.random.default_rng(number)
    stretched = rng.standard_normal((ROWS, 3)) * [1.0, 0.5, 2.0]
    return CENTRES[rng.integers(len(CENTRES), size=ROWS)] + stretched


def main():
    blocks = [da.from_delayed(dask.delayed(block)(i), (ROWS, 3), float) for i in range(N_BLOCKS)]
    X = da.concatenate(blocks).persist()  # each iteration would make the blocks anew
    print(f"{X.shape[0]} rows in {X.numblocks[0]} blocks")

    start = time.perf_counter()
    numbers, criterion = (2, 3, 4, 5), []
    for K in numbers:
        model = EMGaussianMixture(K, covariance_type="tied", tol=1e-6, random_state=0).fit(X)
        criterion.append(model.bic(X))
        print(f"  {K} clusters: BIC {criterion[-1]:9.1f} after {model.n_iter_} iterations")
    print(f"four fits and their BIC in {time.perf_counter() - start:.1f} s")

    model = EMGaussianMixture(4, tol=1e-6, random_state=0)
    search = GridSearchCV(model, {"covariance_type": ["full", "tied"]}, cv=2).fit(X)
    for kind, score in zip(("full", "tied"), search.cv_results_["mean_test_score"], strict=True):
        print(f"  {kind}: {score:.4f} nats per held-out row")

    best = search.best_estimator_
    labels = best.predict(X)  # lazy: nothing has been computed yet
    print("rows per cluster:", da.bincount(labels, minlength=4).compute())
    print("the fitted model itself is NumPy:", best.means_.round(1).tolist())
    results = {"param_n_components": numbers, "criterion": criterion}
    ModelSelectionDisplay(results=results, best_index=int(np.argmin(criterion))).plot()


if __name__ == "__main__":
    # Dask's own allocator setting makes large temporaries slow; this line makes up for it.
    dask.config.set({"distributed.nanny.pre-spawn-environ.MALLOC_TOP_PAD_": 2**26})
    options = {"threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": logging.CRITICAL}
    with LocalCluster(n_workers=2, **options) as cluster, Client(cluster):
        main()
