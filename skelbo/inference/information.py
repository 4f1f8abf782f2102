r"""Observed information of log p(X; theta), by Louis' formula without its cancellation.

.. math:: I = \sum_i w_i \left\{ E[-\partial_\theta^2 h_i] - \mathrm{Var}[s_i] \right\},
    \quad h_i = \log p(x_i, z), \quad s_i = \partial_\theta h_i, \quad z \sim p(z \mid x_i; \theta)

Where z is known far better than theta (large counts), both terms are large and nearly equal. With
:math:`u = \partial_z h`, Stein's identities :math:`E[u] = 0, \mathrm{Var}[u] = H = E[-\partial_z^2
h], \mathrm{Cov}(s, u) = B = E[-\partial_\theta \partial_z h]` give the large part of the variance
exactly:

.. math:: \mathrm{Var}[s] = B H^{-1} B^T + \mathrm{Var}[r], \quad r = s - B H^{-1} u

The expectations run over points that stand for the exact posterior, never over q: the Hessian of a
variational bound is not an information matrix. Louis (1982); Oates, Girolami and Chopin (2017).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from skelbo.data.blocks import iter_blocks
from skelbo.inference.cubature import moment_points
from skelbo.inference.posterior_points import base_noise, posterior_points
from skelbo.inference.posteriors.gaussian_posterior import regular
from skelbo.inference.undone_directions import undone_directions
from skelbo.models.constraints import constraint_of

Report = Callable[[int, int], None]
# Multiplications, and cells, that the outer products of the scores may take.
MAX_WORK, BLOCK_CELLS = 5e9, 2**21
# Share of the complete-data information below which a direction of the expected information is
# flat, and below which one of the observed information is no more than rounding.
FLAT, NOTHING = 1e-12, 1e-13
# Observed information, in the same shares, along a direction without an expected one that calls for
# a look at parameters nearby, and how far these are, relative to their size.
SINGULAR, NEARBY = 1e-3, 0.1
# Ratio of the units of two entries from which on a row does not determine one of them.
UNDETERMINED = 1e3
# Points per row for which blocks of rows are made: in a model of torch, whose calls cost more than
# their cells, these are mostly few.
FEW_POINTS, MANY_POINTS = 2**6, 2**10
# Rows that give the scale of parameters where the information is a closed form.
ROWS_FOR_SCALE = 200


@dataclass(frozen=True)
class Information:
    """Observed information of log p(X), and what it is compared with.

    Attributes
    ----------
    observed : ndarray of shape (n_parameters, n_parameters)
    units : ndarray of shape (n_parameters,)
        Standard errors that complete data, with z known, would give each parameter alone.
    root : ndarray of shape (rank, n_parameters)
        Root of an expected information: a direction in its null space leaves p(x) as it is.
    sampled : bool
        Whether the expectations are means over random draws.
    """

    observed: np.ndarray
    units: np.ndarray
    root: np.ndarray
    sampled: bool

    def rescaled(self, slope: np.ndarray, bend: np.ndarray) -> Information:
        """Return the information about other coordinates.

        `slope` (P,) are the derivatives of theta in them; `bend` (P,) is added to the diagonal. A
        unit is not so large that complete data would hold less than `NOTHING` of what is observed.
        """
        observed = slope[:, None] * self.observed * slope + np.diag(bend)
        units = np.minimum(self.units / slope, _units(NOTHING * np.diagonal(observed)))
        return replace(self, observed=observed, units=units, root=self.root * slope)

    def allowed(self, constraint: np.ndarray) -> np.ndarray:
        """Return an orthonormal basis (P, k), in units, of the directions a constraint allows."""
        if not len(constraint):
            return np.eye(len(self.units))
        rows = constraint * self.units
        length = np.sqrt((rows**2).sum(1, keepdims=True))
        return linalg.null_space(rows / np.maximum(length, 1e-300))

    def unseen(self, constraint: np.ndarray) -> np.ndarray:
        """Return an orthonormal basis (P, k), in units, of the null space of expected information.

        A constraint (C, P) leaves out directions. Sorted by size of the observed information.
        """
        basis = self.allowed(constraint)
        if not basis.size:
            return basis
        _, sizes, right = np.linalg.svd(self.root * self.units @ basis)
        sizes = np.append(sizes, np.zeros(len(right) - len(sizes)))
        basis = basis @ right[sizes**2 <= FLAT].T
        return basis[:, np.argsort(np.abs(self.along(basis)))]

    def along(self, basis: np.ndarray) -> np.ndarray:
        """Return the observed information along directions (P, k) in units."""
        image = (self.units[:, None] * self.observed * self.units) @ basis
        return np.einsum("pk,pk->k", basis, image)

    def axes(self, constraint: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return directions (P, k) that a constraint allows, and the information along them.

        The information is in shares of that of complete data.
        """
        basis, units = self.allowed(constraint), self.units
        inner = basis.T @ (units[:, None] * self.observed * units) @ basis
        values, vectors = np.linalg.eigh(inner)
        return units[:, None] * (basis @ vectors), values


