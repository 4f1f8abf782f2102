r"""Newton's step on log p(X) from draws at theta, and a limit of the climb left.

With the gradient :math:`\hat g` of log p(X) from draws, its Monte Carlo covariance V and the
observed information I, the maximum is about Newton's step :math:`I^{-1} \hat g` away and
:math:`\tfrac12 \hat g^T I^{-1} \hat g` nats higher. After that step only the error of the draws
is left: a climb of :math:`\tfrac12 e^T I^{-1} e, e \sim N(0, V)`, half a weighted sum of
:math:`\chi^2_1` whose weights, the eigenvalues of :math:`I^{-1} V`, are the squares of Monte Carlo
errors in units of standard errors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from skelbo.inference.information import (
    NOTHING,
    Information,
    nullity,
    observed_information,
)
from skelbo.inference.standard_errors import (
    NEAR_EDGE,
    at_limit,
    quadratic_forms,
    score_moments,
    split,
)
from skelbo.models.constraints import constraint_of, within
from skelbo.models.interface import Theta

CONFIDENCE = 0.95
# Longest steps that are tried, one after the other, in standard errors of any parameter.
LONGEST = (3.0, 1.0, 0.25, 0.06, 0.015)
# Gradient along a direction without information, in its own errors, up to which it is noise.
NOISE = 4.0
# Information, in units of a parameter's own, below which a step is not lengthened any more.
SMALLEST = 1e-3
# Information, in shares of that of complete data, below which a direction leads off a saddle:
# where expectations are those of a rule, and of random draws.
SADDLE, SADDLE_SAMPLED = -1e-6, -0.05
SEED = 0


@dataclass(frozen=True)
class NewtonStep:
    """Quadratic approximation of log p(X) around theta, from draws at theta.

    Attributes
    ----------
    step : ndarray of shape (n_parameters,)
        Newton's step, for positive parameters in logarithms, for probabilities in log-odds.
    pull : ndarray of shape (rank,)
        The gradient in units of its information.
    noise : ndarray of shape (rank, rank)
        Monte Carlo covariance of `pull`.
    reach : float
        Length of the step, in standard errors of the parameter that it moves most.
    concave : bool
        Whether the information is that of a maximum.
    escape : ndarray of shape (n_parameters,) or None
        Direction of clearly negative information, of the length on which log p(X) changes by half
        a nat; None if there is none.
    """

    step: np.ndarray
    pull: np.ndarray
    noise: np.ndarray
    reach: float
    concave: bool
    escape: np.ndarray | None

    @property
    def lengths(self) -> list[float]:
        """Shares of the step to try, longest first: the quadratic reaches no further."""
        return sorted({min(1.0, limit / max(self.reach, 1e-300)) for limit in LONGEST})[::-1]

    @property
    def climb(self) -> float:
        """Predicted climb of log p(X), in nats; biased upwards by half the trace of `noise`."""
        return 0.5 * float(self.pull @ self.pull)

    @property
    def sure_climb(self) -> tuple[float, float]:
        """The climb without that bias, and its standard error, in nats."""
        own = float(quadratic_forms(self.pull[:, None], self.noise)[0])
        variance = own + 0.5 * (self.noise**2).sum()
        return self.climb - 0.5 * float(np.trace(self.noise)), float(np.sqrt(variance))

    @property
    def ratio(self) -> float:
        """Largest Monte Carlo error of any direction, in units of its standard error."""
        return float(np.sqrt(max(np.linalg.eigvalsh(self.noise)[-1], 0.0)))

    @property
    def left(self) -> float:
        """Upper limit, at 95 % confidence, of the climb left after the whole step, in nats."""
        mean, variance = 0.5 * float(np.trace(self.noise)), 0.5 * float((self.noise**2).sum())
        if mean <= 0:
            return 0.0
        # A chi-square of the same mean and variance (Satterthwaite).
        return variance / (2 * mean) * stats.chi2.ppf(CONFIDENCE, 2 * mean**2 / variance)


def information_for_newton(model, theta, data, n_flat: int | None) -> Information:
    """Return the information at theta; `n_flat` as that of `newton_step`, None if not known yet."""
    return observed_information(model, theta, data, SEED, with_root=n_flat != 0)


def newton_step(
    model,
    theta,
    data,
    draws,
    joint,
    moved: Callable[[], Theta],
    information: Information,
    n_flat: int,
) -> NewtonStep | None:
    """Return Newton's step on log p(X), None without usable information.

    Parameters
    ----------
    model : Model
    theta : dict of str to ndarray
    data : DistinctRows
        Rows of the fit.
    draws : Draws
        Draws of p(z | x; theta).
    joint : JointDensity
        log p(x, z; theta) of the rows.
    moved : callable
        Returns theta after an EM step: a parameter that such a step leaves at the edge of its
        domain, and the gradient pushes further out, is held there. Called if there is an edge.
    information : Information
        At theta, or near it; see `information_for_newton`.
    n_flat : int
        Number of directions that leave p(x) as it is, besides rotations; see `n_flat_directions`.
    """
    gradient, spread = score_moments(model, theta, data, draws, joint)
    edge = _at_the_edge(theta, moved, model.constraints, gradient, np.sqrt(np.diagonal(spread)))
    edge |= at_limit(model, theta, data)
    held = np.concatenate([model.invariant_directions(theta), np.eye(len(edge))[edge]])
    if not np.isfinite(information.observed).all():
        return None
    if n_flat:
        flat = information.unseen(held)[:, :n_flat]
        held = np.concatenate([held, flat.T / information.units])
    slope, bend = _scales(theta, model.constraints)
    information = information.rescaled(slope, -gradient * bend)
    axes, values = information.axes(slope * held)
    saddle = SADDLE_SAMPLED if information.sampled else SADDLE
    return _step_along(axes, values, slope * gradient, slope[:, None] * spread * slope, saddle)


def n_flat_directions(model, theta, data, information: Information) -> int:
    """Return the number of directions near theta that leave p(x) as it is, besides rotations."""
    return nullity(model, theta, data, information, model.invariant_directions, SEED)


def _step_along(axes, values, gradient, spread, saddle: float) -> NewtonStep | None:
    """Return the step along directions (P, k) with these shares of information.

    Where the information is no more than rounding, or negative, there is no maximum to go to: the
    step follows the gradient. Where the gradient, too, is noise, nothing is found along a direction
    without information; one of clearly negative information leads off a saddle.
    """
    known, negative = values > NOTHING, values < saddle
    slope, errors = axes.T @ gradient, np.sqrt(quadratic_forms(axes, spread))
    idle = ~known & ~negative & (np.abs(slope) <= NOISE * errors + 1e-9)
    escape = axes[:, 0] / np.sqrt(-values[0]) if negative.any() else None
    least = SMALLEST * values.max(initial=SMALLEST)
    values = np.where(known, values, np.maximum(np.abs(values), least))
    root = axes[:, ~idle] / np.sqrt(values[~idle])
    if not root.size:
        return None
    pull, errors = root.T @ gradient, np.sqrt((root**2).sum(1))
    step = root @ pull
    reach = float(np.max(np.abs(step) / np.maximum(errors, 1e-300)))
    concave = bool(np.all(known | idle))
    return NewtonStep(step, pull, root.T @ spread @ root, reach, concave, escape)


def after_step(theta, step, model, data):
    """Return theta after a step in the scales of `_scales`, None outside its domain."""
    moved = {}
    for name, part in split(step, theta).items():
        domain = constraint_of(name, model.constraints)
        moved[name] = domain.move(theta[name], part)
        if not domain.contains(moved[name]):
            return None
    return within(moved, model.limits(data.X, data.weights))


def _scales(theta, constraints) -> tuple[np.ndarray, np.ndarray]:
    """Return first and second derivatives of theta in logarithms, and log-odds, of itself, (P,).

    On these scales a likelihood is nearer to a parabola, and no step leaves the domain.
    """
    pairs = [constraint_of(k, constraints).derivatives(np.ravel(v)) for k, v in theta.items()]
    slopes, bends = zip(*pairs, strict=True)
    return np.concatenate(slopes), np.concatenate(bends)


def log_ratio(joint, q, new_joint, new_q, draws) -> tuple[np.ndarray, np.ndarray]:
    """Return log p(x) at new parameters less that at old ones, by draws at the old.

    Draws of continuous z are carried along as q moves (a warp), so that they still fit.

    Returns
    -------
    ratio, variance : ndarray of shape (n_rows,)
        In nats, and its Monte Carlo variance.
    """
    Z, stretch = draws.Z, 0.0
    if joint.latent == "continuous":
        old, new = np.linalg.cholesky(q.precision), np.linalg.cholesky(new_q.precision)
        carry = np.linalg.solve(new.transpose(0, 2, 1), old.transpose(0, 2, 1))
        Z = new_q.mean + np.einsum("nij,snj->sni", carry, Z - q.mean)
        stretch = np.log(np.einsum("nkk->nk", old) / np.einsum("nkk->nk", new)).sum(1)
    change = new_joint.log_joint(Z) + stretch - joint.log_joint(draws.Z)
    with np.errstate(divide="ignore"):
        ratio = special.logsumexp(change + np.log(draws.weights), axis=0)
    return ratio, draws.variance(np.exp(np.minimum(change - ratio, 700.0)))


def _at_the_edge(theta, moved, constraints, gradient, errors) -> np.ndarray:
    """Return which parameters an EM step left at an edge against a sure gradient, (P,).

    A step may leave others, too, where it is stopped by rounding.
    """
    near = {
        name: _near_edge(value, constraint_of(name, constraints)) for name, value in theta.items()
    }
    if not any(np.any(edge) for edge in near.values()):
        return np.zeros(len(gradient), dtype=bool)
    parts, new = [], moved()
    for name, value in theta.items():
        still = np.abs(new[name] - value) <= 1e-9 * np.abs(value)
        parts.append(np.ravel(still * near[name]))
    return np.concatenate(parts) * gradient > 3 * errors


def _near_edge(value, domain) -> np.ndarray:
    """Return the sign of the edge that is attained and very near, 0 where there is none."""
    return domain.edge_attained * (domain.distance(value) < NEAR_EDGE) * domain.edge(value)
