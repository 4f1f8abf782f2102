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

from skelbo import (
    MCEM,
    ELBOMonitor,
    EMGaussianMixture,
    EMHiddenMarkovModel,
    EMMixture,
    GANEstimator,
    GaussianMLE,
    ImportanceWarning,
    VAEEstimator,
    VariationalEM,
    VQVAEEstimator,
)

DATA = Path(__file__).parent / "data" / "faithful.csv"
EARTHQUAKES = DATA.with_name("earthquakes.csv")


def faithful():
    """Return Old Faithful: minutes of eruption, minutes of waiting (272 rows)."""
    return np.loadtxt(DATA, delimiter=",", skiprows=1)


def survey():
    """Return attitudes to surveys: four questions with 2 or 3 answers (1202 rows)."""
    table = np.loadtxt(DATA.with_name("survey.csv"), delimiter=",", skiprows=1)
    return np.repeat(table[:, :4], table[:, 4].astype(int), axis=0)


def items():
    """Return answers to section 6 of the law school admission test: 5 items (1000 persons)."""
    table = np.loadtxt(DATA.with_name("lsat6.csv"), delimiter=",", skiprows=1)
    return np.repeat(table[:, :5], table[:, 5].astype(int), axis=0)


def digits():
    """Return scikit-learn's digits as densities need them: pixels plus uniform noise.

    Counts 0..16 have no density; x + u with u uniform on [0, 1) does, and its log-density bounds
    the log-probability of the counts from below (Theis, van den Oord and Bethge 2016).
    """
    X = load_digits().data
    return X + np.random.default_rng(0).random(X.shape)


AUTO_ENCODER = VAEEstimator(4, posterior="point", max_iter=60, n_importance_samples=100)
ONE_LATENT = VAEEstimator(1, hidden_layer_sizes=64, lr=5e-3, max_iter=300, n_importance_samples=200)
ITEMS = "Test items (5 columns of yes/no)"
ONE_TRAIT = {"n_components": 1, "model": "bernoulli"}
# One line per estimator: data set -> (name in the table, estimator).
ESTIMATORS = {
    "Old Faithful (2 columns)": [
        ("GaussianMLE", GaussianMLE()),
        ("EMGaussianMixture, 2 full", EMGaussianMixture(2)),
        ("EMGaussianMixture, 3 tied", EMGaussianMixture(3, covariance_type="tied")),
        ("VariationalEM, 2 binary", VariationalEM(2)),
        ("MCEM, 1 factor", MCEM(1, model="gaussian")),
        ("VAEEstimator, 1 latent", ONE_LATENT),
    ],
    ITEMS: [
        ("EMMixture, 1 class", EMMixture(1, likelihood="bernoulli")),
        ("EMMixture, 2 classes", EMMixture(2, likelihood="bernoulli")),
        ("VariationalEM, 1 exact trait", VariationalEM(posterior="exact", **ONE_TRAIT)),
        ("MCEM, 1 trait", MCEM(**ONE_TRAIT)),
    ],
    "Attitudes to surveys (4 columns of codes)": [
        ("EMMixture, 1 class", EMMixture(1, likelihood="categorical")),
        ("EMMixture, 2 classes", EMMixture(2, likelihood="categorical")),
    ],
    "Digits (64 columns)": [
        ("GaussianMLE", GaussianMLE()),
        ("EMGaussianMixture, 10 tied", EMGaussianMixture(10, covariance_type="tied")),
        ("EMGaussianMixture, 20 diag", EMGaussianMixture(20, covariance_type="diag")),
        ("VariationalEM, 10 factors", VariationalEM(10, model="gaussian")),
        ("VAEEstimator, 8 latents", VAEEstimator(8, max_iter=100, n_importance_samples=100)),
        ("auto-encoder, 4 latents", AUTO_ENCODER),
        ("VQVAEEstimator, 4 codes", VQVAEEstimator(4, max_iter=60)),
        ("GANEstimator, 8 latents", GANEstimator(8, max_iter=40, n_importance_samples=50)),
    ],
}
TABLES = {
    "Old Faithful (2 columns)": faithful,
    ITEMS: items,
    "Attitudes to surveys (4 columns of codes)": survey,
    "Digits (64 columns)": digits,
}
CONCLUSIONS = {
    "Old Faithful (2 columns)": (
        "Two or three clusters are enough: a mixture is half a nat per row ahead of one Gaussian,\n"
        "  and one factor is only that Gaussian again."
    ),
    ITEMS: (
        "One trait behind the items predicts persons better than independent answers;\n"
        "  two classes do no better with one parameter more."
    ),
    "Attitudes to surveys (4 columns of codes)": (
        "Two kinds of respondents predict the answers of others better than independent columns do."
    ),
    "Digits (64 columns)": (
        "The mixture of 20 is the best density for its time; the VAE is near it with 8 latents.\n"
        "  A gap is what an ELBO hides. The GAN (a tenth of its default epochs) pays in log p(x)\n"
        "  for images that its game makes sharp."
    ),
}


