"""The base class of estimators of sequences: every method takes the ids of the runs of rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from skelbo.data.counts import as_count
from skelbo.data.sequences import Runs, runs_of
from skelbo.elbo import ElboTerms
from skelbo.gaussian.structures import STRUCTURES
from skelbo.likelihoods import Likelihood
from skelbo.mixins.sequence_imputation import SequenceImputation
from skelbo.mixins.sequence_scores import SequenceScores
from skelbo.mixins.summary import feature_names
from skelbo.mixture.parameter_columns import gaussian_means, parameter_columns


class SequenceEstimator(SequenceScores, SequenceImputation):
    """A model of sequences; a subclass supplies `fit`, the answers about new ones, and draws."""

    covariance_type: str
    startprob_: np.ndarray
    transmat_: np.ndarray
    means_: np.ndarray

    @property
    def latent_kind(self):
        """Kind of the latents: "chain", labels each of which depends on the one before."""
        return "chain"

    @abstractmethod
    def _column_kinds(self) -> Sequence[Likelihood]:
        """Return the likelihood of each column."""

    @abstractmethod
    def _column_parameters(self) -> Sequence[str]:
        """Return the names of the parameters of the columns besides means, without underscore."""

    def _summary_estimates(self):
        estimates = {name: getattr(self, name + "_") for name in self._column_parameters()}
        return {
            "startprob": self.startprob_,
            "transmat": self.transmat_,
            "means": gaussian_means(self.means_, self._column_kinds()),
            **estimates,
        }

    @property
    def _bound_is_exact(self):
        return True

    def _summary_is_symmetric(self, name):
        return name == "covariances" and STRUCTURES[self.covariance_type].scatter.dense

    def _summary_axis(self, name):
        if name in ("startprob", "transmat"):
            return -1, None
        names, kinds = feature_names(self), self._column_kinds()
        return -1, parameter_columns(name, names, kinds, self.covariance_type)

    # ------------------------------------------------------------------ latents

    def transform(self, X, groups=None):
        """Compute p(z_t = k | all rows of the sequence): the smoothed probabilities of the states.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows in the order of time, possibly with missing cells (NaN).
        groups : array-like of shape (n_samples,), optional
            Id of the sequence of each row.

        Returns
        -------
        resp : ndarray of shape (n_samples, n_components)
            Rows sum to one.

        Raises
        ------
        ValueError
            If X does not match the fit, or has an infinite cell or an id that returns.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMHiddenMarkovModel
        >>> X = np.array([[0.0], [0.2], [0.1], [5.0], [5.2], [4.9], [5.1]])
        >>> model = EMHiddenMarkovModel(2, random_state=0).fit(X)
        >>> model.transform(X).round(2)[:4]
        array([[1., 0.],
               [1., 0.],
               [1., 0.],
               [0., 1.]])
        """
        X, runs = self._read(X, groups)
        return self._answers(X, runs).resp().astype(X.dtype, copy=False)

    def fit_transform(self, X, y=None, sample_weight=None, groups=None):
        """Fit to X and return ``transform(X)``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows in the order of time, possibly with missing cells (NaN).
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), optional
            Frequency weights of the sequences.
        groups : array-like of shape (n_samples,), optional
            Id of the sequence of each row.

        Returns
        -------
        resp : ndarray of shape (n_samples, n_components)
            Smoothed probabilities of the states.

        Raises
        ------
        ValueError
            If X does not fit the model, or has an infinite cell or an id that returns.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMHiddenMarkovModel
        >>> X = np.array([[0.0], [0.2], [0.1], [5.0], [5.2], [4.9], [5.1]])
        >>> EMHiddenMarkovModel(2, random_state=0).fit_transform(X).shape
        (7, 2)
        """
        return self.fit(X, y, sample_weight=sample_weight, groups=groups).transform(X, groups)

    def predict_proba(self, X, groups=None):
        """Return the smoothed probabilities of the states, same as `transform`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows in the order of time, possibly with missing cells (NaN).
        groups : array-like of shape (n_samples,), optional
            Id of the sequence of each row.

        Returns
        -------
        resp : ndarray of shape (n_samples, n_components)
            Rows sum to one.

        Raises
        ------
        ValueError
            If X does not match the fit, or has an infinite cell or an id that returns.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMHiddenMarkovModel
        >>> X = np.array([[0.0], [0.2], [0.1], [5.0], [5.2], [4.9], [5.1]])
        >>> model = EMHiddenMarkovModel(2, random_state=0).fit(X)
        >>> model.predict_proba(X).argmax(axis=1)
        array([0, 0, 0, 1, 1, 1, 1])
        """
        X, runs = self._read(X, groups)
        return self._answers(X, runs).resp().astype(X.dtype, copy=False)

    def predict(self, X, groups=None):
        """Return the states of the most probable path of each sequence, by Viterbi's algorithm.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows in the order of time, possibly with missing cells (NaN).
        groups : array-like of shape (n_samples,), optional
            Id of the sequence of each row.

        Returns
        -------
        states : ndarray of int, shape (n_samples,)
            Between 0 and n_components - 1; no transition of probability 0 is among them. A row
            that no path explains counts as missing.

        Raises
        ------
        ValueError
            If X does not match the fit, or has an infinite cell or an id that returns.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMHiddenMarkovModel
        >>> X = np.array([[0.0], [0.2], [0.1], [5.0], [5.2], [4.9], [5.1]])
        >>> EMHiddenMarkovModel(2, random_state=0).fit(X).predict(X)
        array([0, 0, 0, 1, 1, 1, 1])
        """
        X, runs = self._read(X, groups)
        return self._answers(X, runs).states()

    def fit_predict(self, X, y=None, sample_weight=None, groups=None):
        """Fit to X and return ``predict(X)``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows in the order of time, possibly with missing cells (NaN).
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), optional
            Frequency weights of the sequences.
        groups : array-like of shape (n_samples,), optional
            Id of the sequence of each row.

        Returns
        -------
        states : ndarray of int, shape (n_samples,)
            The most probable path of each sequence.

        Raises
        ------
        ValueError
            If X does not fit the model, or has an infinite cell or an id that returns.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMHiddenMarkovModel
        >>> X = np.array([[0.0], [0.2], [0.1], [5.0], [5.2], [4.9], [5.1]])
        >>> EMHiddenMarkovModel(2, random_state=0).fit_predict(X)
        array([0, 0, 0, 1, 1, 1, 1])
        """
        return self.fit(X, y, sample_weight=sample_weight, groups=groups).predict(X, groups)

    def forecast(self, X, steps, groups=None):
        """Predict the rows that follow each sequence.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows in the order of time, possibly with missing cells (NaN).
        steps : int
            Number of rows to predict.
        groups : array-like of shape (n_samples,), optional
            Id of the sequence of each row.

        Returns
        -------
        forecast : Forecast
            ``mean`` and ``std`` (n_runs, steps, n_features), in the units of X, and
            ``state_proba`` (n_runs, steps, n_components), sequences in the order of X.

        Raises
        ------
        ValueError
            If `steps` is no integer of at least 1, or X does not match the fit.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMHiddenMarkovModel
        >>> X = np.array([[0.0], [0.2], [0.1], [5.0], [5.2], [4.9], [5.1]])
        >>> model = EMHiddenMarkovModel(2, random_state=0).fit(X)
        >>> model.forecast(X, 2).mean.round(2).ravel()
        array([5.05, 5.05])
        """
        steps = as_count(steps, "steps")
        X, runs = self._read(X, groups)
        result = self._answers(X, runs).forecast(steps)
        return type(result)(*(array.astype(X.dtype, copy=False) for array in result))

    # -------------------------------------------------------------------- draws

    def sample(self, n_samples=1, random_state=None, groups=None):
        """Draw sequences and their paths.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState or None, default=None
            Source of randomness; None goes on with the generator of the fit, so that repeated
            calls give new draws and a program with a seed gives the same ones each time.
        groups : array-like of shape (n_samples,), optional
            Id of the sequence of each row; one sequence if not given.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows, without a column of ids.
        states : ndarray of int, shape (n_samples,)
            The states that they come from.

        Raises
        ------
        ValueError
            If `n_samples` is no integer of at least 1, or there is not one id for each row.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMHiddenMarkovModel
        >>> X = np.array([[0.0], [0.2], [0.1], [5.0], [5.2], [4.9], [5.1]])
        >>> model = EMHiddenMarkovModel(2, random_state=0).fit(X)
        >>> rows, states = model.sample(100, random_state=0)
        >>> rows.shape, states.shape
        ((100, 1), (100,))
        """
        self._check_fitted()
        n_samples = as_count(n_samples, "n_samples")
        return self._draw_runs(runs_of(groups, n_samples), random_state)

    def _draw(self, n_samples, random_state):
        return self._draw_runs(runs_of(None, n_samples), random_state)

    @abstractmethod
    def _draw_runs(self, runs: Runs, random_state: Any) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows and states of sequences with these lengths."""

    # ------------------------------------------------- hooks of the base: one run

    def _log_prob(self, X):
        log_prob = self._answers(X, runs_of(None, len(X))).log_steps()
        return log_prob, np.zeros_like(log_prob)

    def _elbo_terms(self, X) -> ElboTerms:
        return self._answers(X, runs_of(None, len(X))).elbo_terms()

    def _posterior_mean(self, X):
        return self._answers(X, runs_of(None, len(X))).resp()
