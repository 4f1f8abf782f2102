r"""The theta step of factor models: a regression of every column on the latents.

With z uncertain, column j maximises :math:`\sum_i w_i E\, f(x_{ij}, b_j + w_j^T z_i)`: concave, of
dimension d + 1, and a closed form where f is quadratic. All columns take their Newton steps at
once; each is guarded by itself.
"""

from __future__ import annotations

import numpy as np

from skelbo.data.column_moments import column_moments
from skelbo.likelihoods.noise_floor import NOISE_FLOOR

# Cells (draws x rows x columns) per block: they should stay in cache.
CHUNK_CELLS = 2**16
RIDGE = 1e-10


def maximize_columns(model, theta, X, weights, mean, covariance, n_steps):
    """Return theta after guarded Newton steps of every column; see `Model.maximize`."""
    if model.column_likelihood.has_noise:
        return _regress(model, theta, X, weights, mean, covariance)
    missing = np.isnan(X)
    values, known = (np.where(missing, 0.0, X), ~missing) if missing.any() else (X, None)
    terms = _ColumnObjectives(model, values, known, weights, mean, covariance)
    return climb_columns(theta, terms, n_steps)


def maximize_at_points(model, theta, points, totals, counts, n_steps):
    """Return theta after guarded Newton steps at shared points; see `Model.maximize_at`.

    As the log-kernel is linear in x, the rows at a point count as one cell of a column: their mean,
    with the number of observed cells as its weight.
    """
    means = np.divide(totals, counts, out=np.zeros_like(totals), where=counts > 0)
    weights = np.ones((1, len(points)))
    terms = _ColumnObjectives(model, means, counts, weights, points[None], None)
    return climb_columns(theta, terms, n_steps)


def climb_columns(theta, terms, n_steps):
    """Return theta after up to `n_steps` Newton steps, each column's short enough to climb."""
    coefficients = np.column_stack([theta["intercepts"], theta["loadings"]])
    value, gradient, hessian = terms(coefficients)
    for _ in range(n_steps):
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        length, gain = np.ones(len(step)), np.zeros(len(step))
        for _ in range(20):
            trial = coefficients + length[:, None] * step
            new = terms(trial)
            worse = ~(new[0] >= value - 1e-13 * np.abs(value))
            if not worse.any():
                break
            length[worse] /= 4
        kept = ~worse
        gain[kept] = (new[0] - value)[kept]
        coefficients = np.where(kept[:, None], trial, coefficients)
        value, gradient, hessian = new if kept.all() else terms(coefficients)
        if np.all(gain <= 1e-9 * np.abs(value)):
            break
    return {**theta, "intercepts": coefficients[:, 0], "loadings": coefficients[:, 1:]}


