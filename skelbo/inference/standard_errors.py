r"""Standard errors from the observed information of log p(X; theta), by Louis' formula.

.. math:: I = \sum_i w_i \left\{ E[-\partial^2 \log p(x_i, z)] - \mathrm{Var}[s_i] \right\},
    \quad s_i = \partial \log p(x_i, z), \quad z \sim p(z \mid x_i; \theta)

The expectations run over the points that stand for the exact posterior, never over q: the Hessian
of a variational bound is not an information matrix.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from skelbo.inference.log_marginal import log_marginal, quadrature
from skelbo.inference.posteriors.gaussian import find_mode
from skelbo.inference.sampling.control_variates import reduce_variance
from skelbo.inference.sampling.draws import Draws
from skelbo.inference.sampling.importance import BaseNoise, importance_draws
from skelbo.models.constraints import constraint_of

# Floating-point operations, and cells, that the outer products of the scores may take.
MAX_WORK, BLOCK_CELLS = 4e9, 2**22
MIN_DRAWS, MAX_DRAWS = 40, 1000
# Where most of the information is missing it is a small difference of large numbers, too small for
# draws: nodes per axis of a quadrature for three to five latents, pruned at this log-share.
NODES, PRUNED = {3: 11, 4: 7, 5: 5}, 14.0
# Nodes per axis that are exact for products of scores under a Gaussian posterior, and their limit.
QUADRATIC, MAX_QUADRATIC = 3, 6
# Directions with less information than this share of the parameters' own are not identified.
NOTHING = 1e-11
# A noise variance this near its floor, in standard errors, is held there: along a ridge between
# noise and loadings an ascent ends where the climb does, some way off the edge.
NEAR_LIMIT = 0.01
# Probabilities this near to 0 or 1 may be held there, too.
NEAR_EDGE = 1e-6


def standard_errors(fitted, data) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the standard error of every parameter of a fitted model, and their covariance.

    Parameters
    ----------
    fitted : FittedModel
    data : DistinctRows
        Rows of the fit.

    Returns
    -------
    errors : dict of ndarray
        On the natural scale. Infinite where the data do not determine a parameter, zero where it
        is held at the edge of its domain.
    root : ndarray of shape (n_parameters, rank)
        Root of the covariance of what is determined.
    """
    model, theta = fitted.model, fitted.theta
    noise = base_noise(model, theta, len(data.X), fitted.seed)
    total = observed_information(model, theta, data, noise, closed=False)
    constraint, held = model.constraint_jacobian(theta), at_limit(model, theta, data)
    held |= near_limit(model, theta, data, *information_axes(total, _with_held(constraint, held)))
    root, lost = information_root(total, _with_held(constraint, held))
    errors = np.sqrt((root**2).sum(1))
    errors[lost] = np.inf
    return split(errors, theta), root


def monte_carlo_errors(fitted, data, draws: Draws, root) -> dict[str, np.ndarray]:
    """Return Monte Carlo errors of the parameters: roots of diag(I^-1 V I^-1), V of the score."""
    joint = fitted.model.joint(data.X, fitted.theta)
    _, spread = score_moments(fitted.model, fitted.theta, data, draws, joint)
    noise = root.T @ spread @ root
    return split(np.sqrt(quadratic_forms(root.T, noise)), fitted.theta)


def observed_information(model, theta, data, noise: BaseNoise, closed=True) -> np.ndarray:
    """Return the observed information of log p(X), (P, P).

    `closed` takes the expected information where it is a closed form: equal in the limit at the
    maximum of a true model, but no guide away from it.
    """
    size, d = n_entries(theta), model.n_latents
    formula = model.expected_information(theta, data.X, data.weights)
    costly = QUADRATIC**d * len(data.X) * size**2 > MAX_WORK
    if formula is not None and (closed or costly):
        return formula
    total = np.zeros((size, size))
    points = max(len(noise.part), 61, 31**2 if d <= 5 else 0, 2 ** min(d, 12))
    for rows in _blocks(len(data.X), points * size):
        X, weights = data.X[rows], data.weights[rows]
        total += louis(model, theta, X, weights, posterior_points(model.joint(X, theta), noise))
    return total


def posterior_points(joint, noise: BaseNoise) -> Draws:
    """Return weighted points that stand for p(z | x) of each row."""
    d = joint.shape[1]
    if joint.latent == "continuous" and joint.gaussian and d <= MAX_QUADRATIC:
        mode, precision = joint.start()
        return quadrature(joint, mode, precision, QUADRATIC)[1]
    if joint.latent == "continuous" and d in NODES and joint.unimodal:
        mode, precision = find_mode(joint)
        return quadrature(joint, mode, precision, NODES[d], PRUNED)[1]
    draws = log_marginal(joint, noise)[2]
    if draws is None:
        mean, precision = joint.start()
        return importance_draws(joint, mean, precision, noise)[0]
    return draws


def louis(model, theta, X, weights, draws: Draws) -> np.ndarray:
    """Return the observed information of some rows, (P, P), by Louis' formula."""
    scores = model.scores(theta, X, draws.Z)
    share = draws.weights * weights
    centred = scores - np.einsum("sn,snp->np", draws.weights, scores)
    flat = (np.sqrt(share)[..., None] * centred).reshape(-1, scores.shape[2])
    return model.information(theta, X, draws.Z, share) - flat.T @ flat


