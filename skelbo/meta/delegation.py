"""Methods of a search that are those of the estimator that it chose."""

from __future__ import annotations

from typing import Any

from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skelbo.meta.meta_estimator import MetaEstimator

DOCSTRING = """{summary}

Parameters
----------
*args, **kwargs
    Those of ``best_estimator_.{name}``.

Returns
-------
object
    As the chosen estimator returns it.

Raises
------
AttributeError
    If the search has ``refit=False``, which keeps no estimator.
"""


def delegated(name: str, summary: str) -> Any:
    """Return a method that calls the chosen estimator's; a search has it where that does.

    Parameters
    ----------
    name : str
        Name of the method.
    summary : str
        First line of its docstring.
    """

    def has(self) -> bool:
        return hasattr(vars(self).get("best_estimator_", self.estimator), name)

    def method(self, *args, **kwargs):
        return getattr(self._chosen(), name)(*args, **kwargs)

    method.__name__, method.__qualname__ = name, f"DelegatedMethods.{name}"
    method.__doc__ = DOCSTRING.format(summary=summary, name=name)
    return available_if(has)(method)


class DelegatedMethods(MetaEstimator):
    """Methods and attributes of the estimator that a search chose, `best_estimator_`."""

    estimator: Any

    aic = delegated("aic", "Compute Akaike's information criterion of rows.")
    bic = delegated("bic", "Compute the Bayesian information criterion of rows.")
    elbo = delegated("elbo", "Compute the evidence lower bound of each row, in nats.")
    elbo_terms = delegated("elbo_terms", "Compute the terms of the bound of each row, in nats.")
    forecast = delegated("forecast", "Predict the rows that follow each sequence.")
    gap = delegated("gap", "Compute ``score_samples(X) - elbo(X)``, in nats.")
    icl = delegated("icl", "Compute the integrated completed likelihood criterion of rows.")
    impute = delegated("impute", "Replace missing cells by expectations or draws.")
    inverse_transform = delegated("inverse_transform", "Compute E[x | z] of latents.")
    predict = delegated("predict", "Return the most probable label of each row.")
    predict_log_proba = delegated("predict_log_proba", "Return log-probabilities of labels.")
    predict_proba = delegated("predict_proba", "Return the probabilities of the labels of rows.")
    sample = delegated("sample", "Draw rows with their latents.")
    score_samples = delegated("score_samples", "Compute log p(x) of each row, in nats.")
    summary = delegated("summary", "Return a summary of the fit.")
    transform = delegated("transform", "Compute the latents of each row.")
    transform_std = delegated("transform_std", "Compute standard deviations of the latents.")

    def score(self, X, y=None, **params):
        """Return the score of the chosen estimator, the mean log-density in nats per row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : Ignored
            For the sake of pipelines.
        **params : dict
            ``sample_weight``, ``groups``.

        Returns
        -------
        score : float
            Higher is better.
        """
        arguments = (X,) if y is None else (X, y)
        return self._chosen().score(*arguments, **params)

    @available_if(lambda self: hasattr(self.estimator, "set_output"))
    def set_output(self, *, transform=None):
        """Set the container of `transform`, of the estimator and of the chosen fit.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None, default=None
            As in all of scikit-learn.

        Returns
        -------
        self : CriterionSearch
            The search.
        """
        for estimator in (self.estimator, vars(self).get("best_estimator_", self.estimator)):
            estimator.set_output(transform=transform)
        return self

    @property
    def latent_kind(self):
        """Kind of the latents of the chosen estimator."""
        return self._chosen().latent_kind

    @property
    def column_likelihoods_(self):
        """Name of the likelihood of each column, of the chosen estimator."""
        return self._chosen().column_likelihoods_

    @property
    def n_parameters_(self):
        """Number of free parameters of the chosen estimator."""
        return self._chosen().n_parameters_

    @property
    def classes_(self):
        """Labels of the classes, where the chosen estimator has any."""
        return self._chosen().classes_

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns of `transform`.

        Parameters
        ----------
        input_features : array-like of str of shape (n_features,) or None, default=None
            Names of the columns of X, where the fit had none.

        Returns
        -------
        names : ndarray of str, shape (n_columns,)
            Those of the chosen estimator.
        """
        return self._chosen().get_feature_names_out(input_features)

    def _chosen(self) -> Any:
        check_is_fitted(self)
        if not hasattr(self, "best_estimator_"):
            raise AttributeError(
                "refit=False keeps no estimator; set refit=True, or fit one with best_params_."
            )
        return self.best_estimator_
