"""Panels show the rows, the states and the forecast of one sequence."""

import numpy as np
import pandas as pd
import pytest

from skelbo import EMGaussianMixture, EMHiddenMarkovModel
from skelbo.display import SequenceDisplay
from skelbo.display.sequence import BAND


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    states = np.repeat([0, 1, 0, 1, 0, 1], 20)
    rows = np.column_stack([4.0 * states, -2.0 * states]) + rng.standard_normal((120, 2))
    return rows, np.repeat(["first", "second"], 60)


@pytest.fixture(scope="module")
def hmm(table):
    X, groups = table
    return EMHiddenMarkovModel(2, random_state=0).fit(X, groups=groups)


def test_rows_and_states(hmm, table):
    X, groups = table
    display = SequenceDisplay.from_estimator(hmm, X, groups=groups, group="second")
    run = X[60:]
    assert display.ax_.shape == (3, 1)
    states, proba = hmm.predict(run), hmm.predict_proba(run)
    for j, ax in enumerate(display.ax_[:2, 0]):
        np.testing.assert_array_equal(ax.lines[0].get_ydata(), run[:, j])
        for state, points in enumerate(ax.collections):
            expected = np.column_stack([np.arange(60), run[:, j]])[states == state]
            np.testing.assert_array_equal(points.get_offsets(), expected)
        assert ax.get_ylabel() == f"x{j}"
    bars = np.reshape([bar.get_height() for bar in display.ax_[2, 0].patches], (2, 60))
    np.testing.assert_allclose(bars.T, proba, atol=1e-12)  # a bar keeps both its ends
    tops = np.array([bar.get_y() + bar.get_height() for bar in display.ax_[2, 0].patches[60:]])
    np.testing.assert_allclose(tops, 1.0)


def test_the_first_sequence_is_the_default(hmm, table):
    X, groups = table
    display = SequenceDisplay.from_estimator(hmm, X, groups=groups, features=[1])
    np.testing.assert_array_equal(display.values[:, 0], X[:60, 1])
    assert display.ax_.shape == (2, 1)


def test_forecast(hmm, table):
    X, groups = table
    display = SequenceDisplay.from_estimator(hmm, X, groups=groups, group="second", steps=5)
    ahead = hmm.forecast(X[60:], 5)
    line = next(line for line in display.ax_[0, 0].lines if line.get_label() == "forecast")
    np.testing.assert_array_equal(line.get_ydata(), ahead.mean[0, :, 0])
    np.testing.assert_array_equal(line.get_xdata(), np.arange(60, 65))
    band = display.ax_[0, 0].collections[-1].get_paths()[0].get_extents()
    assert band.ymax == pytest.approx((ahead.mean + BAND * ahead.std)[0, :, 0].max())
    bars = np.reshape([bar.get_height() for bar in display.ax_[2, 0].patches], (2, 65))
    np.testing.assert_allclose(bars.T[60:], ahead.state_proba[0], atol=1e-12)


@pytest.mark.parametrize("by", ["name", "position"])
def test_a_column_of_ids(table, by):
    X, groups = table
    frame = pd.DataFrame({"id": groups == "second", "a": X[:, 0], "b": X[:, 1]}).astype(float)
    column, data = ("id", frame) if by == "name" else (0, frame.to_numpy())
    hmm = EMHiddenMarkovModel(2, group_column=column, random_state=0).fit(data)
    display = SequenceDisplay.from_estimator(hmm, data, group=1.0)
    np.testing.assert_array_equal(display.values, X[60:])
    names = ["a", "b"] if by == "name" else ["x0", "x1"]
    assert [ax.get_ylabel() for ax in display.ax_[:2, 0]] == names


def test_refusals(hmm, table, iris):
    X, groups = table
    with pytest.raises(ValueError, match=r"group='third' is no sequence; choose among .*first"):
        SequenceDisplay.from_estimator(hmm, X, groups=groups, group="third")
    with pytest.raises(ValueError, match="group='first' needs the ids"):
        SequenceDisplay.from_estimator(hmm, X, group="first")
    mixture = EMGaussianMixture(random_state=0).fit(iris)
    with pytest.raises(TypeError, match="EMGaussianMixture has no transmat_.*EMHiddenMarkovModel"):
        SequenceDisplay.from_estimator(mixture, iris)
