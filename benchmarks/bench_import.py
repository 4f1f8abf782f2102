"""Cost of importing, beside scikit-learn's own mixture module.

    python benchmarks/bench_import.py

Each import runs in a fresh interpreter, by turns; medians of 15, interpreter start subtracted.
"""

import statistics
import subprocess
import sys
import time

CODE = {
    "nothing": "pass",
    "import sklearn.mixture": "import sklearn.mixture",
    "import skelbo": "import skelbo",
    "from skelbo import EMGaussianMixture": "from skelbo import EMGaussianMixture",
}


def seconds(code):
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def main():
    times = {name: [] for name in CODE}
    for _ in range(16):
        for name, code in CODE.items():
            times[name].append(seconds(code))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    base = medians.pop("nothing")
    theirs = medians["import sklearn.mixture"] - base
    for name, median in medians.items():
        print(f"{name:<40}{1e3 * (median - base):>8.0f} ms   x {(median - base) / theirs:.2f}")


if __name__ == "__main__":
    main()
