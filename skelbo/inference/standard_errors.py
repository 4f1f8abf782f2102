r"""Standard errors of fitted parameters, from the observed information of log p(X).

The covariance of the estimates is :math:`N (N^T I N)^{-1} N^T`, N the directions that are free:
without rotations of z, parameters at the edge of their domain, and directions along which p(x) does
not change, which have no finite variance. Where a constraint C settles the rotation, errors are
carried along the rotations T onto it: :math:`1 - T (C T)^{-1} C`.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy import linalg, optimize
from sklearn.exceptions import ConvergenceWarning

from skelbo.inference.information import (
    NOTHING,
    blocks_of_rows,
    flat_directions,
    n_entries,
    observed_information,
)
from skelbo.inference.sampling.control_variates import reduce_variance
from skelbo.inference.sampling.draws import Draws
from skelbo.models.constraints import constraint_of

# A noise variance this near its floor, in standard errors, is held there if it is below this
# multiple of it: along a ridge between noise and loadings an ascent ends where the climb does, some
# way off the edge.
NEAR_LIMIT, NEAR_MULTIPLE = 0.01, 100.0
# Probabilities this near to 0 or 1 may be held there, too.
NEAR_EDGE = 1e-6
# Squared share of a flat direction, and of one whose information is no more than rounding, from
# which a parameter is lost with it.
SHARE_FLAT, SHARE_LOST = 1e-10, 1e-4
# Information, in shares of that of complete data, below which theta is clearly no maximum.
SADDLE = -0.01
AT_A_SADDLE = (
    "log p(X) has a direction of negative information at params_, which are near a saddle and no "
    "maximum: standard errors along it are infinite; fit again from another start (params_init, "
    "n_init, random_state)."
)


def standard_errors(fitted, data, report=None) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the standard error of every parameter of a fitted model, and their covariance.

    Parameters
    ----------
    fitted : FittedModel
    data : DistinctRows
        The rows of the fit.
    report : callable, optional
        Called with the number of rows that are done, and of all.

    Returns
    -------
    errors : dict of ndarray
        On the natural scale. Infinite where the data do not determine a parameter, zero where it
        is held at the edge of its domain.
    root : ndarray of shape (n_parameters, rank)
        Root of the covariance of what is determined.
    """
    model, theta = fitted.model, fitted.theta
    information = observed_information(model, theta, data, fitted.seed, report=report)
    turns, held = model.invariant_directions(theta), at_limit(model, theta, data)
    held |= near_limit(model, theta, data, *information.axes(_with_held(turns, held)))
    inward = _inward(model, theta)[held]
    flat = flat_directions(model, theta, data, information, model.invariant_directions, fitted.seed)
    flat = undetermined(flat, np.flatnonzero(held), inward)
    settled = np.concatenate([_with_held(turns, held), flat.T / information.units])
    axes, values = information.axes(settled)
    if values.min(initial=0.0) < SADDLE and not information.sampled:
        warnings.warn(AT_A_SADDLE, ConvergenceWarning, stacklevel=2)
    sound = values > NOTHING
    root = axes[:, sound] / np.sqrt(values[sound])
    if model.is_rotation_invariant(data.X, fitted.posterior):
        root = _settled(root, turns, model.constraint_jacobian(theta))
    errors = np.sqrt((root**2).sum(1))
    weak = axes[:, ~sound] / information.units[:, None]
    errors[((flat**2).sum(1) > SHARE_FLAT) | ((weak**2).sum(1) > SHARE_LOST)] = np.inf
    return split(errors, theta), root


def monte_carlo_errors(fitted, data, draws: Draws, root) -> dict[str, np.ndarray]:
    """Return Monte Carlo errors of the parameters: roots of diag(I^-1 V I^-1), V of the score."""
    joint = fitted.model.joint(data.X, fitted.theta)
    _, spread = score_moments(fitted.model, fitted.theta, data, draws, joint)
    noise = root.T @ spread @ root
    return split(np.sqrt(quadratic_forms(root.T, noise)), fitted.theta)


