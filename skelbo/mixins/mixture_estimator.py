"""The base class of mixtures: labels of new rows and their probabilities, on a fit by EM."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from skelbo.data.dask_dispatch import lazy_on_dask
from skelbo.data.random_stream import random_stream
from skelbo.gaussian.structures import STRUCTURES
from skelbo.likelihoods import Likelihood
from skelbo.mixins.mixture_fit import MixtureFit
from skelbo.mixins.standard_errors import StandardErrors
from skelbo.mixins.summary import feature_names
from skelbo.mixture.file_fields import check_weights_of
from skelbo.mixture.fitted_mixture import FittedMixture
from skelbo.mixture.parameter_columns import gaussian_means, parameter_columns
from skelbo.persistence import Array, Nullable, Number, Optional, RandomStream, Text
from skelbo.persistence import Sequence as SequenceField


class RowPredictor(Protocol):
    """Predictions of a fitted mixture for new rows."""

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Return log p(x; theta) of each row, (n,), in nats."""

    def resp(self, X: np.ndarray) -> np.ndarray:
        """Return p(z = k | x; theta) of each row, (n, K)."""

    def labels(self, X: np.ndarray) -> np.ndarray:
        """Return the most probable component of each row, (n,)."""


class MixtureEstimator(StandardErrors, MixtureFit):
    """A mixture fitted by EM; a subclass supplies what its components are."""

    covariance_type: str

    @property
    def latent_kind(self):
        """Kind of the latents: "label"."""
        return "label"

    @abstractmethod
    def _predictor(self) -> RowPredictor:
        """Return the predictor of the public arrays as they are now."""

    @abstractmethod
    def _fitted(self) -> FittedMixture:
        """Return the mixture of the public arrays as they are now."""

    @abstractmethod
    def _column_parameters(self) -> Sequence[str]:
        """Return the names of the parameters besides weights and means, without underscore."""

    def _column_kinds(self) -> Sequence[Likelihood]:
        """Return the likelihood of each column; none where all are Gaussian."""
        return ()

    # ------------------------------------------------------------------ files

    def _file_attributes(self):
        failure = SequenceField((Number(integer=True, low=0), Text()), kind=tuple)
        return {
            **super()._file_attributes(),
            "weights_": Array((self.n_components,), low=0.0, high=1.0),
            "failed_starts_": Optional(SequenceField(failure)),
            "random_state_": Optional(Nullable(RandomStream())),
        }

    def _set_file_state(self, state):
        check_weights_of(state)
        super()._set_file_state(state)
        self._fitted()  # ValueError where the arrays are no mixture

    # -------------------------------------------------------------- after fit

    @property
    def _n_features_out(self):
        return self.means_.shape[0]

    def _log_prob(self, X):
        log_prob = self._predictor().log_prob(X)
        return log_prob, np.zeros_like(log_prob)

    def _elbo_terms(self, X):
        return self._fitted().elbo_terms(X)

    def _posterior_mean(self, X):
        return self._predictor().resp(X)

    def _reconstruct(self, Z):
        return (Z @ self.means_).astype(Z.dtype)

    @lazy_on_dask
    def predict_proba(self, X):
        """Return p(z = k | x) of each row: the responsibilities, same as `transform`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).

        Returns
        -------
        resp : ndarray of shape (n_samples, n_components)
            Rows sum to one: the exact posterior, with which the gap of eq. 2 is zero.
        """
        X = self._validate(X, finite=not self._finds_infinity)
        return self._posterior_mean(X).astype(X.dtype, copy=False)

    @lazy_on_dask
    def predict(self, X):
        """Return the most probable component of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).

        Returns
        -------
        labels : ndarray of int, shape (n_samples,)
            Between 0 and n_components - 1.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMGaussianMixture
        >>> X = np.array([[0.0], [0.2], [0.1], [5.0], [5.1], [4.9]])
        >>> labels = EMGaussianMixture(2, random_state=0).fit(X).predict(X)
        >>> [int((labels == label).sum()) for label in (0, 1)]
        [3, 3]
        """
        X = self._validate(X, finite=not self._finds_infinity)
        return self._predictor().labels(X)

    def _origin_and_theta(self):
        fitted = self._fitted()
        return fitted.origin, fitted.theta

    def _component_shares(self, X):
        return self.predict_proba(X)

    def _estimates(self):
        names = ["weights"] if len(self.weights_) > 1 else []
        names += ["means", *self._column_parameters()]
        return {name: getattr(self, name + "_") for name in names}

    def _component_axis(self, name):
        shared = name == "covariances" and STRUCTURES[self.covariance_type].shared
        return None if shared else int(name == "other_parameters")

    def _summary_estimates(self):
        estimates = self._estimates()
        return {**estimates, "means": gaussian_means(estimates["means"], self._column_kinds())}

    @property
    def _bound_is_exact(self):
        return True

    def _summary_is_symmetric(self, name):
        return name == "covariances" and STRUCTURES[self.covariance_type].scatter.dense

    def _summary_axis(self, name):
        names, kinds = feature_names(self), self._column_kinds()
        if name in ("weights", "loadings"):
            return (-2, names) if name == "loadings" else (-1, None)
        return -1, parameter_columns(name, names, kinds, self.covariance_type)

    def _expected_cells(self, X):
        return self._fitted().expected_cells(X)

    def _draw_cells(self, X, n_draws, rng):
        return self._fitted().draw_cells(X, n_draws, rng)

    def _draw(self, n_samples, random_state):
        rng = self.random_state_ if random_state is None else None
        rng = rng or random_stream(self.random_state if random_state is None else random_state)
        X, labels = self._fitted().draw(n_samples, rng)
        return X.astype(self.means_.dtype), labels