def observed_information(
    model, theta, data, seed: int, *, with_root: bool = True, report: Report | None = None
) -> Information:
    """Return the observed information of log p(X).

    Parameters
    ----------
    model : Model
    theta : dict of str to ndarray
    data : DistinctRows
        Rows of the fit.
    seed : int
        Of the draws behind expectations that no rule gives.
    with_root : bool
        Whether the root of the expected information is needed, too.
    report : callable, optional
        Called with the number of rows that are done, and of all.
    """
    formula = model.observed_information(theta, data.X, data.weights)
    if formula is not None:
        return _closed_form(model, theta, data, formula)
    size = n_entries(theta)
    max_points = MAX_WORK / (len(data.X) * size**2)
    noise = base_noise(model.n_latents, max_points, seed)
    total, complete, root = np.zeros((size, size)), np.zeros(size), np.zeros((0, size))
    sampled = False
    n_points = min(max_points, FEW_POINTS if model.has_gradient else MANY_POINTS)
    for rows in blocks_of_rows(len(data.X), n_points * size):
        X, weights = data.X[rows], data.weights[rows]
        joint = model.joint(X, theta)
        draws = posterior_points(joint, noise, max_points)
        means, rest, explained, own = _moments(model, theta, X, weights, draws, joint)
        total += own - explained - rest
        complete += np.diagonal(own)
        if with_root:
            root = _stacked(root, np.sqrt(weights)[:, None] * means)
        sampled |= not draws.exact
        if report is not None:
            report(min(rows.stop, len(data.X)), len(data.X))
    if with_root and len(data.X) < 2 * size:
        root = _stacked(root, _simulated_scores(model, theta, data, noise, max_points, seed))
    # The posteriors of all rows may leave a parameter out that rows of the model would determine.
    units = _units(np.maximum(complete, NOTHING * (root**2).sum(0)))
    if with_root and model.has_gradient and model.latent == "continuous":
        undone = undone_directions(model, theta, data.X, units)
        root = root - (root * units) @ undone @ undone.T / units
    return Information(total, units, root, sampled)


def flat_directions(model, theta, data, information, constraint, seed: int) -> np.ndarray:
    """Return an orthonormal basis (P, k), in units, of directions that leave p(x) as it is.

    They are those without expected information. Where there is observed information along some of
    them, theta may be a singular point (a factor without loadings); then only as many are flat as
    have no information at a point nearby.

    Parameters
    ----------
    model, theta, data, seed : object
        See `observed_information`.
    information : Information
        Of the same rows at theta.
    constraint : callable
        Gradients (C, P), at given parameters, of constraints that leave out directions.
    """
    basis = information.unseen(constraint(theta))
    if not basis.size or np.abs(information.along(basis)).max() < SINGULAR:
        return basis
    return basis[:, : nullity(model, theta, data, information, constraint, seed)]


def nullity(model, theta, data, information, constraint, seed: int) -> int:
    """Return how many directions leave p(x) as it is, at parameters near theta.

    The arguments are those of `flat_directions`.
    """
    # Standard errors that one row of complete data would give; 0 if infinite.
    units = np.where(information.units < 1e100, information.units * np.sqrt(data.total), 0.0)
    near = _nearby(theta, model.constraints, units, seed)
    return observed_information(model, near, data, seed).unseen(constraint(near)).shape[1]


def n_entries(theta) -> int:
    """Return the number of entries of all parameters."""
    return sum(np.size(value) for value in theta.values())


def blocks_of_rows(n_rows: int, cells_per_row: float) -> Iterator[slice]:
    """Yield slices of rows whose scores fit into cache."""
    return iter_blocks(n_rows, int(cells_per_row), BLOCK_CELLS)


