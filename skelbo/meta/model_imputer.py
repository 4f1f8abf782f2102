"""Imputation of missing cells by a fitted density, as a transformer."""

from __future__ import annotations

import numpy as np
from sklearn.base import OneToOneFeatureMixin, TransformerMixin, clone
from sklearn.impute import MissingIndicator
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.validation import check_is_fitted

from skelbo.data.dependent_rows import features_of_rows
from skelbo.data.numeric_table import as_table
from skelbo.data.random_stream import random_stream
from skelbo.data.table_check import check_table
from skelbo.meta.meta_estimator import MetaEstimator
from skelbo.transaction import meta_fit_method


class ModelImputer(OneToOneFeatureMixin, TransformerMixin, MetaEstimator):
    """Imputer of missing cells by their expectation under a fitted model, given observed ones.

    Parameters
    ----------
    estimator : estimator object
        With ``fit`` and ``impute``, such as all of skelbo.
    sample_posterior : bool, default=False
        Whether cells are one draw from p(x_missing | x_observed), which keeps the spread of the
        columns, instead of its mean. Several draws are ``estimator.impute(X, n_draws=m)``.
    random_state : int, RandomState or None, default=None
        Source of randomness of the draws.
    add_indicator : bool, default=False
        Whether columns that mark the cells that were missing are appended, for the columns with
        missing cells in the fit.

    Attributes
    ----------
    estimator_ : estimator object
        The fitted model.
    indicator_ : sklearn.impute.MissingIndicator or None
        Source of the appended columns; None unless `add_indicator`.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X had any.

    See Also
    --------
    sklearn.impute.IterativeImputer : One regression per column, in turns.

    References
    ----------
    Little and Rubin (2019), *Statistical Analysis with Missing Data*, section 11.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo import GaussianMLE
    >>> from skelbo.meta import ModelImputer
    >>> X = np.array([[0.0, 1.0], [1.0, 2.0], [2.0, 5.0], [1.0, np.nan]])
    >>> ModelImputer(GaussianMLE()).fit_transform(X)[3].round(2)
    array([1.  , 2.67])
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "impute"])],
        "sample_posterior": ["boolean"],
        "random_state": ["random_state"],
        "add_indicator": ["boolean"],
    }

    def __init__(
        self, estimator, *, sample_posterior=False, random_state=None, add_indicator=False
    ):
        self.estimator = estimator
        self.sample_posterior = sample_posterior
        self.random_state = random_state
        self.add_indicator = add_indicator

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @meta_fit_method
    def fit(self, X, y=None, sample_weight=None, **params):
        """Fit the model.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Frequency weights: weight 2 is the row twice, weight 0 is the row absent.
        **params : dict
            Metadata for the ``fit`` of the estimator.

        Returns
        -------
        self : ModelImputer
            The fitted imputer.
        """
        X = as_table(X)
        cells = check_table(self, features_of_rows(self.estimator, X), reset=True)
        weights, params = self._fit_parameters(X, sample_weight, params)
        context = self._init_callback_context(max_subtasks=1)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        model = self._fit_within(context, "fit-model", clone(self.estimator), X, None, params)
        indicator = None
        if self.add_indicator:
            present = slice(None) if weights is None else weights > 0
            indicator = MissingIndicator(error_on_new=False).fit(cells[present])
        seed = random_stream(self.random_state).randint(2**31 - 1)
        self.estimator_, self.indicator_, self._seed = model, indicator, seed
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    def transform(self, X):
        """Complete the rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).

        Returns
        -------
        X : ndarray of shape (n_samples, n_features + n_indicators)
            Observed cells are unchanged. The same at a second call.
        """
        check_is_fitted(self)
        cells = check_table(self, features_of_rows(self.estimator_, X), reset=False)
        if self.sample_posterior:
            completed = self.estimator_.impute(X, n_draws=1, random_state=self._seed)[0]
        else:
            completed = np.asarray(self.estimator_.impute(X))
        if self.indicator_ is None:
            return completed
        gaps = self.indicator_.transform(cells)
        return np.hstack([completed, np.asarray(gaps, dtype=completed.dtype)])

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns of `transform`.

        Parameters
        ----------
        input_features : array-like of str of shape (n_features,) or None, default=None
            Names of the columns of X, where the fit had none.

        Returns
        -------
        names : ndarray of str, shape (n_columns,)
            Those of the columns of X, and of the indicators.
        """
        names = super().get_feature_names_out(input_features)
        if self.indicator_ is None:
            return names
        return np.concatenate([names, self.indicator_.get_feature_names_out(names)])
