"""Principal axes of labelled rows: a first guess of the factors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def principal_axes(values, weights, means, n_factors: int) -> np.ndarray:
    """Return W (q, p): W x are the leading principal components of x, scaled to variance one.

    The rows (p, n) are weighted (K, n) and taken about the means (K, p) of their components; the
    columns count in units of their standard deviation.
    """
    total = weights.sum() or 1.0

    def parts() -> Iterator[np.ndarray]:
        for w, mean in zip(weights / total, means, strict=True):
            yield (values[:, w > 0] - mean[:, None]) * np.sqrt(w[w > 0])

    deviation = np.sqrt(sum((part**2).sum(axis=1) for part in parts()))
    scale = np.where(deviation > 0, deviation, 1.0)[:, None]
    if np.count_nonzero(weights) < len(values):  # as many directions as rows: their products do
        rows = np.concatenate(list(parts()), axis=1) / scale
        size, vectors = _leading(rows.T @ rows, n_factors)
        vectors = rows @ vectors / np.sqrt(size)
    else:
        scatter = sum(part @ part.T for part in parts())
        size, vectors = _leading(scatter / scale / scale.T, n_factors)
    axes = np.zeros((len(deviation), n_factors))
    axes[:, : len(size)] = vectors / np.sqrt(size)
    return (axes / scale).T


def _leading(matrix: np.ndarray, n_factors: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest eigenvalues, infinite where they are zero, and their vectors."""
    values, vectors = np.linalg.eigh(matrix)
    values, vectors = values[::-1][:n_factors], vectors[:, ::-1][:, :n_factors]
    return np.where(values > 1e-10, values, np.inf), vectors
