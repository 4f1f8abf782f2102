"""The rows of a fit, with their weights, as the training of a network takes them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from skelbo.neural.data.validation_split import JUDGED_ROWS


class TrainingTable(NamedTuple):
    """Validated rows of a fit.

    Attributes
    ----------
    X : ndarray or DatasetTable of shape (n_samples, n_features)
        Rows, possibly with missing cells (NaN).
    weights : ndarray of shape (n_samples,) or None
        Frequency weights; None where all are equal.
    streamed : bool
        Whether the rows stay on disk and are read while the networks learn.
    """

    X: Any
    weights: np.ndarray | None
    streamed: bool

    def sample(self) -> TrainingTable:
        """Return evenly spaced rows, at most `JUDGED_ROWS`, in memory."""
        some = slice(None, None, -(-len(self.X) // JUDGED_ROWS))
        weights = None if self.weights is None else self.weights[some]
        return TrainingTable(self.X[some], weights, False)
