"""Split of the rows into training rows and rows held out."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from skelbo.neural.data.batches import TableRows, as_batch
from skelbo.neural.data.columns import Columns
from skelbo.neural.data.streaming import StreamedRows

# `early_stopping="auto"` holds out at least this many rows, where they are no more than this share:
# fewer are too noisy, and a fit to 142 rows without any ended 3 nats lower on new ones.
MIN_HELD_OUT, LARGEST_SHARE = 20, 0.25
# A pass of `partial_fit`, or a fit to a memory map, is judged by this many of its rows.
JUDGED_ROWS = 10_000


def number_held_out(
    n_samples: int, early_stopping: Any, validation_fraction: float, linear: bool
) -> int:
    """Return how many rows to hold out; zero if the training bound is to decide.

    Examples
    --------
    >>> [number_held_out(n, "auto", 0.1, linear=False) for n in (79, 80, 1000)]
    [0, 20, 100]
    """
    n_held_out = int(n_samples * validation_fraction)
    if early_stopping == "auto":
        n_held_out = max(n_held_out, MIN_HELD_OUT)
        return n_held_out if n_held_out <= LARGEST_SHARE * n_samples and not linear else 0
    if not early_stopping:
        return 0
    if n_held_out < 1 or n_held_out == n_samples:
        raise ValueError(
            f"early_stopping={early_stopping} with validation_fraction={validation_fraction} "
            f"would hold out {n_held_out} of {n_samples} rows, expected at least one on either "
            "side; use early_stopping=False or more rows."
        )
    return n_held_out


def training_rows(
    X: Any,
    weights: np.ndarray | None,
    columns: Columns,
    like: Tensor,
    n_held_out: int,
    batch_size: int,
    rng: np.random.RandomState,
    streamed: bool,
) -> TableRows | StreamedRows:
    """Return the rows of an epoch, some of them held out: in memory on the device, or on disk.

    Parameters
    ----------
    X : ndarray or DatasetTable of shape (n_samples, n_features)
        Rows in the units of the data.
    weights : ndarray of shape (n_samples,) or None
        Frequency weights.
    columns : Columns
        Units of the data.
    like : Tensor
        Any floating tensor of the network.
    n_held_out : int
        Number of rows not to learn from.
    batch_size : int
        Rows per step.
    rng : RandomState
        Source of the choice of rows held out.
    streamed : bool
        Whether to leave the rows on disk.
    """
    if streamed:
        n_held_out = min(n_held_out, JUDGED_ROWS)
        held_out = np.sort(rng.permutation(len(X))[:n_held_out])
        return StreamedRows(X, weights, columns, like, held_out, batch_size)
    if n_held_out == 0:
        return TableRows(as_batch(X, columns, like, weights), None, batch_size)
    order = rng.permutation(len(X))
    parts = [
        as_batch(X[i], columns, like, None if weights is None else weights[i])
        for i in (np.sort(order[n_held_out:]), order[:n_held_out])
    ]
    return TableRows(parts[0], parts[1], batch_size)