# Years of earthquakes from 1900 on, to which these are fitted; the later ones are predicted.
FITTED_YEARS = 75
SERIES = [
    ("EMMixture, 1 rate", EMMixture(1, likelihood="poisson")),
    ("EMMixture, 3 rates", EMMixture(3, likelihood="poisson")),
    ("EMHiddenMarkovModel, 2 rates", EMHiddenMarkovModel(2, likelihood="poisson")),
    ("EMHiddenMarkovModel, 3 rates", EMHiddenMarkovModel(3, likelihood="poisson")),
]


def run_series():
    """Fit mixtures and chains to the first years; print what they give each later year.

    log p(x) of a year is given all years before it, of which a mixture makes no use.
    """
    X = np.loadtxt(EARTHQUAKES, delimiter=",", skiprows=1)[:, 1:]
    later = len(X) - FITTED_YEARS
    print(f"\nEarthquakes: {FITTED_YEARS} years to fit, {later} predicted; nats per year")
    print(f"  {'estimator':<28}{'log p(x)':>10} {'+-':>6} {'next year':>22} {'parameters':>11}")
    for name, estimator in SERIES:
        estimator.set_params(random_state=0).fit(X[:FITTED_YEARS])
        log_prob = estimator.score_samples(X)[FITTED_YEARS:]
        error = log_prob.std(ddof=1) / np.sqrt(later)
        ahead = ""
        if hasattr(estimator, "forecast"):
            mean, std, _ = estimator.forecast(X, 1)
            ahead = f"{mean.item():.1f} +- {std.item():.1f}"
        numbers = f"{log_prob.mean():>10.3f} {error:>6.3f} {ahead:>22}"
        print(f"  {name:<28}{numbers} {estimator.n_parameters_:>11}", flush=True)
    print(
        "  Quiet and busy years come in runs: a chain of three rates predicts a year better than a"
    )
    print("  mixture of the same rates, which cannot use the years before it.")


def evaluate(estimator, train, test):
    """Fit; return held-out log-likelihood, its standard error, ELBO, gap and seconds."""
    start = time.perf_counter()
    estimator.fit(train)
    seconds = time.perf_counter() - start
    log_prob, std = estimator.score_samples(test, return_std=True)
    # Rows are a sample (first term); estimates share their noise, so errors may add up (second).
    error = np.hypot(log_prob.std(ddof=1) / np.sqrt(len(test)), std.mean())
    # An auto-encoder's q is a point, which has no bound.
    elbo = estimator.elbo(test).mean() if hasattr(estimator, "elbo") else np.nan
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
        bounds = f"{elbo:>10.3f} {np.maximum(gap, 0):>8.3f}" if np.isfinite(elbo) else f"{'-':>19}"
        numbers = f"{score:>10.3f} {error:>6.3f} {bounds:>19}"
        print(f"{numbers} {estimator.n_parameters_:>11} {seconds:>7.2f}", flush=True)
    print(f"  {CONCLUSIONS[title]}")
    fitted = dict(ESTIMATORS[title])
    if title == ITEMS:
        print_items(fitted)
    return fitted


