"""The bars are the terms that the estimators return, and add up to log p(x)."""

import numpy as np
import pytest

from skelbo import EMGaussianMixture, VariationalEM
from skelbo.display import ELBODecompositionDisplay


@pytest.fixture(scope="module")
def fits(faithful):
    mixture = EMGaussianMixture(3, covariance_type="tied", random_state=0).fit(faithful)
    return {"mixture": mixture, "features": VariationalEM(2, random_state=0).fit(faithful)}


def bars(display):
    """Return (begin, end) of the bars of each estimator: KL, entropy, gap."""
    ends = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in display.ax_.patches]
    return np.reshape(ends, (3, -1, 2)).transpose(1, 0, 2)


@pytest.mark.parametrize("weighted", [False, True])
def test_bars_are_the_terms(fits, faithful, weighted):
    weights = np.arange(len(faithful)) % 3 if weighted else None
    display = ELBODecompositionDisplay.from_estimator(fits, faithful, sample_weight=weights)
    for group, fitted in zip(bars(display), fits.values(), strict=True):
        terms = fitted.elbo_terms(faithful)
        reconstruction, energy, elbo, log_prob = (
            np.average(values, weights=weights)
            for values in (
                terms.reconstruction,
                terms.energy,
                fitted.elbo(faithful),
                fitted.score_samples(faithful),
            )
        )
        expected = [[reconstruction, elbo], [energy, elbo], [elbo, log_prob]]
        # matplotlib keeps the left end and the width of a bar.
        np.testing.assert_allclose(np.sort(group), np.sort(expected), atol=1e-9)
    assert display.ax_.get_xlabel() == "nats per row"


def test_marks_stand_at_the_ends(fits, faithful):
    display = ELBODecompositionDisplay.from_estimator(fits, faithful)
    marks = {line.get_label(): line.get_xdata() for line in display.ax_.lines}
    np.testing.assert_array_equal(marks["reconstruction"], display.reconstruction)
    np.testing.assert_array_equal(marks["energy"], display.energy)
    np.testing.assert_array_equal(marks["log p(x)"], display.log_prob)
    np.testing.assert_allclose(
        display.log_prob, [fitted.score(faithful) for fitted in fits.values()], atol=1e-9
    )
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels[0] == f"KL  {display.kl[0]:.3f}"


def test_wrong_weights_are_refused(fits, faithful):
    with pytest.raises(ValueError, match="sample_weight has shape"):
        ELBODecompositionDisplay.from_estimator(fits, faithful, sample_weight=[1.0, 2.0])
