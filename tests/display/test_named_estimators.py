"""Estimators get the names of a dict, or of their classes with numbers where these come twice."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skelbo import EMGaussianMixture, GaussianMLE
from skelbo.display.named_estimators import named_estimators

X = np.random.default_rng(0).standard_normal((30, 2))
GAUSSIAN = GaussianMLE().fit(X)
MIXTURES = [EMGaussianMixture(k, random_state=0, max_iter=300).fit(X) for k in (1, 2)]


def test_names():
    assert named_estimators(GAUSSIAN) == {"GaussianMLE": GAUSSIAN}
    several = named_estimators([MIXTURES[0], GAUSSIAN, MIXTURES[1]])
    assert list(several) == ["EMGaussianMixture 1", "GaussianMLE", "EMGaussianMixture 2"]
    assert several["EMGaussianMixture 2"] is MIXTURES[1]
    assert named_estimators({"one": GAUSSIAN}) == {"one": GAUSSIAN}


def test_refusals():
    with pytest.raises(ValueError, match="No estimator was given"):
        named_estimators([])
    with pytest.raises(NotFittedError):
        named_estimators([GAUSSIAN, GaussianMLE()])
