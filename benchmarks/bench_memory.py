"""Does the memory of a fit stay bounded when the table does not fit?

    python benchmarks/bench_memory.py [--gb 10] [--iterations 2] [--folder DIR]

Writes a file of float64 rows (16 columns, 16 Gaussians) of the given size, fits it as a memory map
in a fresh process, scores its first hundredth, and prints the largest memory of that process that
belonged to itself (heap), and in all (with libraries and the pages of the file that are resident at
that time). Removes the file. Linux only: figures are read from /proc.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np

P, K, CHUNK = 16, 16, 2**16


def write(path, gigabytes):
    """Write the rows; return how many."""
    n = int(gigabytes * 1e9 / (8 * P))
    rng = np.random.default_rng(0)
    centres = 4.0 * rng.standard_normal((K, P))
    table = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(n, P))
    pool = centres[rng.integers(K, size=CHUNK)] + rng.standard_normal((CHUNK, P))
    for start in range(0, n, CHUNK):  # the same draws, moved a little: writing is not the point
        stop = min(start + CHUNK, n)
        table[start:stop] = pool[: stop - start] + 0.1 * rng.standard_normal(P)
    table.flush()
    return n


def resident():
    """Return MiB in memory: what is the process's own, all, and the largest that all ever was."""
    lines = Path("/proc/self/status").read_text().splitlines()
    size = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if "kB" in line}
    return size["RssAnon"], size["VmRSS"], size["VmHWM"]


def fit(path, iterations):
    """Fit the file, watching memory; print what was seen."""
    from skelbo import EMGaussianMixture

    warnings.simplefilter("ignore")
    X = np.load(path, mmap_mode="r")
    before, seen, done = resident(), [], threading.Event()

    def watch():
        while not done.wait(0.02):
            seen.append(resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    model = EMGaussianMixture(K, random_state=0, max_iter=iterations, tol=0.0).fit(X)
    seconds = time.perf_counter() - start
    model.score(X[: len(X) // 100])
    done.set()
    watcher.join()
    own, _, everything = (max(column) for column in zip(*seen, strict=True))
    print(f"{X.nbytes / 1e9:.1f} GB, {len(X)} x {P}, K = {K}, full, {iterations} iterations")
    print(f"own memory: {before[0]:.0f} MiB before, {own:.0f} MiB at most")
    print(f"resident in all (VmHWM): {before[1]:.0f} MiB before, {everything:.0f} MiB at most")
    print(f"{seconds:.1f} s, log p {model.lower_bound_:.4f} nats per row")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gb", type=float, default=10.0)
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--folder", default=None)
    parser.add_argument("--fit", default=None, help="fit this file (used by the program itself)")
    args = parser.parse_args()
    if args.fit is not None:
        fit(args.fit, args.iterations)
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = str(Path(folder) / "rows.npy")
        write(path, args.gb)
        command = [sys.executable, __file__, "--fit", path, "--iterations", str(args.iterations)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
