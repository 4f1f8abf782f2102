r"""Posterior of continuous latents: a Gaussian per row.

Maximises :math:`E_q \log p(x, z) + H[q]` over mean and covariance of every row. With
:math:`g = E_q \nabla \log p` and :math:`P = -E_q \nabla^2 \log p` (Bonnet, Price) the optimum has
:math:`g = 0` and precision P (its diagonal, for a diagonal q); a step goes there by Newton in the
mean and by a fixed point in the precision, shortened row by row until the bound does not fall.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skelbo.data.blocks import iter_blocks
from skelbo.elbo import ElboTerms

# A row is done when a step gains less than this share of its bound.
TOLERANCE = 1e-12
MAX_STEPS = 100
SHORTEST = 2.0**-24
# Smallest share of a diagonal cell in the pivot of a matrix that is not singular to rounding.
ROUNDING = 1e-14


@dataclass(frozen=True)
class GaussianPosterior:
    """One Gaussian per row.

    Attributes
    ----------
    mean : ndarray of shape (n_rows, n_latents)
    precision : ndarray of shape (n_rows, n_latents, n_latents) or (n_rows, n_latents)
        Full or diagonal.
    terms : ElboTerms
        The bound of each row, in nats.
    curvature : ndarray of shape (n_rows, n_latents, n_latents)
        E of minus the Hessian of log p(x, z): the precision of a full q.
    """

    mean: np.ndarray
    precision: np.ndarray
    terms: ElboTerms
    curvature: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """Covariances, in the shape of `precision`."""
        return _inverse(self.precision)

    @property
    def std(self) -> np.ndarray:
        """Standard deviations, (n_rows, n_latents)."""
        covariance = self.covariance
        full = covariance.ndim == 3
        return np.sqrt(np.einsum("nkk->nk", covariance) if full else covariance)

    def draws(self, moments_suffice):
        """Return weights, means and covariances."""
        return np.ones((1, len(self.mean))), self.mean[None], self.covariance

    def take(self, rows) -> GaussianPosterior:
        """Return the q of some of the rows."""
        terms = self.terms.map(lambda term: term[rows])
        return GaussianPosterior(self.mean[rows], self.precision[rows], terms, self.curvature[rows])

    @classmethod
    def concatenated(cls, parts: list[GaussianPosterior]) -> GaussianPosterior:
        """Return the q of the rows of all parts."""
        terms = ElboTerms.concatenate([q.terms for q in parts])
        arrays = (
            np.concatenate([getattr(q, name) for q in parts])
            for name in ("mean", "precision", "curvature")
        )
        mean, precision, curvature = arrays
        return cls(mean, precision, terms, curvature)

    def rotated(self, rotation: np.ndarray) -> GaussianPosterior:
        """Return a diagonal q for latents rotation @ z, (d, d): a start."""
        curvature = rotation @ self.curvature @ rotation.T
        precision = np.einsum("nkk->nk", curvature)
        return GaussianPosterior(self.mean @ rotation.T, precision, self.terms, curvature)


def fit_gaussian(
    joint, *, diagonal=False, start=None, tol=TOLERANCE, n_steps=MAX_STEPS
) -> GaussianPosterior:
    """Return the best Gaussian q of every row; rows do not influence each other.

    Parameters
    ----------
    joint : ContinuousJointDensity
        log p(x, z; theta) of n rows.
    diagonal : bool
        Whether q is a product over latents (mean field).
    start : GaussianPosterior, optional
        Default is ``joint.start()``, which depends on nothing but the row.
    tol : float
        Relative gain below which a row is done.
    n_steps : int
        Largest number of steps.
    """
    n = joint.shape[0]
    if joint.block_rows is None or n <= joint.block_rows:
        return _ascend(joint, diagonal, start, tol, n_steps)
    parts = []
    for rows in iter_blocks(n, block_cells=joint.block_rows):
        begin = None if start is None else start.take(rows)
        parts.append(_ascend(joint.take(rows), diagonal, begin, tol, n_steps))
    return GaussianPosterior.concatenated(parts)


def _ascend(joint, diagonal, start, tol, n_steps) -> GaussianPosterior:
    """Step in all rows at once; rows that are done drop out."""
    mean, precision = joint.start() if start is None else (start.mean, start.precision)
    if start is None and diagonal:
        precision = np.einsum("nkk->nk", precision)
    mean, precision = mean.copy(), precision.copy()
    state = _State(*_evaluate(joint, mean, precision))
    rows_left, view = _ActiveRows(joint, len(mean)), state.take(slice(None))
    for _ in range(n_steps):
        active = rows_left.active
        here = view, mean[active], precision[active], diagonal, rows_left.length
        better, gain, new_mean, new_precision, new = _step(rows_left.joint, *here)
        rows = active[better]
        mean[rows], precision[rows] = new_mean[better], new_precision[better]
        state.put(rows, new, better)
        if rows_left.all_done(better, small=gain <= tol * (1 + np.abs(view.bound))):
            break
        view = state.take(rows_left.active)
    entropy = state.bound - state.energy
    terms = ElboTerms.from_energy(state.reconstruction, state.energy, entropy)
    return GaussianPosterior(mean, precision, terms, state.curvature)


def find_mode(joint, start=None) -> tuple[np.ndarray, np.ndarray]:
    """Return a mode of log p(z | x) of each row, (n, d), and the precision there, (n, d, d)."""
    mean = joint.start()[0].copy() if start is None else start.copy()
    _, value, gradient, precision = joint.expected(mean)
    rows_left = _ActiveRows(joint, len(mean))
    for _ in range(MAX_STEPS):
        active = rows_left.active
        step = np.linalg.solve(regular(precision[active]), gradient[active][..., None])[..., 0]
        trial = mean[active] + rows_left.length[:, None] * step
        _, new_value, new_gradient, new_precision = rows_left.joint.expected(trial)
        gain = new_value - value[active]
        better = gain >= -TOLERANCE * (1 + np.abs(value[active]))
        rows = active[better]
        mean[rows], value[rows] = trial[better], new_value[better]
        gradient[rows], precision[rows] = new_gradient[better], new_precision[better]
        if rows_left.all_done(better, small=gain <= TOLERANCE * (1 + np.abs(new_value))):
            break
    return mean, regular(precision)


class _ActiveRows:
    """The rows that are not done, each with the length of its next step.

    Attributes
    ----------
    joint : ContinuousJointDensity
        log p(x, z; theta) of these rows.
    active : ndarray of int, shape (n_active,)
        Their positions among all rows.
    length : ndarray of shape (n_active,)
    """

    def __init__(self, joint, n_rows: int):
        self.whole = self.joint = joint
        self.active, self.length = np.arange(n_rows), np.ones(n_rows)

    def all_done(self, better: np.ndarray, small: np.ndarray) -> bool:
        """Drop rows whose gain is small or whose step is too short; return whether none is left.

        `better` marks the rows whose step is an improvement.
        """
        length = np.where(better, np.minimum(1.0, 2 * self.length), self.length / 4)
        going = np.where(better, ~small, length > SHORTEST)
        self.length = length[going]
        if not going.all():
            self.active = self.active[going]
            self.joint = self.whole.take(self.active)
        return not self.active.size


def regular(precision: np.ndarray) -> np.ndarray:
    """Return symmetric matrices (n, d, d) as positive definite ones.

    Those that are not, or are singular to rounding, have their negative curvature flipped and
    their smallest eigenvalues raised.
    """
    try:
        pivots = np.einsum("nkk->nk", np.linalg.cholesky(precision)) ** 2
        if np.all(pivots > ROUNDING * np.einsum("nkk->nk", precision)):
            return precision
    except np.linalg.LinAlgError:
        pass
    values, vectors = np.linalg.eigh(precision)
    size = np.abs(values)
    largest = size.max(-1, keepdims=True)
    size = np.maximum(size, 1e-3 * np.maximum(largest, 1e-3))
    mended = (vectors * size[:, None, :]) @ vectors.transpose(0, 2, 1)
    sound = np.all(values > ROUNDING * largest, axis=-1)
    return np.where(sound[:, None, None], precision, mended)


@dataclass
class _State:
    """The bound of each row, its parts and its derivatives."""

    bound: np.ndarray
    reconstruction: np.ndarray
    energy: np.ndarray
    gradient: np.ndarray
    curvature: np.ndarray

    def take(self, rows) -> _State:
        return _State(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def put(self, rows, other: _State, chosen) -> None:
        for name in self.__dataclass_fields__:
            getattr(self, name)[rows] = getattr(other, name)[chosen]


def _step(joint, state, mean, precision, diagonal, length):
    """Try one step of every row; return which rows gained, the gains, and the new q."""
    curvature = regular(state.curvature)
    target = np.einsum("nkk->nk", curvature) if diagonal else curvature
    rho = length.reshape(-1, *[1] * (precision.ndim - 1))
    new_precision = (1 - rho) * precision + rho * target
    shift = np.linalg.solve(curvature, state.gradient[..., None])[..., 0]
    new_mean = mean + length[:, None] * shift
    new = _State(*_evaluate(joint, new_mean, new_precision))
    gain = new.bound - state.bound
    better = gain >= -1e-13 * (1 + np.abs(state.bound))
    return better, gain, new_mean, new_precision, new


def _evaluate(joint, mean, precision):
    terms = joint.expected(mean, _inverse(precision))
    reconstruction, energy, gradient, curvature = terms
    energy = np.where(np.isfinite(energy), energy, -np.inf)
    d = mean.shape[1]
    diagonal = precision.ndim == 2
    log_det = np.log(precision).sum(1) if diagonal else np.linalg.slogdet(precision)[1]
    bound = energy + 0.5 * (d * (1 + np.log(2 * np.pi)) - log_det)
    return bound, reconstruction, energy, gradient, curvature


def _inverse(precision):
    """Return covariances; full ones through triangular factors.

    These keep the small variance along a direction of great precision, of which nothing is left in
    half of a general inverse.
    """
    if precision.ndim == 2:
        return 1 / precision
    try:
        factor = np.linalg.inv(np.linalg.cholesky(precision))
    except np.linalg.LinAlgError:
        return np.linalg.inv(precision)
    return factor.transpose(0, 2, 1) @ factor
