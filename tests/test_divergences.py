"""The example of divergences: its numbers are the published ones, its minima stationary points."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parents[1] / "examples" / "plot_divergences.py"
if not PATH.exists():
    pytest.skip("the examples are not installed with the package", allow_module_level=True)


@pytest.fixture(scope="module")
def example():
    pytest.importorskip("matplotlib").use("Agg")
    spec = importlib.util.spec_from_file_location("plot_divergences", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def minima(example, name, label):
    log_p = example.mixture_log_pdf(*example.DENSITIES[name])
    return example.minima(example.DIVERGENCES[label], log_p)


# Table 2 of Nowozin et al. (2016); the value of Jensen-Shannon is there in twice this unit.
PUBLISHED = {
    "KL(p || q)": (0.2831, 1.0100, 1.8308),
    "KL(q || p)": (0.2480, 1.5782, 1.6319),
    "Jensen-Shannon": (0.1280 / 2, 1.3070, 1.7542),
}


@pytest.mark.parametrize("label", PUBLISHED)
def test_optima_are_those_of_the_f_gan_paper(example, label):
    best = minima(example, "f-GAN, section 2.5", label)[0]
    np.testing.assert_allclose(best, PUBLISHED[label], atol=5e-4)


def test_forward_kl_has_one_minimum_and_it_is_the_moments(example):
    """The maximum likelihood Gaussian: mean and variance of p, whatever its shape."""
    for name, (weights, means, stds) in example.DENSITIES.items():
        rows = minima(example, name, "KL(p || q)")
        mean = np.dot(weights, means)
        variance = np.dot(weights, np.square(means) + np.square(stds)) - mean**2
        np.testing.assert_allclose(rows[:, 1:], [[mean, variance**0.5]], atol=1e-5)
        log_p = example.mixture_log_pdf(weights, means, stds)
        np.testing.assert_allclose(
            example.maximum_likelihood(log_p), (mean, variance**0.5), atol=1e-9
        )


def test_separated_modes_collapse_by_reverse_kl_and_by_jensen_shannon(example):
    """One mode is the global minimum; the Gaussian over both is a local one, or none."""
    reverse = minima(example, "two equal modes", "KL(q || p)")
    # On one of two modes of weight 1/2, q / p = 2: the divergence is log 2.
    np.testing.assert_allclose(
        reverse, [[0.6931, -3, 0.6], [0.6931, 3, 0.6], [3.3066, 0, 2.5336]], atol=2e-4
    )
    shannon = minima(example, "two equal modes", "Jensen-Shannon")
    np.testing.assert_allclose(
        shannon, [[0.2158, -3, 0.6], [0.2158, 3, 0.6], [0.2554, 0, 3.0386]], atol=2e-4
    )
    assert np.all(shannon[:, 0] < np.log(2))


def test_the_larger_of_two_modes_wins(example):
    reverse = minima(example, "two unequal modes", "KL(q || p)")
    np.testing.assert_allclose(
        reverse, [[-np.log(0.7), 3, 0.6], [-np.log(0.3), -3, 0.6]], atol=2e-4
    )
    forward = minima(example, "two unequal modes", "KL(p || q)")
    assert forward[0, 1] == pytest.approx(1.2) and forward[0, 2] > 2.5
