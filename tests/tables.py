"""Small tables that several test files share."""

from pathlib import Path

import numpy as np

DATA = Path(__file__).parent.parent / "examples" / "data"


def lsat6():
    table = np.loadtxt(DATA / "lsat6.csv", delimiter=",", skiprows=1)
    return table[:, :5], table[:, 5]


def trichoptera():
    return np.loadtxt(DATA / "trichoptera_counts.csv", delimiter=",", skiprows=1)


SHAPES = """0010 0111 0010 0000 | 0100 0100 0100 0100 | 1111 0000 0000 0000 | 1000 0100 0010 0001 |
0000 0000 1100 1100 | 1111 1001 1001 1111 | 0000 0110 0110 0000 | 0001 0001 0001 0001"""


def shapes(noise):
    """400 sums of eight 4x4 shapes with noise, and the parameters they come from."""
    rng = np.random.default_rng(0)
    pictures = [[float(c) for c in shape if c in "01"] for shape in SHAPES.split("|")]
    weights = 0.5 + 0.5 * rng.random(8)
    Z = rng.random((400, 8)) < 0.3
    X = (Z * weights) @ np.array(pictures) + noise * rng.standard_normal((400, 16))
    theta = {
        "loadings": (np.array(pictures) * weights[:, None]).T,
        "intercepts": np.zeros(16),
        "noise_variance": noise**2,
        "probabilities": np.full(8, 0.3),
    }
    return X, theta


def counts(n=80, p=6, d=2, seed=0):
    rng = np.random.default_rng(seed)
    eta = 0.5 + rng.standard_normal((n, d)) @ rng.standard_normal((d, p)) * 0.6
    return rng.poisson(np.exp(eta)).astype(float)


def answers(n=120, p=6, seed=0):
    rng = np.random.default_rng(seed)
    eta = rng.standard_normal((n, 1)) @ rng.uniform(0.5, 1.5, (1, p)) + rng.standard_normal(p)
    return (rng.random((n, p)) < 1 / (1 + np.exp(-eta))).astype(float)


def real(n=60, p=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 2)) @ rng.standard_normal((2, p)) + rng.standard_normal((n, p))