def score_moments(model, theta, data, draws: Draws, joint) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradient of log p(X) from draws, (P,), and its Monte Carlo covariance, (P, P).

    Fisher's identity: the gradient is the posterior mean of the score.
    """
    size = n_entries(theta)
    gradient, spread = np.zeros(size), np.zeros((size, size))
    for rows in _blocks(len(data.X), len(draws.Z) * size):
        some, weights = draws.take(rows), data.weights[rows]
        scores = model.scores(theta, data.X[rows], some.Z)
        scores = reduce_variance(scores, joint.take(rows), some)
        errors = some.deviations(scores)
        bias = some.ratio_bias(errors)
        gradient += weights @ (np.einsum("sn,snp->np", some.weights, scores) - bias)
        flat = (weights[:, None] * errors).reshape(-1, size)
        spread += flat.T @ flat
    return gradient, spread


def information_root(information, constraint) -> tuple[np.ndarray, np.ndarray]:
    """Return a root F of the covariance F F' of the estimates, and which have no finite variance.

    A rotation of z changes nothing; a constraint C theta = const makes it unique, and the
    covariance is N (N' I N)^-1 N' with N the null space of C. Directions without information (a
    separable column, a dead feature) have no finite variance: F leaves them out, and the second
    array, (P,) of bool, marks the parameters that lie in them.
    """
    axes, values = information_axes(information, constraint)
    sound = values > NOTHING * max(values.max(initial=0.0), 0.0)
    units = 1 / np.sqrt(np.maximum(np.abs(np.diagonal(information)), 1e-300))
    lost = ((axes[:, ~sound] / units[:, None]) ** 2).sum(1) > 1e-4
    return axes[:, sound] / np.sqrt(values[sound]), lost


def quadratic_forms(axes, matrix) -> np.ndarray:
    """Return a' M a of each column a of `axes`, (n_axes,), for a covariance M.

    Along an axis in the null space of M rounding would leave a tiny negative.
    """
    return np.einsum("pk,pq,qk->k", axes, matrix, axes).clip(0.0)


def information_axes(information, constraint) -> tuple[np.ndarray, np.ndarray]:
    """Return directions that the constraint allows, (P, rank), and the information along them.

    Parameters have different units: they are scaled, or the inverse would lose digits.
    """
    size = len(information)
    units = 1 / np.sqrt(np.maximum(np.abs(np.diagonal(information)), 1e-300))
    basis = np.eye(size)
    if len(constraint):
        rows = constraint * units
        length = np.sqrt((rows**2).sum(1, keepdims=True))
        basis = linalg.null_space(rows / np.maximum(length, 1e-300))
    values, vectors = np.linalg.eigh(basis.T @ (units[:, None] * information * units) @ basis)
    return units[:, None] * (basis @ vectors), values


def at_limit(model, theta, data) -> np.ndarray:
    """Return which parameters are at their lower limit (Heywood data), (P,)."""
    return _flat(theta) <= 1.5 * _limits(model, theta, data)


def near_limit(model, theta, data, axes, values) -> np.ndarray:
    """Return which parameters the data do not distinguish from their limit, (P,).

    That is a lower limit, or the edge of a domain if it is very near. `axes` and `values` are those
    of `information_axes`; an axis without information counts with the most that rounding may leave.
    """
    room = np.minimum(_flat(theta) - _limits(model, theta, data), _distances(model, theta))
    limited, near = np.isfinite(room), np.zeros(len(room), dtype=bool)
    least = max(NOTHING * values.max(initial=0.0), 1e-300)
    errors = np.sqrt((axes[limited] ** 2 / np.maximum(values, least)).sum(1))
    near[limited] = room[limited] < NEAR_LIMIT * errors
    return near


def _distances(model, theta) -> np.ndarray:
    """Return the distances of probabilities from 0 or 1 if they are below `NEAR_EDGE`, (P,)."""
    parts = []
    for name, value in theta.items():
        domain = constraint_of(name, model.constraints)
        distance = np.ravel(domain.distance(value))
        parts.append(np.where(domain.edge_attained & (distance < NEAR_EDGE), distance, np.inf))
    return np.concatenate(parts)


def _limits(model, theta, data) -> np.ndarray:
    """Return the lower limits of all parameters, (P,); -inf where there is none."""
    limits = model.lower_limits(data.X, data.weights)
    full = [np.broadcast_to(limits.get(k, -np.inf), np.shape(v)) for k, v in theta.items()]
    return np.concatenate([np.ravel(limit) for limit in full])


def _flat(theta) -> np.ndarray:
    """Return all parameters as one vector, the inverse of `split`."""
    return np.concatenate([np.ravel(value) for value in theta.values()])


def _with_held(constraint, held) -> np.ndarray:
    """Return the constraint with one more row for each parameter that is held."""
    return np.concatenate([constraint, np.eye(len(held))[held]])


def n_entries(theta) -> int:
    """Return the number of entries of all parameters."""
    return sum(np.size(value) for value in theta.values())


def split(vector, theta) -> dict[str, np.ndarray]:
    """Return a vector in the order of theta as a dict of its shapes."""
    result, first = {}, 0
    for name, value in theta.items():
        size = np.size(value)
        result[name] = vector[first : first + size].reshape(np.shape(value))
        first += size
    return result


def base_noise(model, theta, n_rows: int, seed: int) -> BaseNoise:
    """Return the noise for expectations without quadrature, as many draws as time allows."""
    work = 2 * n_rows * n_entries(theta) ** 2
    n_draws = int(np.clip(MAX_WORK / work, MIN_DRAWS, MAX_DRAWS))
    return BaseNoise.draw(n_draws, model.n_latents, np.random.RandomState(seed))


def _blocks(n_rows, cells_per_row):
    size = max(1, int(BLOCK_CELLS // cells_per_row))
    return (slice(first, first + size) for first in range(0, n_rows, size))
