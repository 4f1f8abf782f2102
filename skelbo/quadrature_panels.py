"""Panels of adaptive quadrature in one latent: intervals, each of one row of a table."""

from __future__ import annotations

import numpy as np


def subdivided(
    row: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    end: np.ndarray,
    halved: np.ndarray,
    extended: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Return row, low, high and end of the panels that replace or continue some panels.

    Parameters
    ----------
    row : ndarray of int, shape (m,)
        Row of each panel.
    low, high : ndarray of shape (m,)
        Its limits.
    end : ndarray of int, shape (m,)
        -1 for the lowest panel of a row, 1 for the highest, else 0.
    halved : ndarray of bool, shape (m,)
        Panels that their halves replace.
    extended : ndarray of bool, shape (m,)
        Outermost panels beyond which another of twice the width follows.

    Returns
    -------
    row, low, high, end : ndarray
        Halves first, then the panels further out.
    """
    parent, left, right = (part[halved] for part in (row, low, high))
    inner = np.where(extended, 0, end)[halved]
    middle = 0.5 * (left + right)
    more, side = row[extended], end[extended]
    width = (high - low)[extended]
    start = np.where(side > 0, high[extended], low[extended] - 2 * width)
    return (
        np.concatenate([parent, parent, more]),
        np.concatenate([left, middle, start]),
        np.concatenate([middle, right, start + 2 * width]),
        np.concatenate([np.minimum(inner, 0), np.maximum(inner, 0), side]),
    )
