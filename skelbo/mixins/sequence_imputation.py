"""Missing cells of sequences: their expectation, or draws of them, given all observed cells."""

from __future__ import annotations

import numpy as np

from skelbo.data.counts import as_count
from skelbo.data.random_stream import random_stream
from skelbo.data.sequences import runs_of
from skelbo.mixins.imputation import OR_EXPECTATIONS, with_draws, with_expectations
from skelbo.mixins.sequence_input import SequenceInput


class SequenceImputation(SequenceInput):
    """Imputation by an estimator that supplies the answers about new sequences."""

    def impute(self, X, n_draws=None, random_state=None, groups=None):
        """Replace missing cells by their expectation given all observed ones of their sequence.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows in the order of time with missing cells (NaN), or wholly missing rows.
        n_draws : int or None, default=None
            Number of draws of the missing cells, by draws of paths from their posterior, for
            multiple imputation; None gives expectations (of a categorical column, the most
            probable code).
        random_state : int, RandomState or None, default=None
            Source of randomness of the draws; None draws afresh.
        groups : array-like of shape (n_samples,), optional
            Id of the sequence of each row.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), or (n_draws, n_samples, n_features)
            A complete copy, or several, without the column of ids; observed cells are unchanged.
            A dataframe where X is one and ``set_output`` names one, unless there are draws.

        Raises
        ------
        ValueError
            If X does not match the fit, or `n_draws` is no integer of at least 1.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMHiddenMarkovModel
        >>> X = np.array([[0.0], [0.2], [0.1], [5.0], [5.2], [4.9], [5.1]])
        >>> model = EMHiddenMarkovModel(2, random_state=0).fit(X)
        >>> model.impute([[0.1], [np.nan], [0.0]]).round(2)[1]
        array([0.1])
        """
        if n_draws is not None:
            n_draws = as_count(n_draws, "n_draws", OR_EXPECTATIONS)
        rows, runs = self._read(X, groups)
        answers = self._answers(rows, runs)
        if n_draws is not None:
            stream = random_stream(random_state)
            return with_draws(
                rows, n_draws, lambda incomplete: answers.draw_cells(incomplete, n_draws, stream)
            )
        completed = with_expectations(rows, answers.expected_cells)
        return self._in_container(X, completed, self._split(X, groups)[0])

    def _expected_cells(self, X):
        answers = self._answers(X, runs_of(None, len(X)))
        return answers.expected_cells(np.ones(len(X), bool))
