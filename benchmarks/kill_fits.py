"""Fits killed at random moments, and resumed: do they end with the bits of one that was not?

    python benchmarks/kill_fits.py [--kills 20] [--fit mcem] [--seed 0]

For each kind of fit a child process is killed by SIGKILL at a random moment of a fit that writes a
checkpoint after every iteration, and another child fits again with the same checkpoint. Its result
is compared with that of a fit without interruption, as files of the estimators: every parameter,
bound and state of a generator to the bit. Prints, for each fit, how many kills left a checkpoint,
in how many iterations the resumed fits went on, and how many ended elsewhere (0).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np  # noqa: E402

from skelbo import (  # noqa: E402
    MCEM,
    EMGaussianMixture,
    EMHiddenMarkovModel,
    EMMixture,
    GANEstimator,
    GaussianMLE,
    VAEEstimator,
    VariationalEM,
    VQVAEEstimator,
)
from skelbo.callbacks import Checkpoint  # noqa: E402
from skelbo.persistence.estimator_file import packed  # noqa: E402

RNG = np.random.default_rng(0)
Z = RNG.standard_normal((600, 2))
X = Z @ RNG.standard_normal((2, 5)) + 0.5 * RNG.standard_normal((600, 5))
HOLES = np.where(RNG.random(X.shape) < 0.15, np.nan, X)
COLLINEAR = X[:, :1] * np.arange(1.0, 6.0) + 0.3 * X
ANSWERS = (RNG.random(X.shape) < 1 / (1 + np.exp(-2 * X))) + 0.0
WEIGHTS = RNG.integers(1, 4, len(X)) + 0.0


def on_disk() -> np.ndarray:
    """Return rows in a memory map."""
    path = Path(tempfile.gettempdir()) / f"skelbo-rows-{os.getpid()}.npy"
    np.save(path, X)
    rows = np.load(path, mmap_mode="r")
    path.unlink()
    return rows


def in_dask() -> Any:
    """Return rows in a Dask array."""
    import dask
    import dask.array

    dask.config.set(scheduler="synchronous")
    return dask.array.from_array(X, chunks=(200, 5))


def mixture(**options: Any) -> EMGaussianMixture:
    """Return a mixture that needs many iterations."""
    return EMGaussianMixture(4, **{"tol": 0.0, "max_iter": 60, "random_state": 1, **options})


NET = {"hidden_layer_sizes": (16,), "batch_size": 64, "random_state": 0}
# Name -> the estimator, its rows, and keywords of `fit`.
FITS: dict[str, Callable[[], tuple[Any, Any, dict[str, Any]]]] = {
    "gaussian, holes": lambda: (GaussianMLE(tol=0.0, max_iter=60), HOLES, {}),
    "mixture, restarts": lambda: (
        EMGaussianMixture(3, n_init=6, max_iter=25, tol=0.0, init_params="random"),
        X,
        {},
    ),
    "mixture, holes": lambda: (mixture(), HOLES[:200], {"sample_weight": WEIGHTS[:200]}),
    "mixture, factor": lambda: (mixture(covariance_type="factor"), X, {}),
    "mixture, gradient": lambda: (mixture(solver="gradient"), X[:200], {}),
    "mixture, file": lambda: (mixture(), on_disk(), {}),
    "mixture, dask": lambda: (mixture(max_iter=25), in_dask(), {}),
    "mixture, columns": lambda: (
        EMMixture(2, likelihood=["bernoulli"] * 5, n_init=3, max_iter=30, tol=0.0, random_state=0),
        ANSWERS,
        {},
    ),
    "hidden markov": lambda: (
        EMHiddenMarkovModel(2, n_init=2, max_iter=25, tol=0.0, random_state=0),
        X,
        {"groups": np.arange(len(X)) // 100},
    ),
    "variational, starts": lambda: (VariationalEM(2, n_init=6, random_state=0), HOLES[:40], {}),
    "mcem": lambda: (MCEM(1, model="bernoulli", tol=1e-9, max_iter=8), ANSWERS[:40], {}),
    "mcem, saem": lambda: (
        MCEM(1, model="bernoulli", averaging="saem", max_iter=20, tol=1e-9, random_state=0),
        ANSWERS[:40],
        {},
    ),
    "mcem, gibbs": lambda: (
        MCEM(2, sampler="gibbs", n_init=2, max_iter=6, tol=1e-9, random_state=0),
        X[:25],
        {},
    ),
    "mcem, hmc": lambda: (
        MCEM(1, model="poisson", sampler="hmc", max_iter=6, tol=1e-9, random_state=0),
        np.round(np.exp(X[:20].clip(None, 2))),
        {},
    ),
    "vae": lambda: (VAEEstimator(2, max_iter=12, **NET), X, {}),
    "vae, plateau": lambda: (
        VAEEstimator(2, max_iter=15, early_stopping=True, n_iter_no_change=3, **NET),
        HOLES,
        {},
    ),
    "vae, factors": lambda: (VAEEstimator(1, max_iter=12, **NET), COLLINEAR, {}),
    "vqvae": lambda: (VQVAEEstimator(2, n_codes=8, max_iter=8, **NET), X[:300], {}),
    "gan": lambda: (
        GANEstimator(2, critic_layer_sizes=(16,), max_iter=6, n_critic=2, **NET),
        HOLES,
        {"sample_weight": WEIGHTS},
    ),
    "vae, sgd": lambda: (
        VAEEstimator(
            1, max_iter=12, optimizer="sgd", lr=1e-2, net_params={"optimizer__momentum": 0.9}, **NET
        ),
        X,
        {},
    ),
}


def fit(name: str, path: str, seed: int) -> str:
    """Fit with a checkpoint; return a digest of the result."""
    estimator, rows, keywords = FITS[name]()
    if estimator.get_params().get("random_state", 0) is None:
        estimator.set_params(random_state=np.random.RandomState(seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.set_callbacks(Checkpoint(path, every=0)).fit(rows, **keywords)
    return hashlib.sha256(packed(estimator)).hexdigest()


def in_child(name: str, path: str, seed: int, kill_after: float | None = None) -> str:
    """Fit in a child process, killed after so many seconds; return the digest, or ""."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(write, fit(name, path, seed).encode())
            status = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(write)
    if kill_after is not None:
        select.select([read], [], [], kill_after)  # no longer than the fit itself
        os.kill(child, signal.SIGKILL)
    with os.fdopen(read) as result:
        digest = result.read()
    os.waitpid(child, 0)
    return digest


