"""Lines are the criterion of a search, one per setting of the other parameters."""

from types import SimpleNamespace

import numpy as np
import pytest

from skelbo import EMGaussianMixture
from skelbo.display import ModelSelectionDisplay
from skelbo.meta import CriterionSearch

RESULTS = {
    "param_covariance_type": ["full", "tied", "full", "tied", "full", "tied"],
    "param_n_components": [3, 3, 1, 1, 2, 2],
    "criterion": [5.0, 3.0, 9.0, 8.0, np.nan, 4.0],
    "degenerate": [True, False, False, False, None, False],
}


def test_lines_are_sorted_and_failed_candidates_left_out():
    display = ModelSelectionDisplay(results=RESULTS, best_index=1).plot()
    full, tied = display.lines_
    np.testing.assert_array_equal(full.get_xydata(), [[1, 9], [3, 5]])
    np.testing.assert_array_equal(tied.get_xydata(), [[1, 8], [2, 4], [3, 3]])
    assert [line.get_label() for line in display.lines_] == ["full", "tied"]
    assert full.get_color() != tied.get_color() and full.get_marker() != tied.get_marker()


def test_best_and_degenerate_candidates_are_marked():
    display = ModelSelectionDisplay(results=RESULTS, best_index=1).plot()
    star = next(line for line in display.ax_.lines if line.get_label() == "best")
    np.testing.assert_array_equal(star.get_xydata(), [[3, 3]])
    hollow = [line for line in display.ax_.lines if line.get_markerfacecolor() == "white"]
    np.testing.assert_array_equal(np.concatenate([h.get_xydata() for h in hollow]), [[3, 5]])
    assert display.ax_.get_legend().get_title().get_text() == "empty: degenerate"


def test_labels():
    search = SimpleNamespace(results_=RESULTS, criterion="held_out", best_index_=0)
    ax = ModelSelectionDisplay.from_estimator(search).ax_
    assert ax.get_xlabel() == "n_components"
    assert ax.get_ylabel() == "held-out log p(x) (nats per row; higher is better)"


def test_a_search(faithful):
    grid = {"covariance_type": ["full", "tied"], "n_components": [1, 2, 3]}
    search = CriterionSearch(EMGaussianMixture(random_state=0), grid).fit(faithful)
    display = ModelSelectionDisplay.from_estimator(search)
    for line, kind in zip(display.lines_, ("full", "tied"), strict=True):
        bic = [
            EMGaussianMixture(k, covariance_type=kind, random_state=0).fit(faithful).bic(faithful)
            for k in (1, 2, 3)
        ]
        np.testing.assert_allclose(line.get_ydata(), bic, rtol=1e-8)
    star = next(line for line in display.ax_.lines if line.get_label() == "best")
    best = search.best_estimator_
    assert star.get_xydata()[0] == pytest.approx([best.n_components, best.bic(faithful)])


def test_other_axes():
    results = {
        "param_a": [0.1, 1.0, 0.1, 1.0],
        "param_b": [1, 1, 2, 2],
        "param_c": ["u", "u", "u", "u"],
        "criterion": [1.0, 2.0, 3.0, 4.0],
    }
    display = ModelSelectionDisplay(results=results, x="b").plot()
    assert [line.get_label() for line in display.lines_] == ["a=0.1, c=u", "a=1.0, c=u"]
    np.testing.assert_array_equal(display.lines_[0].get_xydata(), [[1, 1], [2, 3]])
    assert len(ModelSelectionDisplay(results=results).plot().lines_) == 2


def test_refusals():
    with pytest.raises(ValueError, match="no parameter with numbers.*param_n_components"):
        ModelSelectionDisplay(results={"param_a": ["x"], "criterion": [1.0]}).plot()
    with pytest.raises(ValueError, match="x='covariance_type' is no parameter .* with numbers"):
        ModelSelectionDisplay(results=RESULTS, x="covariance_type").plot()
    with pytest.raises(TypeError, match="SimpleNamespace has no results_.*CriterionSearch"):
        ModelSelectionDisplay.from_estimator(SimpleNamespace())