def undetermined(flat, held, inward) -> np.ndarray:
    """Return a basis (P, k) of the flat directions that remain with parameters at their edges.

    Parameters
    ----------
    flat : ndarray of shape (n_parameters, n_flat)
        Directions along which p(x) does not change.
    held : ndarray of int
        Parameters at the edge of their domain.
    inward : ndarray of shape (n_held,)
        Sign of the way into the domain.
    """
    if not len(held) or not flat.size:
        return flat
    moves = inward[:, None] * flat[held]
    free = linalg.null_space(moves, rcond=1e-6)
    # A flat direction into the domain: edges that do not bind leave it undetermined.
    k = flat.shape[1]
    result = optimize.linprog(
        -moves.sum(0),
        A_ub=np.concatenate([-moves, moves]),
        b_ub=np.repeat([1e-9, 1.0], len(moves)),
        bounds=[(-1.0, 1.0)] * k,
    )
    if result.success and -result.fun > 1e-6:
        free = linalg.orth(np.column_stack([free, result.x]))
    return flat @ free


def score_moments(model, theta, data, draws: Draws, joint) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradient of log p(X) from draws, (P,), and its Monte Carlo covariance, (P, P).

    Fisher's identity: the gradient is the posterior mean of the score.
    """
    size = n_entries(theta)
    gradient, spread = np.zeros(size), np.zeros((size, size))
    for rows in blocks_of_rows(len(data.X), len(draws.Z) * size):
        some, weights = draws.take(rows), data.weights[rows]
        scores = model.scores(theta, data.X[rows], some.Z)
        if some.exact:
            gradient += weights @ np.einsum("sn,snp->np", some.weights, scores)
            continue
        scores = reduce_variance(scores, joint.take(rows), some)
        errors = some.deviations(scores)
        bias = some.ratio_bias(errors)
        gradient += weights @ (np.einsum("sn,snp->np", some.weights, scores) - bias)
        flat = (weights[:, None] * errors).reshape(-1, size)
        spread += flat.T @ flat
    return gradient, spread


def quadratic_forms(axes, matrix) -> np.ndarray:
    """Return a' M a of each column a of `axes`, (n_axes,), for a covariance M.

    Along an axis in the null space of M rounding would leave a tiny negative.
    """
    return np.einsum("pk,pk->k", axes, matrix @ axes).clip(0.0)


def at_limit(model, theta, data) -> np.ndarray:
    """Return which parameters are at their lower limit (Heywood data), (P,)."""
    return _flat(theta) <= 1.5 * _limits(model, theta, data)


def near_limit(model, theta, data, axes, values) -> np.ndarray:
    """Return which parameters the data do not distinguish from their limit, (P,).

    That is a lower limit, or the edge of a domain if it is very near. `axes` and `values` are those
    of `Information.axes`; an axis without information counts with the most that rounding may leave,
    one of negative information, at a saddle, with its size.
    """
    flat, limits = _flat(theta), _limits(model, theta, data)
    above = np.where(flat <= NEAR_MULTIPLE * limits, flat - limits, np.inf)
    room = np.minimum(above, _distances(model, theta))
    limited, near = np.isfinite(room), np.zeros(len(room), dtype=bool)
    errors = np.sqrt((axes[limited] ** 2 / np.maximum(np.abs(values), NOTHING)).sum(1))
    near[limited] = room[limited] < NEAR_LIMIT * errors
    return near


def _settled(root, turns, constraint) -> np.ndarray:
    """Return errors, (P, k), carried along rotations, (C, P), so that they keep a constraint."""
    if not len(turns):
        return root
    size = np.sqrt((constraint**2).sum(1, keepdims=True))
    constraint = constraint / np.maximum(size, 1e-300)
    return root - turns.T @ np.linalg.lstsq(constraint @ turns.T, constraint @ root)[0]


def _inward(model, theta) -> np.ndarray:
    """Return the sign of the way from the nearest edge of each domain, (P,); 1 without one."""
    parts = []
    for name, value in theta.items():
        edge = np.ravel(constraint_of(name, model.constraints).edge(value))
        parts.append(np.where(edge > 0, -1.0, 1.0))
    return np.concatenate(parts)


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


def split(vector, theta) -> dict[str, np.ndarray]:
    """Return a vector in the order of theta as a dict of its shapes."""
    result, first = {}, 0
    for name, value in theta.items():
        size = np.size(value)
        result[name] = vector[first : first + size].reshape(np.shape(value))
        first += size
    return result
