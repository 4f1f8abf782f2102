"""Scores of rows under a fitted model: log p(x), its lower bound, information criteria."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from sklearn.utils.metaestimators import available_if

from skelbo.data.dask_detection import is_dask
from skelbo.data.dask_dispatch import lazy_on_dask
from skelbo.data.validation import InputValidation
from skelbo.data.weights import check_weights
from skelbo.elbo import ElboTerms


class DensityScores(InputValidation, ABC):
    """Scores of an estimator that supplies ``_log_prob`` and ``_elbo_terms``.

    Scores are in nats, in the units of the X that was passed, every constant included. The hooks
    may answer in float64: users get the dtype of X.
    """

    @abstractmethod
    def _log_prob(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log p(x) and its standard error for validated rows."""

    @abstractmethod
    def _elbo_terms(self, X: np.ndarray) -> ElboTerms:
        """Return the terms of the bound for validated rows."""

    @abstractmethod
    def _posterior_mean(self, X: np.ndarray) -> np.ndarray:
        """Return the mean of q(z | x) for validated rows."""

    @property
    @abstractmethod
    def n_parameters_(self) -> int:
        """Number of free parameters."""

    @property
    def latent_kind(self) -> str:
        """Kind of the latents: "continuous", "binary", "label", "chain" (of labels) or "code"."""
        return "continuous"

    @lazy_on_dask
    def score_samples(self, X, return_std=False):
        """Compute log p(x) of each row in nats, in the units of X, all constants included.

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

        Raises
        ------
        ValueError
            If X has other columns than in the fit, or an infinite cell.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import GaussianMLE
        >>> model = GaussianMLE().fit(np.array([[0.0], [2.0], [4.0]]))
        >>> model.score_samples(np.array([[2.0], [4.0]])).round(3)
        array([-1.409, -2.159])
        """
        X = self._validate(X, finite=not self._finds_infinity)
        with np.errstate(over="ignore"):  # float32 has no density below -3e38 nats
            log_prob, std = (array.astype(X.dtype, copy=False) for array in self._log_prob(X))
        return (log_prob, std) if return_std else log_prob

    def score(self, X, y=None, sample_weight=None):
        """Compute the weighted mean of `score_samples`, in nats per row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Frequency weights; a row of weight 0 is absent.

        Returns
        -------
        score : float
            Mean log-density.

        Raises
        ------
        ValueError
            If X does not match the fit, or a weight is negative or not finite, or all are zero.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import GaussianMLE
        >>> X = np.array([[0.0], [2.0], [4.0]])
        >>> model = GaussianMLE().fit(X)
        >>> bool(np.isclose(model.score(X[[0, 0, 1]]), model.score(X, sample_weight=[2, 1, 0])))
        True
        """
        return self._mean_log_prob(X, sample_weight)[0]

    @lazy_on_dask
    def elbo_terms(self, X):
        """Compute reconstruction, KL, energy and entropy of each row, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).

        Returns
        -------
        terms : ElboTerms
            Arrays of shape (n_samples,); Ding (2020), eq. 3 and 4.

        Raises
        ------
        ValueError
            If X has other columns than in the fit, or an infinite cell.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMGaussianMixture
        >>> X = np.array([[0.0], [0.2], [5.0], [5.3]])
        >>> EMGaussianMixture(2, random_state=0).fit(X).elbo_terms(X).kl.round(3)
        array([0.693, 0.693, 0.693, 0.693])
        """
        X = self._validate(X)
        with np.errstate(over="ignore"):
            return self._elbo_terms(X).map(lambda term: term.astype(X.dtype, copy=False))

    def elbo(self, X):
        """Compute the evidence lower bound of each row, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).

        Returns
        -------
        elbo : ndarray of shape (n_samples,)
            At most `score_samples(X)`; equal to it where q is exact. Ding (2020), eq. 3.

        Raises
        ------
        ValueError
            If X has other columns than in the fit, or an infinite cell.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMGaussianMixture
        >>> X = np.array([[0.0], [0.2], [5.0], [5.3]])
        >>> model = EMGaussianMixture(2, random_state=0).fit(X)
        >>> np.allclose(model.elbo(X), model.score_samples(X))
        True
        """
        return self.elbo_terms(X).elbo

    @lazy_on_dask
    def gap(self, X):
        """Compute KL(q || p(z | x)) of each row: ``score_samples(X) - elbo(X)``, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).

        Returns
        -------
        gap : ndarray of shape (n_samples,)
            Zero where q is the posterior. Ding (2020), eq. 2.

        Raises
        ------
        ValueError
            If X has other columns than in the fit, or an infinite cell.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMGaussianMixture
        >>> X = np.array([[0.0], [0.2], [5.0], [5.3]])
        >>> bool(np.abs(EMGaussianMixture(2, random_state=0).fit(X).gap(X)).max() < 1e-12)
        True
        """
        X = self._validate(X)
        log_prob, bound = self._log_prob(X)[0], self._elbo_terms(X).elbo
        gap = np.zeros_like(log_prob)  # also where both are minus infinity, far from everything
        np.subtract(log_prob, bound, out=gap, where=log_prob != bound)
        return gap.astype(X.dtype, copy=False)

    def aic(self, X, sample_weight=None):
        """Compute Akaike's information criterion, lower is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Frequency weights; a row of weight 0 is absent.

        Returns
        -------
        aic : float
            ``-2 log p(X) + 2 n_parameters_``, in nats times two.

        Raises
        ------
        ValueError
            If X does not match the fit, or a weight is negative or not finite, or all are zero.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import GaussianMLE
        >>> X = np.array([[0.0], [2.0], [4.0]])
        >>> round(GaussianMLE().fit(X).aic(X), 2)
        15.46
        """
        return self._deviance(X, sample_weight)[0] + 2 * self.n_parameters_

    def bic(self, X, sample_weight=None):
        """Compute the Bayesian information criterion, lower is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Frequency weights; the number of rows is their sum.

        Returns
        -------
        bic : float
            ``-2 log p(X) + log(n_samples) n_parameters_``, in nats times two.

        Raises
        ------
        ValueError
            If X does not match the fit, or a weight is negative or not finite, or all are zero.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import GaussianMLE
        >>> X = np.array([[0.0], [2.0], [4.0]])
        >>> round(GaussianMLE().fit(X).bic(X), 2)
        13.65
        """
        deviance, n_samples = self._deviance(X, sample_weight)
        return deviance + float(np.log(n_samples)) * self.n_parameters_

    @available_if(lambda self: self._has_labels)
    def icl(self, X, sample_weight=None):
        r"""Compute the integrated completed likelihood criterion, lower is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Frequency weights; the number of rows is their sum.

        Returns
        -------
        icl : float
            :math:`BIC - 2 \sum_i w_i \log \max_k p(z_i = k \mid x_i)`, in nats times two: clusters
            that overlap cost more than in `bic`.

        Raises
        ------
        ValueError
            If X does not match the fit, or a weight is negative or not finite, or all are zero.

        References
        ----------
        Biernacki, Celeux and Govaert (2000), *Assessing a Mixture Model for Clustering with the
        Integrated Completed Likelihood*; labels are the most probable ones, as in mclust.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMGaussianMixture
        >>> X = np.array([[0.0], [0.2], [5.0], [5.3]])
        >>> model = EMGaussianMixture(2, random_state=0).fit(X)
        >>> bool(np.isclose(model.icl(X), model.bic(X)))
        True
        """
        mean, n_rows = self._mean_over_rows("_log_max_resp", X, sample_weight)
        return self.bic(X, sample_weight) - 2 * mean * n_rows

    @property
    def _has_labels(self) -> bool:
        """True if z is a label with a posterior in closed form."""
        return self.latent_kind in ("label", "chain")

    def _summary_criteria(self):
        return ("aic", "bic", "icl") if self._has_labels else ("aic", "bic")

    def _deviance(self, X, sample_weight) -> tuple[float, float]:
        """Return -2 log p(X) and the number of rows: the sum of the weights."""
        mean, n_rows = self._mean_log_prob(X, sample_weight)
        return -2 * mean * n_rows, n_rows

    def _mean_log_prob(self, X, sample_weight) -> tuple[float, float]:
        """Return the weighted mean of log p(x) and the sum of the weights."""
        return self._mean_over_rows("_log_density", X, sample_weight)

    def _mean_over_rows(self, name: str, X, sample_weight) -> tuple[float, float]:
        """Return the weighted mean of a method's values for rows, and the sum of the weights."""
        if is_dask(X):
            from skelbo.data.dask_answers import mean_over_rows

            return mean_over_rows(self, name, X, sample_weight)
        X = self._validate(X, finite=not self._finds_infinity)
        weights, values = check_weights(sample_weight, len(X)), getattr(self, name)
        if weights is None:
            return float(np.mean(values(X), dtype=np.float64)), float(len(X))
        if not weights.all():
            X, weights = X[weights > 0], weights[weights > 0]
        mean = np.average(values(X).astype(np.float64), weights=weights)
        return float(mean), float(weights.sum())

    def _log_density(self, X: np.ndarray) -> np.ndarray:
        """Return log p(x) of validated rows."""
        return self._log_prob(X)[0]

    def _log_max_resp(self, X: np.ndarray) -> np.ndarray:
        """Return log max_k p(z = k | x) of validated rows, for the estimators that have labels."""
        return np.log(self._posterior_mean(X).max(axis=1))