def trial(name: str, kills: int, rng: np.random.Generator) -> tuple[int, int]:
    """Return how many kills left a checkpoint, and how many fits ended elsewhere."""
    with tempfile.TemporaryDirectory() as folder:
        path, seed = f"{folder}/fit", int(rng.integers(2**31))
        fit(name, path, seed)  # imports and compiles, for all children
        begin = time.monotonic()
        expected = in_child(name, path, seed)
        length = time.monotonic() - begin
        assert expected
        assert not os.path.exists(path)
        left = different = 0
        while left < kills:
            begin = time.monotonic()
            finished = in_child(name, path, seed, rng.uniform(0.1, 1.0) * length)
            if finished:  # the machine is less busy than it was
                length = min(length, time.monotonic() - begin)
            if finished or not os.path.exists(path):
                continue
            left += 1
            different += in_child(name, path, seed) != expected or os.path.exists(path)
            different += len(os.listdir(folder)) > 0
        return left, different


def main() -> None:
    """Run the trials."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--fit", choices=FITS, help="only this one")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, total = np.random.default_rng(args.seed), 0
    print(f"{'fit':<22}{'killed with a checkpoint':>25}{'ended elsewhere':>17}")
    for name in [args.fit] if args.fit else FITS:
        left, different = trial(name, args.kills, rng)
        total += different
        print(f"{name:<22}{left:>25}{different:>17}", flush=True)
    sys.exit(total > 0)


if __name__ == "__main__":
    main()
