"""Curves are inverse_transform; bands are at least the delta method's at every latent."""

import numpy as np
import pytest
from scipy.special import expit

from skelbo import GaussianMLE, VariationalEM
from skelbo.display import ItemCurveDisplay
from tests.tables import answers, lsat6


@pytest.fixture(scope="module")
def trait():
    X, weights = lsat6()
    return VariationalEM(1, model="bernoulli", posterior="exact").fit(X, sample_weight=weights)


def test_curves_are_expectations(trait):
    display = ItemCurveDisplay.from_estimator(trait)
    z = np.linspace(-3, 3, 121)
    expected = trait.inverse_transform(z[:, None])
    assert len(display.ax_.lines) == 5
    for line, curve in zip(display.ax_.lines, expected.T, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), z)
        np.testing.assert_array_equal(line.get_ydata(), curve)
    theta = trait.params_
    by_hand = expit(theta["intercepts"] + z[:, None] * theta["loadings"].T)
    np.testing.assert_allclose(expected, by_hand, rtol=1e-12)
    assert display.ax_.get_xlabel() == "z0 (standard deviations of the prior)"


def test_bands_are_sums_of_standard_errors(trait):
    display = ItemCurveDisplay.from_estimator(trait, items=[2], confidence=0.9)
    errors = trait.standard_errors_
    z = display.latent
    predictor = trait.params_["intercepts"][2] + z * trait.params_["loadings"][2, 0]
    width = errors["intercepts"][2] + np.abs(z) * errors["loadings"][2, 0]
    np.testing.assert_allclose(display.lower[:, 0], expit(predictor - 1.6448536 * width), rtol=1e-6)
    np.testing.assert_allclose(display.upper[:, 0], expit(predictor + 1.6448536 * width), rtol=1e-6)
    (band,) = display.ax_.collections
    extents = band.get_paths()[0].get_extents()
    assert extents.ymin == pytest.approx(display.lower.min())
    assert extents.ymax == pytest.approx(display.upper.max())
    assert display.ax_.get_legend().get_title().get_text() == "bands: 90%"


def test_many_items_have_a_panel_each():
    trait = VariationalEM(1, model="bernoulli", posterior="exact").fit(answers(p=7))
    display = ItemCurveDisplay.from_estimator(trait)
    assert display.ax_.shape == (2, 5)
    shown = [ax for ax in display.ax_.flat if ax.axison]
    assert [ax.get_title() for ax in shown] == [f"item {j}" for j in range(7)]
    np.testing.assert_array_equal(shown[6].lines[0].get_ydata(), display.probabilities[:, 6])
    assert sum(bool(ax.get_xlabel()) for ax in display.ax_.flat) == 1


def test_the_other_latents_are_zero():
    trait = VariationalEM(2, model="bernoulli").fit(answers(n=200))
    display = ItemCurveDisplay.from_estimator(trait, component=1, items=[0])
    Z = np.column_stack([np.zeros(121), np.linspace(-3, 3, 121)])
    np.testing.assert_array_equal(display.probabilities[:, 0], trait.inverse_transform(Z)[:, 0])
    assert display.ax_.get_xlabel().startswith("z1")


def test_refusals(trait, iris):
    with pytest.raises(TypeError, match="GaussianMLE has gaussian columns, expected yes/no items"):
        ItemCurveDisplay.from_estimator(GaussianMLE().fit(iris))
    with pytest.raises(ValueError, match="component=1, expected a latent from 0 to 0"):
        ItemCurveDisplay.from_estimator(trait, component=1)
    with pytest.raises(ValueError, match=r"items=\[5\], expected items from 0 to 4"):
        ItemCurveDisplay.from_estimator(trait, items=[5])