class _ColumnObjectives:
    """Value, gradient and (up to the sign) Hessian of every column's objective.

    `known` are weights of the cells, (n_rows, n_features); None where all are observed once.
    """

    def __init__(self, model, values, known, weights, mean, covariance):
        self.model, self.weights, self.mean, self.covariance = model, weights, mean, covariance
        self.values, self.known = values, known
        totals = weights.sum(0)
        weight = totals.sum() if known is None else (totals @ known).min()
        # The unit of the ridge: weights as small as they like leave their maximum where it is.
        self.unit = min(1.0, weight)

    def __call__(self, coefficients):
        p, width = coefficients.shape
        value, gradient = np.zeros(p), np.zeros((p, width))
        hessian = np.zeros((p, width * width))
        for draws, rows in _blocks(len(self.mean), *self.values.shape):
            f, slope, curvature = self._cells(coefficients, draws, rows)
            mean = self.mean[draws, rows]
            flat = np.concatenate([np.ones((*mean.shape[:2], 1)), mean], axis=2)
            flat = flat.reshape(-1, width)
            outer = flat[:, :, None] * flat[:, None, :]
            value += f.sum((0, 1))
            slope, curvature = slope.reshape(-1, p), curvature.reshape(-1, p)
            gradient += slope.T @ flat
            if self.covariance is not None:
                spread = _dense(self.covariance[rows])
                outer[:, 1:, 1:] += spread
                pull = (curvature.T @ spread.reshape(len(flat), -1)).reshape(p, width - 1, -1)
                gradient[:, 1:] -= (pull @ coefficients[:, 1:, None])[..., 0]
            hessian += curvature.T @ outer.reshape(-1, width * width)
        return value, *self._regular(gradient, hessian.reshape(p, width, width))

    def _regular(self, gradient, hessian):
        """Freeze an intercept that is not fitted, and keep the system regular."""
        diagonal = np.einsum("jkk->jk", hessian)
        diagonal += RIDGE * (self.unit + diagonal)
        if not self.model.fit_intercept:
            gradient[:, 0], hessian[:, 0, 1:], hessian[:, 1:, 0], hessian[:, 0, 0] = 0, 0, 0, 1
        return gradient, hessian

    def _cells(self, coefficients, draws, rows):
        """Return E f, E f' and -E f'' of the cells, times their weights."""
        likelihood, loadings = self.model.column_likelihood, coefficients[:, 1:]
        values, share = self.values[rows], self.weights[draws, rows, None]
        eta = coefficients[:, 0] + self.mean[draws, rows] @ loadings.T
        if self.known is not None:
            share = share * self.known[rows]
        if self.covariance is None:
            cells = likelihood.derivatives(values, eta)
        else:
            variance = predictor_variance(self.covariance[rows], loadings)
            reach = np.sqrt((loadings**2).sum(1).max())
            cells = likelihood.expected(values, eta, variance, 1.0, reach)
        return [share * cell for cell in cells]


