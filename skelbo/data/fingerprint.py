"""Fingerprint of the rows of a fit: additive over tables."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from skelbo.data.blocks import iter_blocks


def table_digest(X: Any, weights: np.ndarray | None = None) -> int:
    """Return a number that depends on every cell and weight of a table, and on their order.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Rows, read block by block.
    weights : ndarray of shape (n_samples,), optional
        Frequency weights.

    Returns
    -------
    int
        Below 2**128. Digests of the tables of a Dask collection are summed.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0, 1.0], [2.0, 3.0]])
    >>> table_digest(X) == table_digest(X.copy()), table_digest(X) == table_digest(X[::-1])
    (True, False)
    """
    digest = hashlib.sha256(repr((tuple(X.shape), str(X.dtype))).encode())
    for rows in iter_blocks(len(X), X.shape[1]):
        digest.update(np.ascontiguousarray(X[rows]).data.cast("B"))
    if weights is not None:
        digest.update(np.ascontiguousarray(weights, dtype=np.float64).data.cast("B"))
    return int.from_bytes(digest.digest()[:16], "little")
