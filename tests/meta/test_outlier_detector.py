"""Outliers: the offset is a weighted quantile, weights are repetitions, scores are in nats."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from skelbo import EMGaussianMixture, GaussianMLE
from skelbo.meta import DensityOutlierDetector
from skelbo.meta.outlier_detector import weighted_quantile


@pytest.mark.parametrize("contamination", ["auto", 0.02, 0.25, 0.5])
def test_the_share_of_outliers_is_the_contamination(contamination, iris):
    detector = DensityOutlierDetector(GaussianMLE(), contamination).fit(iris)
    share = 0.1 if contamination == "auto" else contamination
    assert np.sum(detector.predict(iris) == -1) == int(share * 150)
    assert_allclose(detector.score_samples(iris), GaussianMLE().fit(iris).score_samples(iris))
    assert_array_equal(detector.decision_function(iris) < 0, detector.predict(iris) == -1)


def test_weights_are_repetitions_and_their_unit_does_not_matter(faithful):
    weights = np.arange(272) % 4
    mixture = EMGaussianMixture(2, random_state=0)
    one = DensityOutlierDetector(mixture).fit(faithful, sample_weight=weights)
    repeated = np.repeat(faithful, weights, axis=0)
    other = DensityOutlierDetector(mixture).fit(repeated)
    scaled = DensityOutlierDetector(mixture).fit(faithful, sample_weight=0.3 * weights)
    assert one.offset_ == pytest.approx(other.offset_, rel=1e-6)
    assert one.offset_ == pytest.approx(scaled.offset_, rel=1e-6)
    assert np.mean(other.predict(repeated) == -1) == pytest.approx(0.1, abs=0.01)


def test_the_quantile_of_repetitions_is_that_of_numpy():
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = rng.integers(0, 8, 12).astype(float)
        weights = rng.integers(0, 4, 12)
        weights[0] = 1
        share = rng.choice([0.1, 0.25, 1 / 3, 0.5])
        expected = np.quantile(np.repeat(values, weights), share, method="averaged_inverted_cdf")
        assert weighted_quantile(values, share, weights.astype(float)) == pytest.approx(expected)


def test_rows_without_cells_and_in_a_search(iris):
    X = iris.copy()
    X[3] = np.nan
    detector = DensityOutlierDetector(GaussianMLE()).fit(X)
    assert set(detector.fit_predict(X)) == {-1, 1}
    scores = GaussianMLE().fit(iris).score_samples(iris)
    labels = np.where(scores < np.quantile(scores, 0.2), -1, 1)
    grid = {"estimator__covariance_type": ["full", "spherical"], "contamination": [0.05, 0.2]}
    search = GridSearchCV(DensityOutlierDetector(GaussianMLE()), grid, scoring="accuracy")
    assert search.fit(iris, labels).best_params_["estimator__covariance_type"] == "full"


def test_bad_input_by_message(iris):
    with pytest.raises(ValueError, match="must be an object implementing 'fit' and 'score_samples"):
        DensityOutlierDetector(LogisticRegression()).fit(iris)
    for wrong in (0.0, 0.6, "some"):
        with pytest.raises(ValueError, match="The 'contamination' parameter of DensityOutlier"):
            DensityOutlierDetector(GaussianMLE(), wrong).fit(iris)
