"""The shell that every estimator of the library has: scores, bounds, criteria, callbacks."""

from __future__ import annotations

import warnings
from abc import ABCMeta, abstractmethod
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    TransformerMixin,
)
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skelbo.data.dask_dispatch import is_dask, lazy_on_dask
from skelbo.data.validation import InputValidation
from skelbo.data.weights import check_weights
from skelbo.elbo import ElboTerms
from skelbo.em.loop import Ascent

NOT_CONVERGED = (
    "Best performing initialization did not converge. Try different init parameters, or increase "
    "max_iter, tol, or check for degenerate data."
)
STILL_CLIMBING = (
    " The bound still climbed by {climb:.3g} nats per row in iteration {n_iter} "
    "(max_iter={max_iter}, tol={tol})."
)


class LatentVariableEstimator(
    InputValidation,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    DensityMixin,
    CallbackSupportMixin,
    BaseEstimator,
    metaclass=ABCMeta,
):
    """A model p(x, z; theta) behind scikit-learn's interface.

    A subclass supplies ``fit`` and the hooks ``_log_prob``, ``_elbo_terms``, ``_posterior_mean``,
    ``_reconstruct``, ``_expected_cells``, ``_draw`` and ``n_parameters_``; everything that users
    call is here, once. Scores are in nats, in the units of the X that was passed, every constant
    included. Hooks may answer in float64: what users get is in the dtype of X.
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # ----------------------------------------------------------------- hooks

    @abstractmethod
    def _log_prob(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log p(x) and its standard error for validated rows."""

    @abstractmethod
    def _elbo_terms(self, X: np.ndarray) -> ElboTerms:
        """Return the terms of the bound for validated rows."""

    @abstractmethod
    def _posterior_mean(self, X: np.ndarray) -> np.ndarray:
        """Return the mean of q(z | x) for validated rows."""

    @abstractmethod
    def _reconstruct(self, Z: np.ndarray) -> np.ndarray:
        """Return E[x | z] for validated latents."""

    @abstractmethod
    def _expected_cells(self, X: np.ndarray) -> np.ndarray:
        """Return E[x | observed cells] of every cell of validated rows, all of them incomplete."""

    @abstractmethod
    def _draw(self, n_samples: int, random_state: Any) -> tuple[np.ndarray, np.ndarray]:
        """Draw `n_samples` pairs (x, z) from the joint."""

    @property
    @abstractmethod
    def n_parameters_(self) -> int:
        """Number of free parameters."""

    @property
    @abstractmethod
    def _n_features_out(self) -> int:
        """Number of columns of `transform`."""

    # ---------------------------------------------------------------- scores

    @lazy_on_dask
    def score_samples(self, X, return_std=False):
        """Return log p(x) of each row: nats, in the units of X, all constants included.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Missing cells (NaN) are integrated out: the density of the observed cells.
        return_std : bool, default=False
            Also return the standard error of each estimate; zeros where it is exact.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            Log-density of each row, never its lower bound.
        std : ndarray of shape (n_samples,)
            Only if `return_std`.
        """
        X = self._validate(X, finite=not self._finds_infinity)
        log_prob, std = (array.astype(X.dtype, copy=False) for array in self._log_prob(X))
        return (log_prob, std) if return_std else log_prob

    def score(self, X, y=None, sample_weight=None):
        """Return the weighted mean of `score_samples`, in nats per row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), optional
            Frequency weights.

        Returns
        -------
        score : float
            Mean log-density.
        """
        return self._mean_log_prob(X, sample_weight)[0]

    @lazy_on_dask
    def elbo_terms(self, X):
        """Return reconstruction, KL, energy and entropy of each row, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).

        Returns
        -------
        terms : ElboTerms
            Ding (2020), eq. 3 and 4.
        """
        X = self._validate(X)
        terms = self._elbo_terms(X)
        return terms.map(lambda term: term.astype(X.dtype, copy=False))

    def elbo(self, X):
        """Return the evidence lower bound of each row, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).

        Returns
        -------
        elbo : ndarray of shape (n_samples,)
            At most `score_samples(X)`; equal to it where q is exact. Ding (2020), eq. 3.
        """
        return self.elbo_terms(X).elbo

    @lazy_on_dask
    def gap(self, X):
        """Return KL(q || p(z | x)) of each row: ``score_samples(X) - elbo(X)``, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).

        Returns
        -------
        gap : ndarray of shape (n_samples,)
            What q loses. Ding (2020), eq. 2.
        """
        X = self._validate(X)
        log_prob, bound = self._log_prob(X)[0], self._elbo_terms(X).elbo
        gap = np.zeros_like(log_prob)  # also where both are minus infinity, far from everything
        np.subtract(log_prob, bound, out=gap, where=log_prob != bound)
        return gap.astype(X.dtype, copy=False)

    def aic(self, X, sample_weight=None):
        """Return Akaike's information criterion, lower is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).
        sample_weight : array-like of shape (n_samples,), optional
            Frequency weights.

        Returns
        -------
        aic : float
            ``-2 log p(X) + 2 n_parameters_``.
        """
        return self._deviance(X, sample_weight)[0] + 2 * self.n_parameters_

    def bic(self, X, sample_weight=None):
        """Return the Bayesian information criterion, lower is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).
        sample_weight : array-like of shape (n_samples,), optional
            Frequency weights; the number of rows is their sum.

        Returns
        -------
        bic : float
            ``-2 log p(X) + log(n_samples) n_parameters_``.
        """
        deviance, n_samples = self._deviance(X, sample_weight)
        return deviance + float(np.log(n_samples)) * self.n_parameters_

    def _deviance(self, X, sample_weight) -> tuple[float, float]:
        """Return -2 log p(X) and the number of rows: the sum of the weights."""
        mean, n_rows = self._mean_log_prob(X, sample_weight)
        return -2 * mean * n_rows, n_rows

    def _mean_log_prob(self, X, sample_weight) -> tuple[float, float]:
        """Return the weighted mean of log p(x) and the sum of the weights."""
        if is_dask(X):
            from skelbo.data.dask_answers import mean_log_prob

            return mean_log_prob(self, X, sample_weight)
        log_prob = self.score_samples(X)
        weights = check_weights(sample_weight, len(log_prob))
        if weights is None:
            return float(np.mean(log_prob)), float(len(log_prob))
        present = weights > 0  # a row of weight zero is absent, even where p(x) underflows
        log_prob, weights = log_prob[present].astype(np.float64), weights[present]
        return float(np.average(log_prob, weights=weights)), float(weights.sum())

    # --------------------------------------------------------------- latents

    @lazy_on_dask
    def transform(self, X):
        """Return the mean of q(z | x) of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).

        Returns
        -------
        Z : ndarray of shape (n_samples, n_latents)
            Deterministic: no draw is involved.
        """
        X = self._validate(X, finite=not self._finds_infinity)
        return self._posterior_mean(X).astype(X.dtype, copy=False)

    def inverse_transform(self, Z):
        """Return E[x | z] of each row of latents.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_latents)
            Latents, as `transform` gives them.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In the units of the data.

        Raises
        ------
        ValueError
            If Z has another number of columns, or a cell that is not finite.
        """
        check_is_fitted(self)
        Z = np.asarray(Z)
        Z = Z if Z.dtype in (np.float32, np.float64) else Z.astype(np.float64)
        if Z.ndim != 2 or Z.shape[1] != self._n_features_out:
            raise ValueError(
                f"Z has shape {Z.shape}, expected (n_samples, {self._n_features_out}); "
                "pass latents as transform(X) returns them."
            )
        if not np.isfinite(Z).all():
            raise ValueError(
                "Z contains NaN or infinity, expected finite latents; pass latents as "
                "transform(X) returns them."
            )
        return self._reconstruct(Z)

    @lazy_on_dask
    def impute(self, X):
        """Return X with missing cells replaced by their expectation given the observed ones.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with missing cells (NaN).

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            A complete copy; observed cells are unchanged.
        """
        X = np.array(self._validate(X))
        missing = np.isnan(X)
        incomplete = np.flatnonzero(missing.any(axis=1))
        if incomplete.size:
            expected = self._expected_cells(X[incomplete])
            X[missing] = expected[missing[incomplete]]
        return X

    def sample(self, n_samples=1, random_state=None):
        """Draw from the joint p(x, z).

        Parameters
        ----------
        n_samples : int, default=1
            Number of draws.
        random_state : int, RandomState or None, default=None
            Source of randomness; None draws afresh. (A mixture goes on with the generator of its
            fit instead, so that repeated calls give new draws and a program with a seed gives the
            same ones each time.)

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows; those of a mixture are grouped by component.
        Z : ndarray of shape (n_samples, n_latents)
            The latents they come from; for a mixture the components, int of shape (n_samples,).
        """
        check_is_fitted(self)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(
                f"Invalid value for 'n_samples': {n_samples}, expected an integer of at least 1."
            )
        return self._draw(int(n_samples), random_state)

    def fit_transform(self, X, y=None, sample_weight=None):
        """Fit to X and return ``transform(X)``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), optional
            Frequency weights.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_latents)
            Latents.
        """
        return self.fit(X, y, sample_weight=sample_weight).transform(X)

    # ------------------------------------------------------------- the fit's

    def _warn_if_not_converged(self, ascent: Ascent, max_iter: int, tol: Any) -> None:
        if ascent.converged or max_iter == 0:
            return
        message = NOT_CONVERGED
        if ascent.n_iter:
            climb = np.diff((ascent.start_bound, *ascent.lower_bounds))[-1]
            message += STILL_CLIMBING.format(
                climb=climb, n_iter=ascent.n_iter, max_iter=max_iter, tol=tol
            )
        warnings.warn(message, ConvergenceWarning, stacklevel=3)

    def _publish_ascent(self, ascent: Ascent) -> None:
        self.lower_bound_ = ascent.lower_bound
        self.lower_bounds_ = list(ascent.lower_bounds)
        self.n_iter_ = ascent.n_iter
        self.converged_ = ascent.converged


def random_stream(random_state: Any) -> np.random.RandomState:
    """Return a generator that leaves NumPy's global one alone, also for None."""
    if random_state is None:
        return np.random.RandomState()
    return check_random_state(random_state)
