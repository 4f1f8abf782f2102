r"""Standard errors from the observed information of log p(X; theta), by Louis' formula.

.. math:: I = \sum_i w_i \left\{ E[-\partial^2 \log p(x_i, z)] - \mathrm{Var}[s_i] \right\},
    \quad s_i = \partial \log p(x_i, z), \quad z \sim p(z \mid x_i)

The expectations run over the points that stand for the exact posterior, never over q: the Hessian
of a variational bound is not an information matrix.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from skelbo.inference.draws import Draws
from skelbo.inference.importance import BaseNoise, importance_draws
from skelbo.inference.marginal import log_marginal

# Beyond this many parameters the matrix is not formed, and standard errors are NaN.
MAX_PARAMETERS = 1500
# Floating-point operations, and cells, that the outer products of the scores may take.
MAX_WORK, BLOCK_CELLS = 4e9, 2**22
MIN_DRAWS, MAX_DRAWS = 40, 1000
# In standard errors.
SMALL_STEP = 0.5


def standard_errors(fitted, cases, draws: Draws | None = None) -> list[dict[str, np.ndarray]]:
    """Return the standard error of every parameter of a fitted model, on the natural scale.

    Parameters
    ----------
    fitted : FittedModel
    cases : Cases
        The rows of the fit.
    draws : Draws, optional
        Those of the last theta step of Monte Carlo EM.

    Returns
    -------
    errors : list of dict
        Standard errors; with `draws` also what their number adds: I^-1 V I^-1, V the Monte
        Carlo covariance of the score.
    """
    size = sum(np.size(value) for value in fitted.theta.values())
    if size > getattr(fitted.model, "max_information", MAX_PARAMETERS):
        return [split(np.full(size, np.nan), fitted.theta)] * (1 if draws is None else 2)
    total = fitted.model.closed_information(fitted.theta, cases.X, cases.weights)
    if total is None:
        total = _observed_information(fitted, cases, size)
    constraint = fitted.model.constraint_jacobian(fitted.theta)
    covariance = inverse_information(total, constraint)
    errors = [split(_root(np.diagonal(covariance)), fitted.theta)]
    if draws is None:
        return errors
    spread = np.zeros((size, size))
    for rows in _blocks(fitted, cases, size, len(draws.Z)):
        X, weights = cases.X[rows], cases.weights[rows]
        spread += score_noise(fitted.model, fitted.theta, X, weights, draws.take(rows))
    spread = covariance @ spread @ covariance
    return [*errors, split(_root(np.diagonal(spread)), fitted.theta)]


def _observed_information(fitted, cases, size) -> np.ndarray:
    noise, total = _noise(fitted, cases, size), np.zeros((size, size))
    for rows in _blocks(fitted, cases, size, sum(noise.counts)):
        X, weights = cases.X[rows], cases.weights[rows]
        points = posterior_points(fitted.model.joint(X, fitted.theta), noise)
        total += louis(fitted.model, fitted.theta, X, weights, points)
    return total


def posterior_points(joint, noise: BaseNoise) -> Draws:
    """Return weighted points that stand for p(z | x) of each row."""
    draws = log_marginal(joint, noise)[2]
    if draws is None:
        mean, precision = joint.start()
        return importance_draws(joint, mean, precision, noise)[0]
    return draws


def louis(model, theta, X, weights, draws: Draws) -> np.ndarray:
    """Return the observed information of some rows, (P, P)."""
    scores = model.scores(theta, X, draws.Z)
    share = draws.weights * weights
    centred = scores - np.einsum("sn,snp->np", draws.weights, scores)
    flat = (np.sqrt(share)[..., None] * centred).reshape(-1, scores.shape[2])
    return model.information(theta, X, draws.Z, share) - flat.T @ flat


def score_noise(model, theta, X, weights, draws: Draws) -> np.ndarray:
    """Return the Monte Carlo covariance of the score of some rows, (P, P)."""
    scores = model.scores(theta, X, draws.Z)
    errors = (weights[:, None] * draws.deviations(scores)).reshape(-1, scores.shape[2])
    return errors.T @ errors


def louis_step(model, theta, cases, draws: Draws) -> dict[str, np.ndarray]:
    """Return theta after Newton's step on log p(X): what is left of EM's way, at once.

    Gradient (Fisher's identity) and information come from draws at theta. The step is not taken
    where it is not small, as the information is that of a maximum.
    """
    size = sum(np.size(value) for value in theta.values())
    limit = getattr(model, "max_information", MAX_PARAMETERS)
    if size > limit or len(draws.Z) * len(cases.X) * size**2 > MAX_WORK:
        return theta
    total, gradient = np.zeros((size, size)), np.zeros(size)
    for first in range(0, len(cases.X), rows := _rows(len(draws.Z), size)):
        part = slice(first, first + rows)
        some, weights = draws.take(part), cases.weights[part]
        total += louis(model, theta, cases.X[part], weights, some)
        scores = model.scores(theta, cases.X[part], some.Z)
        gradient += np.einsum("sn,snp->p", some.weights * weights, scores)
    covariance = inverse_information(total, model.tangents(theta))
    step, errors = covariance @ gradient, _root(np.diagonal(covariance))
    small = np.abs(step) <= SMALL_STEP * np.nan_to_num(errors, nan=-1.0)
    if not small.all():
        return theta
    moved = split(step, theta)
    moved = {name: theta[name] + moved[name] for name in theta}
    return moved if _in_domain(moved, model.constraints) else theta


def _in_domain(theta, constraints) -> bool:
    bounded = {name: kind for name, kind in constraints.items() if name in theta}
    positive = all(np.all(theta[name] > 0) for name in bounded)
    units = (name for name, kind in bounded.items() if kind != "positive")
    return positive and all(np.all(theta[name] < 1) for name in units)


def inverse_information(information, constraint) -> np.ndarray:
    """Return the covariance of the estimates: the inverse on the directions that are identified.

    A rotation of z changes nothing; what settles it is a constraint C theta = const, and the
    covariance is N (N' I N)^-1 N' with N the null space of C.
    """
    P = len(information)
    free = linalg.null_space(constraint) if len(constraint) else np.eye(P)
    # Parameters come in units of their own: scale, or the inverse loses digits.
    units = 1 / np.sqrt(np.maximum(np.abs(np.diagonal(information)), 1e-300))
    basis = linalg.qr(free / units[:, None], mode="economic")[0] if len(constraint) else free
    scaled = units[:, None] * information * units
    reduced = basis.T @ scaled @ basis
    try:
        inverse = basis @ np.linalg.inv(reduced) @ basis.T
    except np.linalg.LinAlgError:
        return np.full((P, P), np.nan)
    return units[:, None] * inverse * units


def split(vector, theta) -> dict[str, np.ndarray]:
    """Return a vector in the order of theta as a dict of its shapes."""
    result, first = {}, 0
    for name, value in theta.items():
        size = np.size(value)
        result[name] = vector[first : first + size].reshape(np.shape(value))
        first += size
    return result


def _noise(fitted, cases, size) -> BaseNoise:
    n_draws = int(np.clip(MAX_WORK / (2 * len(cases.X) * size**2), MIN_DRAWS, MAX_DRAWS))
    rng = np.random.RandomState(fitted.seed)
    return BaseNoise.draw(n_draws, fitted.model.n_latents, rng)


def _blocks(fitted, cases, size, n_draws):
    d = fitted.model.n_latents
    points = max(n_draws, 61, 31**2 if d == 2 else 0, 2 ** min(d, 12))
    rows = _rows(points, size)
    return (slice(first, first + rows) for first in range(0, len(cases.X), rows))


def _rows(points, size):
    return max(1, int(BLOCK_CELLS // (points * size)))


def _root(variances):
    with np.errstate(invalid="ignore"):
        return np.sqrt(np.where(variances >= 0, variances, np.nan))
