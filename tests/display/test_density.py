"""Contours are of score_samples; columns that are not drawn are integrated out."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skelbo import EMGaussianMixture, EMHiddenMarkovModel, GaussianMLE, VariationalEM
from skelbo.display import DensityDisplay


@pytest.fixture(scope="module")
def mixture(faithful):
    return EMGaussianMixture(2, random_state=0).fit(faithful)


def test_grid_is_that_of_score_samples(mixture, faithful):
    display = DensityDisplay.from_estimator(mixture, faithful, grid_resolution=20)
    x, y = display.grid
    log_prob = display.log_prob[0, 1]
    assert log_prob.shape == (20, 20)
    assert log_prob[3, 7] == pytest.approx(mixture.score_samples([[x[7], y[3]]])[0], abs=1e-12)
    assert x[0] < faithful[:, 0].min() and y[-1] > faithful[:, 1].max()
    points, centres = display.ax_.lines
    np.testing.assert_array_equal(points.get_xydata(), faithful)
    np.testing.assert_array_equal(centres.get_xydata(), mixture.means_)


def test_ellipses_are_two_standard_deviations(mixture, faithful):
    display = DensityDisplay.from_estimator(mixture, faithful, grid_resolution=20)
    for k, patch in enumerate(display.ax_.patches):
        edge = patch.get_patch_transform().transform([[1.0, 0.0], [0.0, 1.0]]) - mixture.means_[k]
        distance = np.einsum("ni,ij,nj->n", edge, mixture.precisions_[k], edge)
        np.testing.assert_allclose(distance, 4.0, rtol=1e-8)


def test_one_column_is_a_density(mixture, faithful):
    display = DensityDisplay.from_estimator(mixture, faithful, features=[1])
    (curve,) = display.ax_.lines
    x, density = curve.get_xdata(), curve.get_ydata()
    moments = mixture.weights_, mixture.means_[:, 1], mixture.covariances_[:, 1, 1]
    expected = sum(
        w * np.exp(-((x - m) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v)
        for w, m, v in zip(*moments, strict=True)
    )
    np.testing.assert_allclose(density, expected, rtol=1e-8)
    histogram = sum(patch.get_height() * patch.get_width() for patch in display.ax_.patches)
    assert histogram == pytest.approx(1.0)


def test_panels_are_marginals(iris):
    model = GaussianMLE().fit(iris)
    display = DensityDisplay.from_estimator(model, iris, features=[3, 0, 2], grid_resolution=9)
    assert display.ax_.shape == (3, 3)
    assert not any(ax.axison for ax in display.ax_[np.triu_indices(3, 1)])
    grid = display.grid
    pair = GaussianMLE().fit(iris[:, [3, 2]])  # the marginal of a Gaussian is its own fit
    expected = pair.score_samples([[grid[0][4], grid[2][6]]])[0]
    assert display.log_prob[0, 2][6, 4] == pytest.approx(expected, abs=1e-10)
    assert [ax.get_xlabel() for ax in display.ax_[2]] == ["x3", "x0", "x2"]


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_dataframes_name_the_axes(faithful, kind):
    table = kind({"eruptions": faithful[:, 0], "waiting": faithful[:, 1]})
    model = GaussianMLE().fit(table)
    ax = DensityDisplay.from_estimator(model, table, grid_resolution=10).ax_
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("eruptions", "waiting")


def test_missing_cells(faithful):
    X = faithful.copy()
    X[::7, 1] = np.nan
    model = GaussianMLE().fit(X)
    display = DensityDisplay.from_estimator(model, X, grid_resolution=10)
    assert np.isfinite(display.log_prob[0, 1]).all()


def test_refusals(mixture, faithful):
    wide = np.random.default_rng(0).standard_normal((40, 7))
    with pytest.raises(ValueError, match=r"X has 7 columns, expected at most 6.*features=\[0, 1"):
        DensityDisplay.from_estimator(GaussianMLE().fit(wide), wide)
    with pytest.raises(ValueError, match="features contains 'wait', expected positions below 2"):
        DensityDisplay.from_estimator(mixture, faithful, features=["wait"])
    chain = EMHiddenMarkovModel(2, random_state=0).fit(faithful)
    with pytest.raises(ValueError, match="EMHiddenMarkovModel gives rows .*SequenceDisplay"):
        DensityDisplay.from_estimator(chain, faithful)
    answers = (wide > 0).astype(float)
    trait = VariationalEM(1, model="bernoulli").fit(answers)
    with pytest.raises(ValueError, match="column x0, which is bernoulli and has no density"):
        DensityDisplay.from_estimator(trait, answers)
