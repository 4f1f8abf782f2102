"""Scores of sequences under a fitted model: log p(x_t | x_<t), bound, information criteria."""

from __future__ import annotations

import numpy as np

from skelbo.mixins.sequence_input import SequenceInput


class SequenceScores(SequenceInput):
    """Scores of sequences, of an estimator that supplies the answers about new ones."""

    # ------------------------------------------------------------------- scores

    def score_samples(self, X, return_std=False, groups=None):
        r"""Compute the log-density of each row given the rows of its sequence before it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows in the order of time; missing cells (NaN), and wholly missing time points, are
            integrated out.
        return_std : bool, default=False
            Also return the standard error of each value: zeros, as they are exact.
        groups : array-like of shape (n_samples,), optional
            Id of the sequence of each row, a number or a string; one sequence if not given.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            :math:`\log p(x_t \mid x_1, \ldots, x_{t-1})` in nats, in the units of X, all constants
            included; the sum over a sequence is its log-density. A row of probability zero given
            those before it has -inf, and counts as missing in the values of the rows after it.
        std : ndarray of shape (n_samples,)
            Only if `return_std`.

        Raises
        ------
        ValueError
            If X has other columns than in the fit, an infinite cell, or an id that returns.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMHiddenMarkovModel
        >>> X = np.array([[0.0], [0.2], [0.1], [5.0], [5.2], [4.9], [5.1]])
        >>> model = EMHiddenMarkovModel(2, random_state=0).fit(X)
        >>> bool(np.isclose(model.score_samples(X).mean(), model.lower_bound_))
        True
        """
        X, runs = self._read(X, groups)
        with np.errstate(over="ignore"):
            log_prob = self._answers(X, runs).log_steps().astype(X.dtype, copy=False)
        return (log_prob, np.zeros_like(log_prob)) if return_std else log_prob

    def score(self, X, y=None, sample_weight=None, groups=None):
        """Compute the weighted mean of `score_samples`, in nats per row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows in the order of time, possibly with missing cells (NaN).
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Frequency weights of the sequences, equal within each.
        groups : array-like of shape (n_samples,), optional
            Id of the sequence of each row.

        Returns
        -------
        score : float
            Mean log-density.

        Raises
        ------
        ValueError
            If X does not match the fit, or the weights differ within a sequence.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMHiddenMarkovModel
        >>> X = np.array([[0.0], [0.2], [0.1], [5.0], [5.2], [4.9], [5.1]])
        >>> model = EMHiddenMarkovModel(2, random_state=0).fit(X)
        >>> weights = np.full(7, 2.0)
        >>> bool(np.isclose(model.score(X), model.score(X, sample_weight=weights)))
        True
        """
        return self._mean_log_step(X, sample_weight, groups)[0]

    def _mean_log_step(self, X, sample_weight, groups) -> tuple[float, float]:
        """Return the weighted mean of the log-steps and the sum of the weights."""
        rows, runs, weights = self._present(*self._read(X, groups), sample_weight)
        steps = self._answers(rows, runs).log_steps()
        if weights is None:
            return float(np.mean(steps)), float(len(rows))
        weights = runs.repeated(weights)
        return float(np.average(steps, weights=weights)), float(weights.sum())

    def aic(self, X, sample_weight=None, groups=None):
        """Compute Akaike's information criterion, lower is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows in the order of time, possibly with missing cells (NaN).
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Frequency weights of the sequences, equal within each.
        groups : array-like of shape (n_samples,), optional
            Id of the sequence of each row.

        Returns
        -------
        aic : float
            ``-2 log p(X) + 2 n_parameters_``, in nats times two.

        Raises
        ------
        ValueError
            If X does not match the fit, or the weights differ within a sequence.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMHiddenMarkovModel
        >>> X = np.array([[0.0], [0.2], [0.1], [5.0], [5.2], [4.9], [5.1]])
        >>> model = EMHiddenMarkovModel(2, random_state=0).fit(X)
        >>> bool(np.isclose(model.aic(X), -14 * model.score(X) + 2 * model.n_parameters_))
        True
        """
        mean, n_rows = self._mean_log_step(X, sample_weight, groups)
        return -2 * mean * n_rows + 2 * self.n_parameters_

    def bic(self, X, sample_weight=None, groups=None):
        """Compute the Bayesian information criterion, lower is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows in the order of time, possibly with missing cells (NaN).
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Frequency weights of the sequences, equal within each.
        groups : array-like of shape (n_samples,), optional
            Id of the sequence of each row.

        Returns
        -------
        bic : float
            ``-2 log p(X) + log(n_samples) n_parameters_``, in nats times two; n_samples is the
            number of rows, as in Zucchini, MacDonald and Langrock (2016), section 6.1.

        Raises
        ------
        ValueError
            If X does not match the fit, or the weights differ within a sequence.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMHiddenMarkovModel
        >>> X = np.array([[0.0], [0.2], [0.1], [5.0], [5.2], [4.9], [5.1]])
        >>> model = EMHiddenMarkovModel(2, random_state=0).fit(X)
        >>> penalty = np.log(7) * model.n_parameters_
        >>> bool(np.isclose(model.bic(X), -14 * model.score(X) + penalty))
        True
        """
        mean, n_rows = self._mean_log_step(X, sample_weight, groups)
        return -2 * mean * n_rows + float(np.log(n_rows)) * self.n_parameters_

    def icl(self, X, sample_weight=None, groups=None):
        r"""Compute the integrated completed likelihood criterion, lower is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows in the order of time, possibly with missing cells (NaN).
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Frequency weights of the sequences, equal within each.
        groups : array-like of shape (n_samples,), optional
            Id of the sequence of each row.

        Returns
        -------
        icl : float
            :math:`BIC - 2 \sum_t w_t \log \max_k p(z_t = k \mid x_{1:T})`, in nats times two.

        Raises
        ------
        ValueError
            If X does not match the fit, or the weights differ within a sequence.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMHiddenMarkovModel
        >>> X = np.array([[0.0], [0.2], [0.1], [5.0], [5.2], [4.9], [5.1]])
        >>> model = EMHiddenMarkovModel(2, random_state=0).fit(X)
        >>> bool(model.icl(X) >= model.bic(X))
        True
        """
        rows, runs, weights = self._present(*self._read(X, groups), sample_weight)
        certainty = np.log(self._answers(rows, runs).resp().max(axis=1))
        if weights is not None:
            certainty = certainty * runs.repeated(weights)
        return self.bic(X, sample_weight, groups) - 2 * float(certainty.sum())

    # -------------------------------------------------------------------- bound

    def elbo_terms(self, X, groups=None):
        """Compute reconstruction, KL, energy and entropy of each row's part of the path, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows in the order of time, possibly with missing cells (NaN).
        groups : array-like of shape (n_samples,), optional
            Id of the sequence of each row.

        Returns
        -------
        terms : ElboTerms
            Arrays of shape (n_samples,). Their sums over a sequence are the terms of eq. 3 and 4 of
            Ding (2020), and their ELBO its log-density; a row holds the part that the chain rule
            gives it, which need not be below its `score_samples`.

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
        >>> terms = model.elbo_terms(X)
        >>> bool(np.isclose(terms.elbo.sum(), 7 * model.score(X)))
        True
        """
        X, runs = self._read(X, groups)
        with np.errstate(over="ignore"):
            terms = self._answers(X, runs).elbo_terms()
        return terms.map(lambda term: term.astype(X.dtype, copy=False))

    def elbo(self, X, groups=None):
        """Compute the evidence lower bound of each row's part of the path, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows in the order of time, possibly with missing cells (NaN).
        groups : array-like of shape (n_samples,), optional
            Id of the sequence of each row.

        Returns
        -------
        elbo : ndarray of shape (n_samples,)
            The sum over a sequence is its log-density, as q is the exact posterior of its path.

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
        >>> bool(np.isclose(model.elbo(X).sum(), model.score_samples(X).sum()))
        True
        """
        return self.elbo_terms(X, groups).elbo

    def gap(self, X, groups=None):
        """Compute ``score_samples(X) - elbo(X)``, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows in the order of time, possibly with missing cells (NaN).
        groups : array-like of shape (n_samples,), optional
            Id of the sequence of each row.

        Returns
        -------
        gap : ndarray of shape (n_samples,)
            Of either sign, row by row; the sum over a sequence, KL(q || p(path | rows)), is zero.

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
        >>> bool(abs(model.gap(X).sum()) < 1e-9)
        True
        """
        X, runs = self._read(X, groups)
        answers = self._answers(X, runs)
        log_prob, bound = answers.log_steps(), answers.elbo_terms().elbo
        gap = np.zeros_like(log_prob)
        np.subtract(log_prob, bound, out=gap, where=np.isfinite(log_prob) & np.isfinite(bound))
        return gap.astype(X.dtype, copy=False)
