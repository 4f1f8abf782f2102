"""Cost of small fits beside other processes that keep every core busy.

    python benchmarks/bench_busy.py [--processes N] [--repeats 3]

Seconds by the clock of whole fits in a process with as many threads as cores: on the machine as it
is, beside N busy processes (twice the cores by default), and there with one thread for everything
(OMP_NUM_THREADS=1 and its relatives). Small fits limit themselves to one thread, so that the last
two columns should be alike; a share of the cores is all that a busy machine leaves to either. The
last row, a sum over torch tensors of 2^16 cells in as many threads as cores, is what an operation
in several threads costs there.
"""

import argparse
import os
import subprocess
import sys

VARIABLES = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"
FITS = ("own model by MCEM", "own model by VariationalEM", "VAE", "mixture", "torch sums")


def job(name):
    """Return a function that runs one fit."""
    import numpy as np
    import torch
    from sklearn.datasets import load_wine

    from skelbo import MCEM, EMGaussianMixture, VAEEstimator, VariationalEM
    from skelbo.models import LatentVariableModel

    class Factor(LatentVariableModel):
        n_latents = 1
        constraints = {"noise": "positive"}

        def initialize(self, X, rng):
            p = X.shape[1]
            return {"loadings": np.full(p, 0.1), "mean": X.mean(0), "noise": X.var(0)}

        def log_likelihood(self, X, Z, theta):
            mean = theta["mean"] + Z * theta["loadings"]
            square = (X - mean) ** 2 / theta["noise"]
            return -0.5 * (square + torch.log(2 * torch.pi * theta["noise"])).sum(-1)

    X = load_wine().data
    X = (X - X.mean(0)) / X.std(0)
    tensor = torch.randn(2**16)
    return {
        "own model by MCEM": lambda: MCEM(1, model=Factor(), max_iter=2, random_state=0).fit(X),
        "own model by VariationalEM": lambda: VariationalEM(1, model=Factor()).fit(X),
        "VAE": lambda: VAEEstimator(2, max_iter=5, early_stopping=False, random_state=0).fit(X),
        "mixture": lambda: [EMGaussianMixture(3, random_state=s).fit(X) for s in range(20)],
        "torch sums": lambda: [torch.exp(tensor).sum() for _ in range(500)],
    }[name]


def measure(name, repeats):
    """Print the seconds of the fastest run."""
    import time
    import warnings

    warnings.simplefilter("ignore")
    run, seconds = job(name), []
    run()
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    print(min(seconds))


def seconds_of(name, repeats, **environment):
    command = [sys.executable, __file__, "--measure", name, "--repeats", str(repeats)]
    inherited = {k: v for k, v in os.environ.items() if k not in VARIABLES}
    output = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**inherited, **environment}
    )
    return float(output.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", default=None, help="one job (used by the program itself)")
    args = parser.parse_args()
    if args.measure is not None:
        measure(args.measure, args.repeats)
        return
    print(f"{os.cpu_count()} cores, {args.processes} busy processes; seconds")
    print(f"{'':<28}{'as it is':>10}{'busy':>10}{'busy, one thread':>18}")
    one = dict.fromkeys(VARIABLES, "1")
    for name in FITS:
        quiet = seconds_of(name, args.repeats)
        spinners = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"])
            for _ in range(args.processes)
        ]
        try:
            busy, alone = seconds_of(name, args.repeats), seconds_of(name, args.repeats, **one)
        finally:
            for process in spinners:
                process.kill()
                process.wait()
        print(f"{name:<28}{quiet:>10.2f}{busy:>10.2f}{alone:>18.2f}", flush=True)


if __name__ == "__main__":
    main()
