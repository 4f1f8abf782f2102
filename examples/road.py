"""The road from MLE to EM to VAE on real data, in one table and one picture.

    python examples/road.py [--output road.png]

Every estimator of the library is fitted to the same training rows and judged on the same held-out
rows in the same unit: log p(x) in nats per row, in the units of the data, all constants included.
Later estimators add one line to `ESTIMATORS`.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from skelbo import ELBOMonitor, EMGaussianMixture, GaussianMLE

DATA = Path(__file__).parent / "data" / "faithful.csv"


def faithful():
    """Return Old Faithful: minutes of eruption, minutes of waiting (272 rows)."""
    return np.loadtxt(DATA, delimiter=",", skiprows=1)


def digits():
    """Return scikit-learn's digits as densities need them: pixels plus uniform noise.

    Counts 0..16 have no density; x + u with u uniform on [0, 1) does, and its log-density bounds
    the log-probability of the counts from below (Theis, van den Oord and Bethge 2016).
    """
    X = load_digits().data
    return X + np.random.default_rng(0).random(X.shape)


# One line per estimator: data set -> (name in the table, estimator).
ESTIMATORS = {
    "Old Faithful (2 columns)": [
        ("GaussianMLE", GaussianMLE()),
        ("EMGaussianMixture, 2 full", EMGaussianMixture(2, random_state=0)),
        ("EMGaussianMixture, 3 tied", EMGaussianMixture(3, covariance_type="tied", random_state=0)),
    ],
    "Digits (64 columns)": [
        ("GaussianMLE", GaussianMLE()),
        ("GaussianMLE, diag", GaussianMLE("diag")),
        ("EMGaussianMixture, 10 tied", EMGaussianMixture(10, covariance_type="tied", n_init=2)),
        ("EMGaussianMixture, 30 diag", EMGaussianMixture(30, covariance_type="diag", n_init=2)),
    ],
}
TABLES = {"Old Faithful (2 columns)": faithful, "Digits (64 columns)": digits}


def evaluate(estimator, train, test):
    """Fit; return held-out log-likelihood, its standard error, ELBO, gap and seconds."""
    start = time.perf_counter()
    estimator.fit(train)
    seconds = time.perf_counter() - start
    log_prob, std = estimator.score_samples(test, return_std=True)
    # Rows are a sample (first term); estimates share their noise, so errors may add up (second).
    error = np.hypot(log_prob.std(ddof=1) / np.sqrt(len(test)), std.mean())
    elbo = estimator.elbo(test).mean()
    return log_prob.mean(), error, elbo, log_prob.mean() - elbo, seconds


def run(title, monitors):
    """Fit and print one table; return the fitted estimators by name."""
    train, test = train_test_split(TABLES[title](), test_size=0.3, random_state=0)
    print(f"\n{title}: {len(train)} rows to fit, {len(test)} held out; nats per row")
    columns = f"{'log p(x)':>10} {'+-':>6} {'ELBO':>10} {'gap':>8} {'parameters':>11} {'s':>7}"
    print(f"  {'estimator':<28}{columns}", flush=True)
    for name, estimator in ESTIMATORS[title]:
        monitors[title, name] = ELBOMonitor()
        if "random_state" in estimator.get_params():
            estimator.set_params(random_state=0)
        estimator.set_callbacks(monitors[title, name])
        print(f"  {name:<28}", end="", flush=True)
        score, error, elbo, gap, seconds = evaluate(estimator, train, test)
        numbers = f"{score:>10.3f} {error:>6.3f} {elbo:>10.3f} {max(gap, 0):>8.3f}"
        print(f"{numbers} {estimator.n_parameters_:>11} {seconds:>7.2f}", flush=True)
    return dict(ESTIMATORS[title])


def draw(fitted, monitors, output):
    """Write the densities of Old Faithful and the climb of every bound."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    X = faithful()
    fig, axes = plt.subplots(2, len(fitted), figsize=(4 * len(fitted), 7.5), squeeze=False)
    x, y = np.meshgrid(np.linspace(1, 6, 150), np.linspace(35, 105, 150))
    for ax, (name, estimator) in zip(axes[0], fitted.items(), strict=True):
        grid = np.column_stack([x.ravel(), y.ravel()])
        log_prob = estimator.score_samples(grid).reshape(x.shape)
        levels = log_prob.max() - np.array([8, 5, 3, 2, 1, 0.3])
        ax.contour(x, y, log_prob, levels=levels, cmap="viridis", linewidths=1)
        ax.plot(*X.T, ".", color="0.4", markersize=3)
        ax.set(title=name, xlabel="eruption (min)", ylabel="waiting (min)")
    for ax, title in zip(axes[1], TABLES, strict=False):
        for (data, name), monitor in monitors.items():
            if data == title:
                bounds = max(monitor.curves().values(), key=lambda curve: curve[-1])
                ax.plot(range(1, len(bounds) + 1), bounds, "o-", markersize=3, label=name)
        ax.set(title=f"The bound's climb: {title}", xlabel="iteration", ylabel="nats per row")
        ax.legend(fontsize=7)
    for ax in axes[1][len(TABLES) :]:
        ax.axis("off")
    fig.tight_layout()
    fig.savefig(output, dpi=110)
    print(f"\nThe picture is in {output}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="road.png", help="where the picture goes")
    args = parser.parse_args()
    # An iteration limit on digits is said in the table's own terms: the held-out score.
    warnings.simplefilter("ignore", ConvergenceWarning)
    monitors = {}
    fitted = [run(title, monitors) for title in TABLES]
    draw(fitted[0], monitors, args.output)


if __name__ == "__main__":
    main()
