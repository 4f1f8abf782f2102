"""The base class of every estimator: scores, latents, imputation, draws, results of a fit."""

from __future__ import annotations

import warnings
from abc import ABCMeta, abstractmethod
from typing import Any

import numpy as np
from sklearn.base import (
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    TransformerMixin,
)
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.metaestimators import available_if

from skelbo.checked_parameters import CheckedParameters
from skelbo.data.counts import as_count
from skelbo.data.dask_dispatch import lazy_on_dask
from skelbo.data.numeric_table import as_numbers
from skelbo.em.loop import Ascent
from skelbo.mixins.imputation import Imputation
from skelbo.mixins.scores import DensityScores
from skelbo.mixins.summary import Summarized
from skelbo.persistence import FileMethods
from skelbo.transaction import is_within_search

NOT_CONVERGED = (
    "Best performing initialization did not converge. Try different init parameters, or increase "
    "max_iter, tol, or check for degenerate data."
)
STILL_CLIMBING = (
    " The bound still climbed by {climb:.3g} nats per row in iteration {n_iter} "
    "(max_iter={max_iter}, tol={tol})."
)

INTERRUPTED = (
    "The fit was interrupted after {n_iter} iterations and keeps the best parameters so far; "
    "continue it by warm_start=True where the estimator has it, or fit anew."
)


class LatentVariableEstimator(
    DensityScores,
    Imputation,
    FileMethods,
    Summarized,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    DensityMixin,
    CallbackSupportMixin,
    CheckedParameters,
    metaclass=ABCMeta,
):
    """A model p(x, z; theta) behind scikit-learn's interface.

    A subclass supplies ``fit`` and the hooks ``_log_prob``, ``_elbo_terms``, ``_posterior_mean``,
    ``_reconstruct``, ``_expected_cells``, ``_draw_cells``, ``_draw`` and ``n_parameters_`` (where z
    is continuous ``_posterior_std``, too); everything that users call is here, once. Scores are in
    nats, in the units of the X that was passed, every constant included. Hooks may answer in
    float64: what users get is in the dtype of X.
    """

    # Whether `fit` goes on from a file of `skelbo.callbacks.Checkpoint`.
    _resumes_fits = False

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @abstractmethod
    def _reconstruct(self, Z: np.ndarray) -> np.ndarray:
        """Return E[x | z] for validated latents."""

    def _posterior_std(self, X: np.ndarray) -> np.ndarray:
        """Return the standard deviation of q(z | x) for validated rows, where z is continuous."""
        raise NotImplementedError

    @abstractmethod
    def _draw(self, n_samples: int, random_state: Any) -> tuple[np.ndarray, np.ndarray]:
        """Draw `n_samples` pairs (x, z) from the joint."""

    @property
    @abstractmethod
    def _n_features_out(self) -> int:
        """Number of columns of `transform`."""

    @lazy_on_dask
    def transform(self, X):
        """Compute the mean of q(z | x) of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).

        Returns
        -------
        Z : ndarray of shape (n_samples, n_latents)
            Deterministic: no draw is involved.

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
        >>> model.transform(X).argmax(axis=1)
        array([1, 1, 0, 0])
        """
        X = self._validate(X, finite=not self._finds_infinity)
        return self._posterior_mean(X).astype(X.dtype, copy=False)

    @available_if(lambda self: self._has_posterior_std)
    @lazy_on_dask
    def transform_std(self, X):
        """Compute the standard deviation of q(z | x) of each row, where z is continuous.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN), which widen q.

        Returns
        -------
        std : ndarray of shape (n_samples, n_latents)
            As `transform`, whose errors these are given the parameters.

        Raises
        ------
        ValueError
            If X has other columns than in the fit, or an infinite cell.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import GaussianMLE
        >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 5.0]])
        >>> GaussianMLE("diag").fit(X).transform_std([[1.0, 2.0], [1.0, np.nan]])
        array([[0., 0.],
               [0., 1.]])
        """
        X = self._validate(X)
        return self._posterior_std(X).astype(X.dtype, copy=False)

    @property
    def _has_posterior_std(self) -> bool:
        """True if z is continuous, so that q has a standard deviation."""
        return self.latent_kind == "continuous"

    @property
    def column_likelihoods_(self) -> np.ndarray:
        """Name of the likelihood of each column, an array of str (n_features,)."""
        self._check_fitted()
        default = np.full(self.n_features_in_, "gaussian", dtype=object)
        return np.asarray(vars(self).get("likelihood_", default))

    def inverse_transform(self, Z):
        """Compute E[x | z] of each row of latents.

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

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMGaussianMixture
        >>> X = np.array([[0.0], [0.2], [5.0], [5.3]])
        >>> model = EMGaussianMixture(2, random_state=0).fit(X)
        >>> model.inverse_transform([[0.5, 0.5]])
        array([[2.625]])
        """
        self._check_fitted()
        Z = np.asarray(as_numbers(Z))
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

        Raises
        ------
        ValueError
            If `n_samples` is not an integer of at least 1.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMGaussianMixture
        >>> X = np.array([[0.0], [0.2], [5.0], [5.3]])
        >>> model = EMGaussianMixture(2, random_state=0).fit(X)
        >>> rows, labels = model.sample(100, random_state=0)
        >>> rows.shape, labels.shape
        ((100, 1), (100,))
        """
        self._check_fitted()
        n_samples = as_count(n_samples, "n_samples")
        return self._draw(n_samples, random_state)

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

        Raises
        ------
        ValueError
            If X or the weights cannot be used; see `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMGaussianMixture
        >>> X = np.array([[0.0], [0.2], [5.0], [5.3]])
        >>> EMGaussianMixture(2, random_state=0).fit_transform(X).argmax(axis=1)
        array([1, 1, 0, 0])
        """
        return self.fit(X, y, sample_weight=sample_weight).transform(X)

    def _warn_if_not_converged(self, ascent: Ascent, max_iter: int, tol: Any) -> None:
        if ascent.converged or ascent.interrupted or max_iter == 0:
            return
        message = NOT_CONVERGED
        if ascent.n_iter:
            climb = np.diff((ascent.start_bound, *ascent.lower_bounds))[-1]
            message += STILL_CLIMBING.format(
                climb=climb, n_iter=ascent.n_iter, max_iter=max_iter, tol=tol
            )
        warnings.warn(message, ConvergenceWarning, stacklevel=3)

    def _publish_ascent(self, ascent: Ascent) -> None:
        """Set the attributes of an ascent; if it was interrupted, warn, or end a search."""
        if ascent.interrupted:
            if is_within_search():
                raise KeyboardInterrupt
            message = INTERRUPTED.format(n_iter=ascent.n_iter)
            warnings.warn(message, ConvergenceWarning, stacklevel=4)
        self.lower_bound_ = ascent.lower_bound
        self.lower_bounds_ = list(ascent.lower_bounds)
        self.n_iter_ = ascent.n_iter
        self.converged_ = ascent.converged
