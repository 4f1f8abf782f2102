"""The curves are the bounds that the fits publish."""

import warnings

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skelbo import EMGaussianMixture, GaussianMLE, VAEEstimator, VariationalEM
from skelbo.display import ELBOCurveDisplay


@pytest.fixture(scope="module")
def fits(faithful):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stopped = EMGaussianMixture(3, random_state=0, max_iter=2).fit(faithful)
    return {
        "tied": EMGaussianMixture(3, covariance_type="tied", random_state=0).fit(faithful),
        "stopped": stopped,
        "Gaussian": GaussianMLE().fit(faithful),
    }


def test_lines_are_the_published_bounds(fits):
    display = ELBOCurveDisplay.from_estimator(fits)
    assert len(display.lines_) == len(display.ax_.lines) == 3
    for line, (name, fitted) in zip(display.lines_, fits.items(), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), fitted.lower_bounds_)
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, fitted.n_iter_ + 1))
        assert line.get_label() == f"{name}: {fitted.lower_bound_:.3f}"
    assert display.ax_.get_xlabel() == "iteration"
    assert display.ax_.get_ylabel() == "ELBO (nats per row)"


def test_only_a_fit_that_converged_ends_in_a_full_circle(fits):
    display = ELBOCurveDisplay.from_estimator(fits)
    ends = display.ax_.collections
    white = (1.0, 1.0, 1.0, 1.0)
    for end, fitted in zip(ends, fits.values(), strict=True):
        assert (tuple(end.get_facecolor()[0]) == white) == (not fitted.converged_)
        np.testing.assert_array_equal(
            end.get_offsets()[0], [fitted.n_iter_, fitted.lower_bounds_[-1]]
        )
    assert "not converged" in display.ax_.get_legend().get_title().get_text()


@pytest.mark.slow
def test_rows_held_out_are_dotted_and_steps_are_epochs(faithful):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vae = VAEEstimator(1, hidden_layer_sizes=8, max_iter=4, random_state=0).fit(faithful)
    display = ELBOCurveDisplay.from_estimator(vae)
    dotted = display.ax_.lines[1]
    np.testing.assert_array_equal(dotted.get_ydata(), vae.validation_lower_bounds_)
    assert dotted.get_linestyle() == ":" and display.ax_.get_xlabel() == "epoch"
    both = ELBOCurveDisplay.from_estimator([vae, VariationalEM(1, model="gaussian").fit(faithful)])
    assert both.ax_.get_xlabel() == "iteration or epoch"


def test_bounds_far_below_the_later_ones_leave_the_panel():
    bounds = np.r_[-1e6, -30.0, np.linspace(-20, -10, 98)]
    ax = ELBOCurveDisplay(lower_bounds={"fit": bounds}).plot().ax_
    low, high = ax.get_ylim()
    assert -50 < low < bounds[5] and high > -10
    assert ax.get_xscale() == "log"


def test_a_pipeline_is_refused_with_the_remedy(faithful):
    pipeline = make_pipeline(StandardScaler(), EMGaussianMixture(random_state=0)).fit(faithful)
    with pytest.raises(TypeError, match="Pipeline has no lower_bounds_.*not a pipeline"):
        ELBOCurveDisplay.from_estimator(pipeline)
