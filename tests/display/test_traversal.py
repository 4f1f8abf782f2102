"""Traversals are inverse_transform along one latent, the others at their means."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from skelbo import EMGaussianMixture, VariationalEM
from skelbo.display import TraversalDisplay
from skelbo.models import FactorModel


@pytest.fixture(scope="module")
def factors(iris):
    return VariationalEM(model=FactorModel(2, noise="isotropic")).fit(iris)


class Codebook(BaseEstimator):
    """Two positions with three codes: row = (10 first + second, first, second)."""

    codebook_, latent_kind = np.zeros((2, 3, 1)), "code"

    def fit(self, X):
        self.fitted_ = True
        return self

    def transform(self, X):
        return np.asarray(X)[:, 1:]

    def inverse_transform(self, Z):
        return np.column_stack([10 * Z[:, 0] + Z[:, 1], Z])


def test_lines_are_changes_in_standard_deviations(factors, iris):
    display = TraversalDisplay.from_estimator(factors, iris, n_steps=5)
    latents = factors.transform(iris)
    assert display.ax_.shape == (1, 2)
    for k, ax in enumerate(display.ax_[0]):
        Z = np.tile(latents.mean(axis=0), (5, 1))
        Z[:, k] += np.linspace(-2, 2, 5) * latents[:, k].std()
        expected = (factors.inverse_transform(Z) - iris.mean(axis=0)) / iris.std(axis=0)
        assert len(ax.lines) == 4
        for line, values in zip(ax.lines, expected.T, strict=True):
            np.testing.assert_allclose(line.get_ydata(), values, atol=1e-10)
            np.testing.assert_allclose(line.get_xdata(), np.linspace(-2, 2, 5), atol=1e-6)
        assert ax.get_title() == f"z{k}"


def test_images_are_tiles(factors, iris):
    display = TraversalDisplay.from_estimator(factors, iris, image_shape=(2, 2), n_steps=3)
    canvas = display.ax_.images[0].get_array()
    assert canvas.shape == (5, 8)  # two rows of three 2 x 2 images, one line between them
    for k in range(2):
        for step in range(3):
            tile = canvas[3 * k : 3 * k + 2, 3 * step : 3 * step + 2]
            np.testing.assert_array_equal(tile.ravel(), display.expected[k][step])
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["z0", "z1"]
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["-2", "0", "2"]


def test_a_mixture_shows_its_means(iris):
    mixture = EMGaussianMixture(3, random_state=0).fit(iris)
    display = TraversalDisplay.from_estimator(mixture, iris)
    changes = (mixture.means_ - iris.mean(axis=0)) / iris.std(axis=0)
    np.testing.assert_allclose(display.ax_.images[0].get_array(), changes.T, atol=1e-12)
    assert display.ax_.get_xlabel() == "component"


def test_components_beyond_ten_are_in_several_rows(iris):
    X = np.tile(iris, (1, 1))
    mixture = EMGaussianMixture(12, covariance_type="tied", random_state=0).fit(X)
    display = TraversalDisplay.from_estimator(mixture, X, image_shape=(2, 2))
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == ["component 0-9", "component 10-11"]
    canvas = np.ma.filled(display.ax_.images[0].get_array(), np.nan)
    np.testing.assert_array_equal(canvas[3:5, 3:5].ravel(), mixture.means_[11])
    assert np.isnan(canvas[3:5, 6:]).all()


def test_binary_features_go_from_absent_to_present(faithful):
    features = VariationalEM(2, random_state=0).fit(faithful)
    display = TraversalDisplay.from_estimator(features, faithful)
    theta = features.params_
    for k, expected in enumerate(display.expected):
        np.testing.assert_allclose(expected[0], theta["intercepts"])
        np.testing.assert_allclose(expected[1], theta["intercepts"] + theta["loadings"][:, k])


def test_codes_go_through_all_codes():
    X = np.array([[0.0, 2.0, 1.0], [0.0, 2.0, 1.0], [0.0, 0.0, 0.0]])
    display = TraversalDisplay.from_estimator(Codebook().fit(X), X)
    assert display.latent_names == ["position 0", "position 1"]
    np.testing.assert_array_equal(display.expected[0][:, 0], [1, 11, 21])  # second stays at 1
    np.testing.assert_array_equal(display.expected[1][:, 0], [20, 21, 22])  # first stays at 2


def test_chosen_latents_and_refusals(factors, iris):
    display = TraversalDisplay.from_estimator(factors, iris, components=[1])
    assert display.latent_names == ["z1"]
    with pytest.raises(ValueError, match=r"components=\[5\], expected latents from 0 to 1"):
        TraversalDisplay.from_estimator(factors, iris, components=[5])
    with pytest.raises(ValueError, match=r"image_shape=\(2, 3\) has 6 cells, expected 4"):
        TraversalDisplay.from_estimator(factors, iris, image_shape=(2, 3))
