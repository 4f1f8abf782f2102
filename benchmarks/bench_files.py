"""Files of fitted estimators beside pickle and skops: size, and CPU time to write and to read.

    python benchmarks/bench_files.py

Each is written to and read from the same folder, best of `REPEATS`. The peers are pickle and, where
it is installed, skops, which executes nothing of a file either. Milliseconds of CPU time of one
thread, which leave out waiting for the disk.
"""

from __future__ import annotations

import os
import pickle
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")

import numpy as np  # noqa: E402

REPEATS = 5


def fitted() -> dict[str, Any]:
    """Return fitted estimators, small and large."""
    from skelbo import MCEM, EMGaussianMixture, GaussianMLE, VAEEstimator, VariationalEM

    rng = np.random.default_rng(0)
    X, wide = rng.standard_normal((300, 5)), rng.standard_normal((400, 200))
    answers = (X > 0) + 0.0
    net = {"max_iter": 1, "early_stopping": False, "random_state": 0}
    return {
        "GaussianMLE, 5 columns": GaussianMLE().fit(X),
        "EMGaussianMixture, 3 x 5": EMGaussianMixture(3, random_state=0, max_iter=5).fit(X),
        "EMGaussianMixture, 20 x 200": EMGaussianMixture(20, random_state=0, max_iter=2).fit(wide),
        "VariationalEM, 2 binary": VariationalEM(2, random_state=0, max_iter=20).fit(X),
        "MCEM, 1 trait": MCEM(1, model="bernoulli", random_state=0, max_iter=2).fit(answers),
        "VAEEstimator, 128 x 128": VAEEstimator(2, **net).fit(X),
    }


def ways(kind: type) -> dict[str, tuple[Callable[..., Any], Callable[..., Any]]]:
    """Return by name how an estimator is written to a path, and read from it."""
    found = {
        "skelbo": (lambda model, path: model.to_file(path), kind.from_file),  # type: ignore[attr-defined]
        "pickle": (
            lambda model, path: Path(path).write_bytes(pickle.dumps(model)),
            lambda path: pickle.loads(Path(path).read_bytes()),
        ),
    }
    try:
        import skops.io
    except ImportError:
        return found

    def load(path: str) -> Any:
        return skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))

    return {**found, "skops": (skops.io.dump, load)}


def best(action: Callable[[], Any]) -> float:
    """Return the smallest CPU time of several calls, in milliseconds."""
    times = []
    for _ in range(REPEATS):
        begin = time.process_time()
        action()
        times.append(time.process_time() - begin)
    return 1e3 * min(times)


def main() -> None:
    """Print the table."""
    print(f"{'estimator':<28}{'file':<9}{'kB':>10}{'write, ms':>11}{'read, ms':>10}")
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        for name, model in fitted().items():
            for way, (write, read) in ways(type(model)).items():
                path = f"{folder}/{way}"
                try:
                    seconds = best(partial(write, model, path)), best(partial(read, path))
                except Exception as error:  # a peer that has no file for it
                    print(f"{name:<28}{way:<9} {type(error).__name__}: {str(error)[:60]}")
                    continue
                size = os.path.getsize(path) / 1e3
                numbers = f"{size:>10.1f}{seconds[0]:>11.1f}{seconds[1]:>10.1f}"
                print(f"{name:<28}{way:<9}{numbers}", flush=True)


if __name__ == "__main__":
    main()
