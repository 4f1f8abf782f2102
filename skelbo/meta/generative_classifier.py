"""Bayes classifier from one density per class."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special
from sklearn.base import ClassifierMixin, clone
from sklearn.utils import _safe_indexing, column_or_1d
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, check_consistent_length, check_is_fitted

from skelbo.meta.meta_estimator import MetaEstimator, rows_of
from skelbo.transaction import meta_fit_method


class GenerativeClassifier(ClassifierMixin, MetaEstimator):
    r"""Classifier by Bayes' rule, with one fitted density for each class.

    .. math:: p(y = c \mid x) \propto \pi_c\, p(x; \theta_c)

    With :class:`skelbo.GaussianMLE` this is quadratic discriminant analysis, with ``"diag"``
    covariances Gaussian naive Bayes, with :class:`skelbo.EMGaussianMixture` mixture discriminant
    analysis. Missing cells are integrated out where the density does so.

    Parameters
    ----------
    estimator : estimator object
        With ``fit`` and ``score_samples``, the log-density in nats, such as all of skelbo. It is
        cloned for each class.
    priors : array-like of shape (n_classes,) or None, default=None
        Probabilities of the classes in the order of `classes_`; None takes their (weighted)
        shares of the rows.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels of the classes.
    class_prior_ : ndarray of shape (n_classes,)
        Probabilities of the classes.
    estimators_ : list of estimators
        The density of each class.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X had any.

    See Also
    --------
    sklearn.discriminant_analysis.QuadraticDiscriminantAnalysis : One Gaussian per class.

    Notes
    -----
    Densities are compared between classes. A step that standardises the columns belongs before
    the classifier, not into `estimator`: there each class would be measured in its own unit.

    References
    ----------
    Hastie and Tibshirani (1996), *Discriminant Analysis by Gaussian Mixtures*.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skelbo import GaussianMLE
    >>> from skelbo.meta import GenerativeClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = GenerativeClassifier(GaussianMLE()).fit(X, y)
    >>> round(classifier.score(X, y), 2)
    0.98
    >>> X[0, 1] = float("nan")
    >>> classifier.predict_proba(X[:1]).round(3)
    array([[1., 0., 0.]])
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "score_samples"])],
        "priors": ["array-like", None],
    }

    def __init__(self, estimator, *, priors=None):
        self.estimator = estimator
        self.priors = priors

    @meta_fit_method
    def fit(self, X, y, sample_weight=None, **params):
        """Fit the density of each class to its rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with missing cells (NaN) where the estimator takes them.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Frequency weights: weight 2 is the row twice, weight 0 is the row absent.
        **params : dict
            Metadata for the ``fit`` of the estimator; what has one entry per row is cut.

        Returns
        -------
        self : GenerativeClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If a class cannot be fitted (it is named), or if `priors` do not fit the classes.
        """
        X = self._check_table(X, reset=True)
        n_samples = X.shape[0]
        y = _labels(y)
        check_consistent_length(X, y)
        weights, params = self._fit_parameters(X, sample_weight, params)
        weights = np.ones(n_samples) if weights is None else weights
        classes, codes = np.unique(y[weights > 0], return_inverse=True)
        present = np.flatnonzero(weights > 0)
        prior = self._class_prior(classes, np.bincount(codes, weights[present]))
        context = self._init_callback_context(max_subtasks=len(classes))
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        models = []
        for code, label in enumerate(classes):
            rows = _repeated_if_alone(present[codes == code], weights)
            part = _safe_indexing(X, rows), rows_of(params, n_samples, rows)
            if "sample_weight" in params:
                part[1]["sample_weight"] = part[1]["sample_weight"] / np.bincount(rows)[rows]
            models.append(self._fit_class(context, label, *part))
        self.classes_, self.class_prior_, self.estimators_ = classes, prior, models
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def _fit_class(self, context: Any, label: Any, X: Any, params: dict) -> Any:
        """Return the density of one class."""
        try:
            name = f"fit-class-{label}"
            return self._fit_within(context, name, clone(self.estimator), X, None, params)
        except ValueError as error:
            shown = label.item() if isinstance(label, np.generic) else label
            message = f"the density of class {shown!r} could not be fitted: {error}"
            raise ValueError(message) from error

    def _class_prior(self, classes: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return the probabilities of the classes."""
        if self.priors is None:
            return counts / counts.sum()
        priors = np.asarray(self.priors, dtype=np.float64)
        if priors.shape != classes.shape:
            raise ValueError(
                f"priors has shape {priors.shape}, expected {classes.shape}: one probability for "
                f"each of the classes {classes.tolist()}."
            )
        if not (np.all(priors >= 0) and np.isclose(priors.sum(), 1.0)):
            raise ValueError(
                f"priors={priors.tolist()}, expected probabilities that add up to 1; divide them "
                "by their sum."
            )
        return priors / priors.sum()

    def _log_joint(self, X: Any) -> np.ndarray:
        """Return log p(x, y = c) of each row, (n_samples, n_classes), in nats."""
        check_is_fitted(self)
        X = self._check_table(X, reset=False)
        columns = [np.asarray(model.score_samples(X), np.float64) for model in self.estimators_]
        with np.errstate(divide="ignore"):
            return np.stack(columns, axis=1) + np.log(self.class_prior_)

    def predict_log_proba(self, X):
        """Compute log p(y = c | x) of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes)
            In nats, in the order of `classes_`. A row with density zero in all classes, which is
            far from all rows of the fit, has the class priors.
        """
        joint = self._log_joint(X)
        nowhere = ~(joint.max(axis=1) > -np.inf)
        with np.errstate(divide="ignore"):
            joint[nowhere] = np.log(self.class_prior_)
        return joint - special.logsumexp(joint, axis=1, keepdims=True)

    def predict_proba(self, X):
        """Compute p(y = c | x) of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`; rows add up to one.
        """
        return np.exp(self.predict_log_proba(X))

    def predict(self, X):
        """Return the most probable class of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Labels of `classes_`.
        """
        log_proba = self.predict_log_proba(X)  # of a classifier that is fitted
        return self.classes_[log_proba.argmax(axis=1)]


def _labels(y: Any) -> np.ndarray:
    """Return the class of each row, (n_samples,); ValueError where they cannot be told apart."""
    y = column_or_1d(y, warn=True)
    if y.dtype.kind == "T":  # numpy's strings of any length, which scikit-learn does not take
        y = y.astype(object)
    assert_all_finite(y, input_name="y")
    try:
        check_classification_targets(y)
    except TypeError:
        kinds = sorted({type(label).__name__ for label in y.tolist()})
        if len(kinds) == 1:
            raise
        raise ValueError(
            f"y has labels of the types {', '.join(kinds)}, expected numbers or strings; remove "
            "rows without a label, and convert the others to one type, such as y.astype(str)."
        ) from None
    return y


def _repeated_if_alone(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the rows of a class; one row of weight 2 or more is repeated, as it stands for many.

    An estimator that needs two rows then fits it as it does its repetitions.
    """
    return np.repeat(rows, 2) if len(rows) == 1 and weights[rows[0]] >= 2 else rows