def _blocks(n_draws, n_rows, n_features):
    """Yield slices of draws and of rows whose cells stay in cache."""
    rows_at_once = max(1, CHUNK_CELLS // n_features)
    draws_at_once = max(1, rows_at_once // n_rows)
    for first in range(0, n_rows, rows_at_once):
        for draw in range(0, n_draws, draws_at_once):
            yield slice(draw, draw + draws_at_once), slice(first, first + rows_at_once)


def _regress(model, theta, X, weights, mean, covariance):
    """Regress every column on z, then estimate the noise: the theta step of Gaussian columns."""
    missing, moments = np.isnan(X), column_moments(X, weights.sum(0))
    known = (~missing).astype(np.float64) if missing.any() else None
    # Exact where a column is constant: nothing but zeros is left of it, whatever its size.
    origin, floor = moments.mean * model.fit_intercept, NOISE_FLOOR * moments.positive_variance
    values = np.where(missing, 0.0, X - origin)
    regression = _with_intercept if model.fit_intercept else _through_origin
    intercepts, loadings, squares, total = regression(values, known, weights, mean, covariance)
    noise = squares / total
    if model.noise == "isotropic":
        shares = np.broadcast_to(total, len(noise))
        noise = np.asarray(max(np.average(noise, weights=shares), floor.mean()))
    else:
        noise = np.maximum(noise, floor)
    fitted = {"loadings": loadings, "intercepts": origin + intercepts, "noise_variance": noise}
    return {**theta, **fitted}


def _with_intercept(values, known, weights, mean, covariance):
    """Return intercepts, slopes, expected squares of what is left, and weights of the columns."""
    totals = weights.sum(0)
    design = np.concatenate([np.ones((*mean.shape[:2], 1)), mean], axis=2)
    cross = values.T @ np.einsum("sn,snk->nk", weights, design)
    gram, total = _gram(known, weights, totals, design, covariance)
    coefficients = np.linalg.solve(_ridged(gram, 0.0), cross[..., None])[..., 0]
    fitted = (gram @ coefficients[..., None])[..., 0]
    squares = totals @ values**2 - (coefficients * (2 * cross - fitted)).sum(1)
    return coefficients[:, 0], coefficients[:, 1:], squares, total


def _through_origin(values, known, weights, mean, covariance):
    """Return zeros for intercepts, slopes, expected squares of what is left, and weights.

    Far from zero sums of squares cancel, and slopes need all digits: both are from residuals.
    """
    p, totals = values.shape[1], weights.sum(0)
    gram, total = _gram(known, weights, totals, mean, covariance, first=0)
    ridged, loadings = _ridged(gram, total), np.zeros((p, mean.shape[2]))
    spread = _summed_covariance(known, totals, covariance)
    for _ in range(2):  # the second step removes the rounding, and the ridge, of the first
        cross, _ = _residual_moments(values, known, weights, mean, spread, loadings)
        loadings = loadings + np.linalg.solve(ridged, cross[..., None])[..., 0]
    _, squares = _residual_moments(values, known, weights, mean, spread, loadings)
    return np.zeros(p), loadings, squares, total


def _residual_moments(values, known, weights, mean, spread, loadings):
    """Return E[(x - w'z) z], (p, d), and E (x - w'z)^2, (p,), summed over the observed rows."""
    p, d = loadings.shape
    cross, squares = np.zeros((p, d)), np.zeros(p)
    for draws, rows in _blocks(len(mean), *values.shape):
        Z = mean[draws, rows]
        rest = values[rows] - Z @ loadings.T
        if known is not None:
            rest *= known[rows]
        share = weights[draws, rows, None] * rest
        cross += share.reshape(-1, p).T @ Z.reshape(-1, d)
        squares += (share * rest).sum((0, 1))
    if spread is not None:
        pull = (spread @ loadings[..., None])[..., 0]
        cross -= pull
        squares += np.maximum((pull * loadings).sum(1), 0.0)
    return cross, squares


def _gram(known, weights, totals, design, covariance, first=1):
    """Return E[(1, z)(1, z)'] summed over the observed rows of each column, and their weight.

    `first` is the place of z in the design.
    """
    _, n, width = design.shape
    if known is None:
        flat = design.reshape(-1, width)
        second = ((weights.reshape(-1, 1) * flat).T @ flat)[None]
    else:
        weighted = np.ascontiguousarray((weights[..., None] * design).transpose(1, 2, 0))
        second = weighted @ np.ascontiguousarray(design.transpose(1, 0, 2))
        second = (known.T @ second.reshape(n, -1)).reshape(-1, width, width)
    if covariance is not None:
        second[:, first:, first:] += _summed_covariance(known, totals, covariance)
    return second, totals.sum() if known is None else known.T @ totals


def _summed_covariance(known, totals, covariance):
    """Return covariances summed over the observed rows of each column, (1 or p, d, d), or None."""
    if covariance is None:
        return None
    spread = _dense(covariance)
    if known is None:
        return np.tensordot(totals, spread, 1)[None]
    d = spread.shape[-1]
    return ((totals[:, None] * known).T @ spread.reshape(-1, d * d)).reshape(-1, d, d)


def _ridged(gram, weight):
    """Return gram matrices kept regular; their weight bounds them where a latent is always 0."""
    size = weight + np.trace(gram, axis1=1, axis2=2)
    return gram + 1e-14 * size[:, None, None] * np.eye(gram.shape[-1])


def _dense(covariance):
    """Return diagonal covariances (n, d) as matrices, full ones as they are."""
    if covariance.ndim == 3:
        return covariance
    return covariance[:, :, None] * np.eye(covariance.shape[1])


def predictor_variance(covariance, loadings):
    """Return w_j' S_i w_j, (n, p), for full (n, d, d) or diagonal (n, d) covariances."""
    p, d = loadings.shape
    if covariance.ndim == 2:
        return covariance @ (loadings**2).T
    products = (loadings[:, :, None] * loadings[:, None, :]).reshape(p, d * d)
    return np.maximum(covariance.reshape(-1, d * d) @ products.T, 0.0)
