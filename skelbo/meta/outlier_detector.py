"""Outlier detector: rows of low density."""

from __future__ import annotations

from numbers import Real

import numpy as np
from sklearn.base import OutlierMixin, clone
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skelbo.meta.meta_estimator import MetaEstimator
from skelbo.transaction import meta_fit_method

AUTO_CONTAMINATION = 0.1


class DensityOutlierDetector(OutlierMixin, MetaEstimator):
    """Detector of outliers: rows whose fitted log-density is low.

    Parameters
    ----------
    estimator : estimator object
        With ``fit`` and ``score_samples``, the log-density in nats, such as all of skelbo.
    contamination : "auto" or float, default="auto"
        Share of the rows of the fit that are outliers, above 0 and at most 0.5; ``"auto"`` is 0.1.

    Attributes
    ----------
    estimator_ : estimator object
        The fitted density.
    offset_ : float
        Log-density, in nats, below which a row is an outlier: the weighted quantile of the rows of
        the fit.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X had any.

    See Also
    --------
    sklearn.ensemble.IsolationForest : Outliers by random splits.
    sklearn.covariance.EllipticEnvelope : Outliers by a robust Gaussian.

    Notes
    -----
    The density is fitted to the outliers, too: a mixture with a component of their own for each
    few of them does not find them. Fewer components, or a numeric ``reg_covar``, keep it coarse.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo import EMGaussianMixture
    >>> from skelbo.meta import DensityOutlierDetector
    >>> X = np.random.default_rng(0).standard_normal((100, 2))
    >>> X[0] = [6.0, -6.0]
    >>> detector = DensityOutlierDetector(EMGaussianMixture(1), contamination=0.01).fit(X)
    >>> int(np.flatnonzero(detector.predict(X) == -1)[0])
    0
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "score_samples"])],
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
    }

    def __init__(self, estimator, contamination="auto"):
        self.estimator = estimator
        self.contamination = contamination

    @meta_fit_method
    def fit(self, X, y=None, sample_weight=None, **params):
        """Fit the density, and find the offset.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with missing cells (NaN) where the estimator takes them.
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Frequency weights: weight 2 is the row twice, weight 0 is the row absent.
        **params : dict
            Metadata for the ``fit`` of the estimator.

        Returns
        -------
        self : DensityOutlierDetector
            The fitted detector.
        """
        X = self._check_table(X, reset=True)
        weights, params = self._fit_parameters(X, sample_weight, params)
        context = self._init_callback_context(max_subtasks=1)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        model = self._fit_within(context, "fit-density", clone(self.estimator), X, None, params)
        scores = np.asarray(model.score_samples(X), dtype=np.float64)
        share = AUTO_CONTAMINATION if self.contamination == "auto" else self.contamination
        weights = np.ones(X.shape[0]) if weights is None else weights
        self.estimator_, self.offset_ = model, weighted_quantile(scores, share, weights)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def score_samples(self, X):
        """Compute the log-density of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            In nats; lower is more of an outlier.
        """
        check_is_fitted(self)
        X = self._check_table(X, reset=False)
        return self.estimator_.score_samples(X)

    def decision_function(self, X):
        """Compute the log-density of each row less that of the border.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            In nats; negative for outliers.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X):
        """Return 1 for inliers and -1 for outliers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        labels : ndarray of int, shape (n_samples,)
            1 or -1.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)


def weighted_quantile(values: np.ndarray, share: float, weights: np.ndarray) -> float:
    """Return a number below which lie values of this share of the weight.

    The inverse of the distribution function; at a step, the mean of both sides. Weight 2 counts
    as the value twice, weight 0 as none, and a common factor of all weights changes nothing.
    """
    order = np.argsort(values, kind="stable")
    order = order[weights[order] > 0]
    reached = np.cumsum(weights[order])
    target, total = share * reached[-1], reached[-1]
    first = int(np.searchsorted(reached, target - 1e-12 * total))
    at_step = abs(reached[first] - target) <= 1e-12 * total and first + 1 < len(order)
    last = first + 1 if at_step else first
    low, high = values[order[first]], values[order[last]]
    return float(low if low == high else 0.5 * (low + high))
