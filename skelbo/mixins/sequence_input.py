"""Tables of sequences as estimators read them: rows, and the runs that are one sequence each."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from skelbo.data.sequences import (
    Runs,
    refuse_list_of_sequences,
    run_weights,
    runs_of,
    split_group_column,
)
from skelbo.data.table_check import check_table
from skelbo.mixins.latent_variable_estimator import LatentVariableEstimator
from skelbo.mixture.chain.fitted_chain import ChainAnswers


class SequenceInput(LatentVariableEstimator):
    """Input of an estimator of sequences, which supplies the answers about them.

    `groups`, an id for each row, or the parameter `group_column` separate the sequences; without
    both all rows are one sequence.
    """

    group_column: Any

    @abstractmethod
    def _answers(self, X: np.ndarray, runs: Runs) -> ChainAnswers:
        """Return the answers of the fitted model about validated sequences."""

    def _split(self, X: Any, groups: Any) -> tuple[Any, Any, str]:
        """Return the table without ids, the ids, and the name that messages give them."""
        refuse_list_of_sequences(X)
        if self.group_column is None:
            return X, groups, "groups"
        if groups is not None:
            raise ValueError(
                f"groups is given beside group_column={self.group_column!r}, expected one of them; "
                "leave groups=None, or set group_column=None."
            )
        table, ids = split_group_column(X, self.group_column)
        return table, ids, f"group_column={self.group_column!r}"

    def _read(self, X: Any, groups: Any) -> tuple[np.ndarray, Runs]:
        """Check sequences against what was fitted."""
        self._check_fitted()
        table, ids, name = self._split(X, groups)
        rows = self._validate(table)
        self._check_cells(rows)
        return rows, runs_of(ids, len(rows), name)

    def _read_fit(self, X: Any, sample_weight: Any, groups: Any):
        """Check the arguments of a fit; return rows, runs and their weights, all positive."""
        table, ids, name = self._split(X, groups)
        rows = check_table(self, table, reset=True, ensure_min_samples=self._min_samples)
        return self._present(rows, runs_of(ids, len(rows), name), sample_weight)

    @staticmethod
    def _present(rows: np.ndarray, runs: Runs, sample_weight: Any):
        """Leave out runs of weight zero; the weights are None where every run counts once."""
        weights = run_weights(sample_weight, runs)
        if weights is not None and not weights.all():
            runs, kept = runs.take(weights > 0)
            rows, weights = rows[kept], weights[weights > 0]
        return rows, runs, weights

    def _check_cells(self, X: np.ndarray) -> None:
        """Raise if a cell has no density."""
