"""
One Gaussian under three divergences
====================================

One Gaussian against a density with two modes: what each divergence calls the best fit.

Maximum likelihood minimises the forward KL(p || q), the q-step of EM the reverse KL(q || p), and
the game of a GAN the Jensen-Shannon divergence (Goodfellow et al. 2014) or any other
f-divergence (Nowozin, Cseke and Tomioka 2016). Here q is one Gaussian, so that all of them can be
minimised over its mean and standard deviation by quadrature: no networks, no draws, no seed.

    python examples/plot_divergences.py

Prints every minimum, global and local, and writes divergences.png beside this file. The first
density is that of section 2.5 of the f-GAN paper, recovered from the optima in its table; the
others have separated modes, where forward KL covers both, and reverse KL and Jensen-Shannon take
one: mode collapse is the optimum itself, not an accident of training.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import minimize
from scipy.special import xlogy
from scipy.stats import norm

from skelbo import GaussianMLE

# Weights, means and standard deviations of the two components of p.
DENSITIES = {
    "f-GAN, section 2.5": ([0.32972, 0.67028], [-1.00041, 1.99938], [0.25466, 1.41496]),
    "two equal modes": ([0.5, 0.5], [-3.0, 3.0], [0.6, 0.6]),
    "two unequal modes": ([0.3, 0.7], [-3.0, 3.0], [0.6, 0.6]),
}
# The trapezoidal rule is exact to rounding for densities as smooth as these.
GRID = np.linspace(-20, 20, 1601)
STEP = GRID[1] - GRID[0]
# Where to look for minima.
MEANS, STDS = np.linspace(-4.5, 4.5, 61), np.geomspace(0.2, 4.5, 49)


def mixture_log_pdf(weights, means, stds):
    """Return log p at the points of the grid."""
    parts = np.log(weights) + norm.logpdf(GRID[:, None], means, stds)
    return np.logaddexp(*parts.T)


def forward_kl(log_p, log_q):
    """KL(p || q), what maximum likelihood minimises; nats."""
    return STEP * (np.exp(log_p) * (log_p - log_q)).sum(-1)


def reverse_kl(log_p, log_q):
    """KL(q || p), what the q-step minimises; nats."""
    return STEP * (np.exp(log_q) * (log_q - log_p)).sum(-1)


def jensen_shannon(log_p, log_q):
    """Half KL(p || m) plus half KL(q || m) with m = (p + q) / 2; nats, at most log 2.

    The table of the f-GAN paper has twice this number: its unit is another, its optimum the same.
    """
    p, q = np.exp(log_p), np.exp(log_q)
    m = (p + q) / 2
    return STEP * (xlogy(p, p) / 2 + xlogy(q, q) / 2 - xlogy(m, m)).sum(-1)


DIVERGENCES = {
    "KL(p || q)": forward_kl,
    "KL(q || p)": reverse_kl,
    "Jensen-Shannon": jensen_shannon,
}


def gaussian_log_pdf(mean, std):
    """Return log q at the points of the grid, in the last axis."""
    mean, std = np.asarray(mean)[..., None], np.asarray(std)[..., None]
    return -0.5 * ((GRID - mean) / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi)


def surface(divergence, log_p):
    """Return the divergence of each Gaussian of a table, shape (n_stds, n_means)."""
    return np.array([divergence(log_p, gaussian_log_pdf(MEANS, std)) for std in STDS])


def minima(divergence, log_p):
    """Return all minima as rows (divergence, mean, std), the best first.

    Every point of the table that is below its neighbours starts a descent.
    """
    values = np.pad(surface(divergence, log_p), 1, constant_values=np.inf)
    shape = len(STDS), len(MEANS)
    around = [
        values[1 + i : 1 + i + shape[0], 1 + j : 1 + j + shape[1]]
        for i in (-1, 0, 1)
        for j in (-1, 0, 1)
        if (i, j) != (0, 0)
    ]
    inside = values[1:-1, 1:-1]

    def objective(theta):
        return float(divergence(log_p, gaussian_log_pdf(theta[0], np.exp(theta[1]))))

    found = []
    for i, j in np.argwhere(inside <= np.min(around, axis=0)):
        start = MEANS[j], np.log(STDS[i])
        end = minimize(objective, start, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 0})
        found.append((end.fun, end.x[0], np.exp(end.x[1])))
    rows = []
    for row in sorted(found, key=lambda row: (round(row[0], 6), row[1])):
        if not any(np.allclose(row, other, atol=1e-4) for other in rows):
            rows.append(row)
    return np.array(rows)


def maximum_likelihood(log_p):
    """Fit GaussianMLE to the points of the grid with p as their weights: the forward KL again."""
    model = GaussianMLE().fit(GRID[:, None], sample_weight=np.exp(log_p))
    return float(model.mean_[0]), float(np.sqrt(model.covariance_[0, 0]))


def draw(results):
    """Draw each density with the best Gaussians, and the surface of each divergence."""
    figure, axes = plt.subplots(
        len(results), 1 + len(DIVERGENCES), figsize=(15, 3.4 * len(results)), layout="constrained"
    )
    for row, (name, (log_p, found)) in zip(axes, results.items(), strict=True):
        draw_densities(row[0], log_p, found)
        row[0].set_title(name)
        for ax, (label, rows) in zip(row[1:], found.items(), strict=True):
            draw_surface(ax, label, surface(DIVERGENCES[label], log_p), rows)
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(),
        loc="outside upper center",
        ncols=4,
        title="one Gaussian q for the density p; stars and thick lines: the best, rings and dotted "
        "lines: local minima",
    )
    return figure


def draw_densities(ax, log_p, found):
    """Draw p and every Gaussian that is a minimum; thinner lines lie on thicker ones."""
    ax.fill_between(GRID, np.exp(log_p), color="0.85", label="p")
    styles = {"KL(p || q)": ("C0", 2), "KL(q || p)": ("C1", 4.5), "Jensen-Shannon": ("k", 1.5)}
    for label, rows in found.items():
        color, width = styles[label]
        for value, mean, std in rows:
            line = np.exp(gaussian_log_pdf(mean, std))
            optimal = np.isclose(value, rows[0, 0], atol=1e-6)
            style = {"lw": width} if optimal else {"lw": width / 2, "ls": ":"}
            ax.plot(GRID, line, color=color, **style)
        ax.plot([], [], color=color, lw=width, label=label)
    ax.set(xlim=(-6.5, 6.5), xlabel="x", ylabel="density")


def draw_surface(ax, label, values, rows):
    """Draw contours of a divergence, its minima as stars, its local ones as rings."""
    top = min(values.max(), 6.0) - values.min()
    ax.contourf(
        MEANS, STDS, values, values.min() + top * np.linspace(0, 1, 13) ** 2, cmap="Blues_r"
    )
    for value, mean, std in rows:
        optimal = np.isclose(value, rows[0, 0], atol=1e-6)
        ax.plot(mean, std, "r*" if optimal else "ro", ms=12 if optimal else 6, mfc="none", mew=1.5)
    ax.set(title=label, xlabel="mean of q", yscale="log", ylabel="standard deviation of q")
    ax.set_yticks([0.25, 0.5, 1, 2, 4], ["0.25", "0.5", "1", "2", "4"])
    ax.minorticks_off()


def report(name, log_p, found):
    """Print the minima of each divergence, and the Gaussian of maximum likelihood."""
    line = "  {:<16} {:>7}  mean {:+8.4f}  std {:7.4f}  {}"
    print(f"{name}: q = N(mean, std^2), nats")
    for label, rows in found.items():
        for value, mean, std in rows:
            optimal = np.isclose(value, rows[0, 0], atol=1e-6)
            kind = "minimum" if optimal else "local minimum"
            print(line.format(label, f"{value:.4f}", round(mean, 4) + 0.0, std, kind))
    mean, std = maximum_likelihood(log_p)
    print(line.format("GaussianMLE", "", round(mean, 4) + 0.0, std, "the forward KL's"))


def main():
    results = {}
    for name, parameters in DENSITIES.items():
        log_p = mixture_log_pdf(*parameters)
        found = {label: minima(divergence, log_p) for label, divergence in DIVERGENCES.items()}
        results[name] = log_p, found
        report(name, log_p, found)
    path = Path(__file__).with_name("divergences.png")
    draw(results).savefig(path, dpi=100)
    print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