def _moments(model, theta, X, weights, draws, joint):
    """Return mean scores (n, P) of rows, and the parts of the information, (P, P) each.

    The parts are Var[r], the part of Var[s] that z explains, and E of the complete information.
    """
    share = draws.weights * weights
    scores, own = model.scores_and_information(theta, X, draws.Z, share)
    scores, explained = _without_z(model, theta, X, weights, draws, joint, scores)
    means = np.einsum("sn,snp->np", draws.weights, scores)
    scores -= means
    scores *= np.sqrt(share)[..., None]
    flat = scores.reshape(-1, scores.shape[2])
    return means, flat.T @ flat, explained, own


def _without_z(model, theta, X, weights, draws, joint, scores):
    """Return s - B H^-1 u, (S, n, P), and the weighted sum of B H^-1 B', (P, P)."""
    found = None
    if joint.latent == "continuous":
        found = model.mixed_information(theta, X, draws.Z, draws.weights)
    if found is None:
        return scores, np.zeros((scores.shape[2], scores.shape[2]))
    mixed, own = found
    factor = np.linalg.cholesky(regular(own))
    half = np.linalg.solve(factor, mixed.transpose(0, 2, 1))
    slopes = np.linalg.solve(factor.transpose(0, 2, 1), half)
    u = joint.gradient(draws.Z)[1]
    scores -= (u.transpose(1, 0, 2) @ slopes).transpose(1, 0, 2)
    half *= np.sqrt(weights)[:, None, None]
    half = half.reshape(-1, scores.shape[2])
    return scores, half.T @ half


def _simulated_scores(model, theta, data, noise, max_points, seed) -> np.ndarray:
    """Return scores (m, P) of rows of the model with cells missing as in the data.

    Fewer rows than parameters leave directions of their own without a score; none if the model
    cannot be sampled.
    """
    size, rng = n_entries(theta), np.random.RandomState(seed)
    try:
        X = model.sample(2 * size, theta, rng)[0]
    except NotImplementedError:
        return np.zeros((0, size))
    X = np.array(X, dtype=np.float64)
    X[np.isnan(data.X[rng.randint(len(data.X), size=len(X))])] = np.nan
    joint = model.joint(X, theta)
    draws = posterior_points(joint, noise, max_points)
    scores = model.scores(theta, X, draws.Z)
    scores = _without_z(model, theta, X, np.ones(len(X)), draws, joint, scores)[0]
    scale = np.sqrt(data.total / len(X))
    return scale * np.einsum("sn,snp->np", draws.weights, scores)


def _nearby(theta, constraints, row_units, seed):
    """Return parameters at a random distance of about a tenth of what a row determines.

    The size of an intercept is where the data lie, and no scale; it serves where a row determines
    an entry much less than others, `row_units` (the intercept of a rate of zero).
    """
    rng, moved, first = np.random.RandomState(seed), {}, 0
    for name, value in theta.items():
        domain, value = constraint_of(name, constraints), np.asarray(value)
        least = row_units[first : first + value.size].reshape(value.shape)
        least = np.where(least > UNDETERMINED * least.min(initial=np.inf), 0.0, least)
        first += value.size
        free = np.where(least > 0, least, np.sqrt(np.mean(value**2)))
        size = np.where(domain.edge(value) == 0, free, 1.0)
        new = domain.move(value, NEARBY * size * rng.standard_normal(value.shape))
        moved[name] = new if domain.contains(new) else value
    return moved


def _closed_form(model, theta, data, formula) -> Information:
    """Return the information of rows with a Gaussian log p(X)."""
    X, weights = data.X[:ROWS_FOR_SCALE], data.weights[:ROWS_FOR_SCALE]
    draws = moment_points(*model.joint(X, theta).start())
    complete = model.information(theta, X, draws.Z, draws.weights * weights)
    units = _units(np.diagonal(complete) * data.total / weights.sum())
    expected = model.expected_information(theta, data.X, data.weights)
    values, vectors = np.linalg.eigh(units[:, None] * expected * units)
    root = (np.sqrt(values.clip(0.0)) * vectors).T / units
    return Information(formula, units, root, sampled=False)


def _units(complete) -> np.ndarray:
    return 1 / np.sqrt(np.maximum(np.abs(complete), 1e-300))


def _stacked(root, rows) -> np.ndarray:
    """Return R with R'R the sum of the squares of two sets of rows."""
    rows = np.concatenate([root, rows])
    return linalg.qr(rows, mode="r")[0] if len(rows) > rows.shape[1] else rows
