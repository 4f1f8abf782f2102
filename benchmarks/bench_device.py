"""Speed of an EM iteration on a torch device beside the NumPy path.

    python benchmarks/bench_device.py [--device cuda] [--types full tied diag spherical]

Columns: milliseconds per EM iteration from the same parameters, medians of alternating runs, data
moved beforehand; ratio = NumPy / device, so that more than 1 means that the device is faster; and
the difference of the bounds, in nats per row. Wall time; CPU time if the device is the CPU, which
is only there to show that the code runs. Beside it, where they are installed: gmmx and torchgmm on
the same device, milliseconds per iteration and the difference of their bound from that of NumPy
after five iterations.
"""

import argparse
import statistics
import time
import warnings

import numpy as np
import torch
from bench_em import blobs
from device_peers import installed
from timing import seconds

from skelbo.data.column_moments import ColumnMoments
from skelbo.data.rows import Rows
from skelbo.gaussian.regularization import Floor
from skelbo.gaussian.structures import STRUCTURES
from skelbo.mixture.backends.torch_pass import DeviceTable
from skelbo.mixture.initialization import start_mixture
from skelbo.mixture.row_sample import sample_rows

SHAPES = [(100_000, 8, 8), (50_000, 32, 16), (20_000, 100, 8), (200_000, 8, 32), (200_000, 16, 256)]
N_ITER = 5
TYPES = ["full", "tied", "diag", "spherical"]


def start_of(X, K, kind):
    """Return rows about their centre, where to start, and how covariances are made regular."""
    structure = STRUCTURES[kind]
    rows = Rows(X, cells_per_row=structure.row_cells(K, X.shape[1])[0])
    columns = ColumnMoments.of_rows(rows)
    rows, rule = rows.about(columns.mean), Floor(columns.positive_variance)
    rng = np.random.RandomState(0)
    return rows, start_mixture("k-means++", sample_rows(rows, K), K, structure, rule, rng), rule


def case(rows, theta, rule, device, repeats, clock):
    """Return seconds per iteration with NumPy and on the device, and the difference of bounds."""
    table = DeviceTable(rows, device)
    paths = [lambda: theta.e_step(rows), lambda: table.e_step(theta)]
    bounds = [path()[0] for path in paths]  # the data move, caches warm up
    steps = [lambda path=path: theta.m_step(path()[1], rule) for path in paths]
    times = [[seconds(step, clock) for step in steps] for _ in range(repeats)]
    return *(statistics.median(column) for column in zip(*times, strict=True)), np.ptp(bounds)


def beside(rows, theta, rule, kind, peers, device, clock, limit):
    """Return one entry per peer: milliseconds per iteration, and how far off its bound is."""
    arguments = rows.X - rows.origin, theta, kind, device, N_ITER, clock, limit
    for _ in range(N_ITER - 1):
        theta = theta.m_step(theta.e_step(rows)[1], rule)
    bound = theta.e_step(rows)[0]
    found = [peer(*arguments) for peer in peers.values()]
    return [None if one is None else (1e3 * one[0], one[1] - bound) for one in found]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--types", nargs="+", default=TYPES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--gib", type=float, default=1.0, help="of a peer's largest array")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    on_cpu = torch.device(args.device).type == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter
    name = "the CPU" if on_cpu else torch.cuda.get_device_name(args.device)
    peers = installed()
    print(f"torch {torch.__version__} on {name}, float64; NumPy {np.__version__}")
    print(f"{'n':>7}{'p':>5}{'K':>5} {'type':<10}", end="")
    print(f"{'NumPy':>9}{'device':>9}{'ratio':>7}{'difference':>12}", end="")
    print("".join(f"{peer:>14}{'difference':>12}" for peer in peers))
    rng, ratios = np.random.default_rng(0), []
    for n, p, K in SHAPES:
        X = blobs(n, p, K, rng)
        for kind in args.types:
            rows, theta, rule = start_of(X, K, kind)
            numpy, device, difference = case(rows, theta, rule, args.device, args.repeats, clock)
            ratios.append(numpy / device)
            print(f"{n:>7}{p:>5}{K:>5} {kind:<10}", end="")
            print(f"{1e3 * numpy:>9.1f}{1e3 * device:>9.1f}", end="")
            print(f"{ratios[-1]:>7.2f}{difference:>12.1e}", end="", flush=True)
            limit = args.gib * 2**30
            for one in beside(rows, theta, rule, kind, peers, args.device, clock, limit):
                print(f"{one[0]:>14.1f}{one[1]:>12.1e}" if one else " " * 26, end="")
            print(flush=True)
    mean = statistics.geometric_mean(ratios)
    print(f"geometric mean {mean:.2f}, smallest {min(ratios):.2f}")


if __name__ == "__main__":
    main()
