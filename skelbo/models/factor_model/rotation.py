r"""Rotations of the latents, and the convention that makes loadings unique.

p(x) of a factor model does not change when W becomes W R, R orthogonal. The published factors are
principal axes: :math:`W^T D W` is diagonal, D the inverse noise variances or the identity.
"""

from __future__ import annotations

import numpy as np


def principal_axes(theta, *, rotate=True):
    """Return theta with rotation (if `rotate`), order and signs of the factors settled."""
    noise = theta.get("noise_variance", 1.0)
    units = np.sqrt(np.broadcast_to(noise, len(theta["loadings"])))[:, None]
    loadings = theta["loadings"]
    if rotate:
        left, size, _ = np.linalg.svd(loadings / units, full_matrices=False)
        loadings = units * left * size
    order = np.argsort(-((loadings / units) ** 2).sum(0), kind="stable")
    loadings = loadings[:, order]
    largest = np.take_along_axis(loadings, np.abs(loadings).argmax(0)[None], 0)
    return {**theta, "loadings": loadings * np.where(largest < 0, -1.0, 1.0)}


def principal_axes_gradients(theta, *, fit_intercept: bool) -> np.ndarray:
    """Return the gradients, (C, P), of W' D W off its diagonal and, if b is not fitted, of b."""
    W = theta["loadings"]
    d, noise = W.shape[1], np.broadcast_to(theta.get("noise_variance", 1.0), len(W))
    rows = []
    for a in range(d):
        for b in range(a + 1, d):
            gradient = _zeros(theta)
            gradient["loadings"][:, a] = W[:, b] / noise
            gradient["loadings"][:, b] = W[:, a] / noise
            if np.ndim(theta.get("noise_variance", 1.0)):
                gradient["noise_variance"] = -W[:, a] * W[:, b] / noise**2
            rows.append(gradient)
    return _stack(rows, theta, fit_intercept)


def rotation_directions(theta, *, fit_intercept: bool) -> np.ndarray:
    """Return the directions, (C, P), of rotations of z and, if b is not fitted, of b."""
    W, rows = theta["loadings"], []
    for a in range(W.shape[1]):
        for b in range(a + 1, W.shape[1]):
            direction = _zeros(theta)
            direction["loadings"][:, a], direction["loadings"][:, b] = -W[:, b], W[:, a]
            rows.append(direction)
    return _stack(rows, theta, fit_intercept)


def intercept_directions(theta) -> np.ndarray:
    """Return the unit vectors, (p, P), of the intercepts among the parameters."""
    names = list(theta)
    first = sum(np.size(theta[name]) for name in names[: names.index("intercepts")])
    size = sum(np.size(value) for value in theta.values())
    return np.eye(size)[first : first + len(theta["intercepts"])]


def _zeros(theta):
    return {name: np.zeros(np.shape(value)) for name, value in theta.items()}


def _stack(rows, theta, fit_intercept):
    size = sum(np.size(value) for value in theta.values())
    flat = [np.concatenate([row[name].ravel() for name in theta]) for row in rows]
    fixed = [] if fit_intercept else list(intercept_directions(theta))
    return np.array(flat + fixed).reshape(-1, size)
