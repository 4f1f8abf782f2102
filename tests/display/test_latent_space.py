"""Points are transform(X), of the latents that vary most; colours are the classes."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import EllipseCollection
from matplotlib.colors import to_rgba
from sklearn.base import BaseEstimator

from skelbo import EMGaussianMixture, VAEEstimator, VariationalEM
from skelbo.display import LatentSpaceDisplay
from skelbo.display.palette import COLORS
from skelbo.models import FactorModel


class Codes(BaseEstimator):
    """A transformer whose latents are the columns of X, with standard deviations of a tenth."""

    def fit(self, X):
        self.fitted_ = True
        return self

    def transform(self, X):
        return np.asarray(X)

    def transform_std(self, X):
        return np.full(np.shape(X), 0.1)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    return rng.standard_normal((400, 4)) * [1.0, 5.0, 0.1, 3.0]


@pytest.fixture(scope="module")
def codes(table):
    return Codes().fit(table)


def test_the_most_active_latents_are_shown(codes, table):
    display = LatentSpaceDisplay.from_estimator(codes, table)
    np.testing.assert_array_equal(display.ax_.collections[0].get_offsets(), table[:, [1, 3]])
    assert display.ax_.get_xlabel() == "z1, mean of q"
    assert display.ax_.get_ylabel() == "z3, mean of q"


@pytest.mark.slow
def test_the_vae_shows_its_two_most_active_latents(iris):
    vae = VAEEstimator(
        4, hidden_layer_sizes=8, max_iter=20, early_stopping=False, lr=1e-2, random_state=0
    ).fit(iris)
    latents = vae.transform(iris)
    active = np.sort(np.argsort(latents.var(axis=0))[-2:])
    display = LatentSpaceDisplay.from_estimator(vae, iris)
    np.testing.assert_array_equal(
        display.ax_.collections[0].get_offsets(), latents[:, active].astype(np.float64)
    )


def test_classes_have_colours_and_marks(codes, table):
    y = np.arange(400) % 3
    display = LatentSpaceDisplay.from_estimator(codes, table, y, components=(0, 2))
    groups = display.ax_.collections[:3]
    for label, group in enumerate(groups):
        np.testing.assert_array_equal(group.get_offsets(), table[y == label][:, [0, 2]])
        assert tuple(group.get_facecolor()[0]) == to_rgba(COLORS[label])
    shapes = {str(group.get_paths()[0].vertices.tolist()) for group in groups}
    assert len(shapes) == 3
    names = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert names == ["0", "1", "2"]


def test_ten_classes_differ_without_colours(codes, table):
    display = LatentSpaceDisplay.from_estimator(codes, table, np.arange(400) % 10)
    shapes = {str(group.get_paths()[0].vertices.tolist()) for group in display.ax_.collections[:10]}
    assert len(shapes) == 10


def test_ellipses_are_standard_deviations_of_q(codes, table):
    display = LatentSpaceDisplay.from_estimator(codes, table)
    ellipses = next(c for c in display.ax_.collections if isinstance(c, EllipseCollection))
    assert len(ellipses.get_offsets()) == 134  # every third of 400 rows
    np.testing.assert_allclose(ellipses.get_widths(), 0.2)
    np.testing.assert_array_equal(ellipses.get_offsets(), table[::3][:, [1, 3]])


def test_ellipses_wider_than_the_points_are_in_the_picture():
    latents = np.zeros((5, 2))
    display = LatentSpaceDisplay(latents=latents, latents_std=np.full((5, 2), 3.0)).plot()
    assert display.ax_.get_xlim()[0] < -3 and display.ax_.get_ylim()[1] > 3


def test_continuous_y_is_a_scale_of_colours(codes, table):
    display = LatentSpaceDisplay.from_estimator(codes, table, table[:, 0])
    np.testing.assert_array_equal(display.ax_.collections[0].get_array(), table[:, 0])
    assert len(display.figure_.axes) == 2


def test_one_latent_is_a_histogram(iris):
    factor = VariationalEM(model=FactorModel(1, noise="isotropic")).fit(iris)
    y = np.repeat(["a", "b", "c"], 50)
    display = LatentSpaceDisplay.from_estimator(factor, iris, y)
    assert len(display.ax_.patches) == 3
    outline = display.ax_.patches[0].get_xy()
    assert outline[:, 1].max() <= 50 and display.ax_.get_ylabel() == "rows"


def test_a_mixture_shows_probabilities(iris):
    table = pd.DataFrame(iris, columns=list("abcd"))
    mixture = EMGaussianMixture(3, random_state=0).fit(table)
    display = LatentSpaceDisplay.from_estimator(mixture, table, components=[0, 1])
    np.testing.assert_array_equal(
        display.ax_.collections[0].get_offsets(), mixture.predict_proba(table)[:, :2]
    )
    assert display.ax_.get_xlabel() == "p(z = 0 | x), mean of q"


def test_refusals(codes, table):
    with pytest.raises(ValueError, match=r"components=4, expected one or two latents from 0 to 3"):
        LatentSpaceDisplay.from_estimator(codes, table, components=4)
    with pytest.raises(ValueError, match="y has 3 entries, expected 400"):
        LatentSpaceDisplay.from_estimator(codes, table, [1, 2, 3])