def print_items(fitted):
    """Print slope and easiness of every item with their standard errors, in two ways."""
    ways = [model for model in fitted.values() if hasattr(model, "params_")]
    print(f"  {'':<10}" + "".join(f"{type(model).__name__:>32}" for model in ways))
    print(f"  {'item':<10}" + f"{'slope':>18}{'easiness':>14}" * len(ways))
    for item in range(len(ways[0].params_["intercepts"])):
        line = f"  {item + 1:<10}"
        for model in ways:
            for name, width in (("loadings", 18), ("intercepts", 14)):
                value = np.ravel(model.params_[name])[item]
                error = np.ravel(model.standard_errors_[name])[item]
                line += f"{f'{value:.2f} +- {error:.2f}':>{width}}"
        print(line, flush=True)
    print(
        "  Both, by a sum over a grid and by draws, find the same numbers and errors: 700 persons"
    )
    print("  settle how easy an item is, but hardly how well it separates them (its slope).")


def draw(fitted, monitors, output):
    """Write the densities of Old Faithful, the climb of every bound and the VAE's latents."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    small, *_, large = TABLES
    fig, axes = plt.subplots(3, 3, figsize=(12, 11))
    for ax, (name, estimator) in zip(axes.flat, fitted[small].items(), strict=False):
        draw_density(ax, name, estimator)
    for ax, title in zip(axes[2], (small, large), strict=False):
        draw_climb(ax, title, monitors)
    draw_latents(axes[2, 2], fitted[large]["VAEEstimator, 8 latents"])
    fig.tight_layout()
    fig.savefig(output, dpi=100)
    print(f"\nThe picture is in {output}")


def draw_density(ax, name, estimator):
    """Draw contours of log p(x), 0.3 to 8 nats below the mode, over the data."""
    x, y = np.meshgrid(np.linspace(1, 6, 60), np.linspace(35, 105, 60))
    log_prob = estimator.score_samples(np.column_stack([x.ravel(), y.ravel()])).reshape(x.shape)
    levels = log_prob.max() - np.array([8, 5, 3, 2, 1, 0.3])
    ax.contour(x, y, log_prob, levels=levels, cmap="viridis", linewidths=1)
    ax.plot(*faithful().T, ".", color="0.4", markersize=3)
    ax.set(title=name, xlabel="eruption (min)", ylabel="waiting (min)")


def draw_climb(ax, title, monitors):
    """Draw the bound of the best start against the iteration (or epoch)."""
    for (data, name), monitor in monitors.items():
        if data == title:
            curves = monitor.curves()
            if name.startswith("GAN"):  # its game reports a divergence; the encoder's bound is next
                del curves[0, 0]
            bounds = max(curves.values(), key=lambda curve: curve[-1])
            ax.plot(range(1, len(bounds) + 1), bounds, ".-", markersize=4, label=name)
    last = [line.get_ydata()[-1] for line in ax.lines]
    low, high = min(last), max(last)
    margin = 0.3 * (high - low)
    ax.set(title=f"The bound's climb: {title}", xlabel="iteration", ylabel="nats per row")
    ax.set(xscale="log", ylim=(low - margin, high + margin))
    ax.legend(fontsize=7, loc="lower right")


def draw_latents(ax, vae):
    """Draw the digits where the VAE's two most active latents put them."""
    latents, labels = vae.transform(digits()), load_digits().target
    first, second = np.argsort(latents.var(axis=0))[-2:]
    points = ax.scatter(latents[:, first], latents[:, second], c=labels, cmap="tab10", s=6)
    ax.legend(*points.legend_elements(), fontsize=7, ncols=2)
    ax.set(title="Digits in the VAE's latent space", xlabel=f"z{first}", ylabel=f"z{second}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="road.png", help="where the picture goes")
    args = parser.parse_args()
    # An iteration limit, or too few importance samples of some rows, is said in the table's own
    # terms: the held-out score and its standard error.
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.simplefilter("ignore", ImportanceWarning)
    monitors = {}
    fitted = {title: run(title, monitors) for title in TABLES}
    run_series()
    draw(fitted, monitors, args.output)


if __name__ == "__main__":
    main()
