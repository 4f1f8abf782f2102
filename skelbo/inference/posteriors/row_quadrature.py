r"""Adaptive quadrature of p(x, z) over one or two latents, row by row.

One latent: panels of a Gauss-Lobatto rule, in widths that double away from the modes of a row,
halved where the rule and an embedded one of lower degree disagree. A panel is resolved however
steep p(x | z) is, as every halving doubles the resolution: a step is always between two nodes, as
the ends of a panel are nodes. Two latents: the trapezoid rule on a
grid that is centred and scaled by the mode and the precision of a row, widened and refined until
it resolves the row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial import legendre
from scipy import special

from skelbo.data.blocks import iter_blocks
from skelbo.elbo import ElboTerms
from skelbo.inference.posteriors.gaussian_posterior import find_mode
from skelbo.inference.posteriors.quadrature_grid import (
    BORDER_MASS,
    HALF_ERROR,
    GridPosterior,
    QuadratureGrid,
)
from skelbo.inference.sampling.draws import Draws
from skelbo.quadrature_panels import subdivided


def _lobatto(n_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the nodes and weights of the Gauss-Lobatto rule on [-1, 1], (n_nodes,) each."""
    polynomial = np.eye(n_nodes)[-1]
    slope = legendre.legder(polynomial)
    inner = legendre.legroots(slope)
    inner -= legendre.legval(inner, slope) / legendre.legval(inner, legendre.legder(slope))
    nodes = np.concatenate([[-1.0], 0.5 * (inner - inner[::-1]), [1.0]])
    return nodes, 2 / (n_nodes * (n_nodes - 1) * legendre.legval(nodes, polynomial) ** 2)


# A rule of degree 27, and one of degree 13 on all its nodes but two.
NODES, WEIGHTS = _lobatto(15)
EMBEDDED = np.delete(np.arange(15), [3, 11])
# Largest disagreement of the two rules in a panel, and largest share of an outermost panel, both
# relative to the row's density.
TOLERANCE, OUTER_SHARE = 1e-9, 1e-14
# First panels end at these distances from a mode, in its standard deviations.
EDGES = np.array([0.0, 2.0, 4.0, 8.0, 16.0])
# Half-width and step of the panels that look for other modes, in units of the prior.
PRIOR_REACH, PRIOR_STEP = 10.0, 0.5
MAX_SWEEPS = 70
# Sweeps after which a row is left whose error does not fall by a tenth: what remains is rounding of
# log p(x, z), as of counts of 1e12, which no panel is too narrow for.
PATIENCE, FALL = 6, 0.9
# Rounding of log p(x), relative to 1 + |log p(x)|.
ROUNDING = 1e-15
# Cells (nodes x panels x columns) worked on at a time.
BLOCK_CELLS = 2**20
# Half-width of the first grid of two latents, in posterior standard deviations, and its step: the
# trapezoid rule of a Gaussian at this step has a relative error of 5e-9.
GRID_REACH, GRID_STEP = 7.0, 1.0
MAX_GRID_POINTS = 2**15
# Estimated error, in nats, of a row that a grid does not resolve.
UNRESOLVED = 1e-5


def _lacking() -> np.ndarray:
    """Return 1 - v / w for the weights w of the rule and v of the embedded one, (15,)."""
    moments = np.zeros(len(EMBEDDED))
    moments[0] = 2.0
    embedded = np.zeros(len(NODES))
    embedded[EMBEDDED] = np.linalg.solve(
        legendre.legvander(NODES[EMBEDDED], len(EMBEDDED) - 1).T, moments
    )
    return 1 - embedded / WEIGHTS


LACKING = _lacking()


@dataclass(frozen=True)
class RowQuadrature:
    """log p(x) of some rows with the points that stand for p(z | x).

    Attributes
    ----------
    log_prob : ndarray of shape (n_rows,)
        In nats.
    error : ndarray of shape (n_rows,)
        Estimated error of `log_prob`; large for a row that the quadrature does not resolve.
    draws : Draws
        Points and their posterior weights.
    """

    log_prob: np.ndarray
    error: np.ndarray
    draws: Draws


def fit_rows(joint) -> GridPosterior:
    """Return the exact posterior of every row, whose log p(z | x) has a single mode."""
    found = row_quadrature(joint, [find_mode(joint)])
    draws, log_prob = found.draws, found.log_prob
    reconstruction = draws.expectation(joint.log_likelihood(draws.Z))
    energy = reconstruction + draws.expectation(joint.log_prior(draws.Z))
    terms = ElboTerms.from_energy(reconstruction, energy, log_prob - energy)
    return GridPosterior(draws.mean, draws.std, terms)


def row_quadrature(joint, modes) -> RowQuadrature:
    """Integrate p(x, z) over z for every row; rows do not influence each other.

    Parameters
    ----------
    joint : ContinuousJointDensity
        log p(x, z; theta) of n rows, with one or two latents.
    modes : sequence of (mode, precision), of shapes (n, d) and (n, d, d)
        Modes of p(z | x): one, or two where the density may have several.

    Returns
    -------
    RowQuadrature
    """
    integrate = _by_panels if joint.shape[1] == 1 else _by_grids
    found = integrate(joint, modes)
    return replace(found, error=found.error + ROUNDING * (1 + np.abs(found.log_prob)))


# ------------------------------------------------------------------ one latent


@dataclass(frozen=True)
class _Panels:
    """Panels of several rows, m in all.

    Attributes
    ----------
    row : ndarray of int, shape (m,)
    low, high : ndarray of shape (m,)
    end : ndarray of int, shape (m,)
        -1 for the lowest panel of a row, 1 for the highest, else 0.
    values : ndarray of shape (15, m)
        log p(x, z) at the nodes plus the logarithm of their weights, in nats.
    """

    row: np.ndarray
    low: np.ndarray
    high: np.ndarray
    end: np.ndarray
    values: np.ndarray

    @classmethod
    def evaluate(cls, joint, row, low, high, end) -> _Panels:
        """Return panels with their values."""
        values = np.empty((len(NODES), len(row)))
        for part in iter_blocks(len(row), len(NODES), BLOCK_CELLS):
            Z = _nodes(low[part], high[part])[..., None]
            values[:, part] = joint.take(row[part]).log_joint(Z)
        values[np.isnan(values)] = -np.inf
        values += np.log(WEIGHTS)[:, None] + np.log(0.5 * (high - low))
        return cls(row, low, high, end, values)

    def __add__(self, other: _Panels) -> _Panels:
        def joined(name: str) -> np.ndarray:
            return np.concatenate([getattr(self, name), getattr(other, name)], axis=-1)

        return _Panels(*map(joined, ("row", "low", "high", "end", "values")))

    def take(self, chosen: np.ndarray) -> _Panels:
        """Return some of the panels."""
        return _Panels(
            self.row[chosen],
            self.low[chosen],
            self.high[chosen],
            self.end[chosen],
            self.values[:, chosen],
        )

    def log_total(self, n_rows: int) -> np.ndarray:
        """Return log p(x) of each row, (n_rows,)."""
        largest = np.full(n_rows, -np.inf)
        np.maximum.at(largest, self.row, self.values.max(0))
        shift = np.where(np.isfinite(largest), largest, 0.0)
        total = np.zeros(n_rows)
        np.add.at(total, self.row, np.exp(self.values - shift[self.row]).sum(0))
        with np.errstate(divide="ignore"):
            return shift + np.log(total)


def _nodes(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the nodes of panels (m,), (15, m)."""
    return 0.5 * (low + high) + 0.5 * (high - low) * NODES[:, None]


def _by_panels(joint, modes) -> RowQuadrature:
    n = joint.shape[0]
    panels = _Panels.evaluate(joint, *_first_panels(modes, joint.unimodal))
    least, stale = np.full(n, np.inf), np.zeros(n, dtype=int)
    for sweep in range(MAX_SWEEPS):
        log_prob = panels.log_total(n)
        shares = np.exp(panels.values - log_prob[panels.row])
        error = np.abs(LACKING @ shares)
        # A panel as narrow as the spacing of floats is as fine as it can be.
        fine = panels.high - panels.low <= 1e-13 * np.maximum(abs(panels.low), abs(panels.high))
        coarse = np.bincount(panels.row, np.where(error > TOLERANCE, error, 0.0), n)
        stale = np.where(coarse < FALL * least, 0, stale + 1)
        least = np.minimum(least, coarse)
        halved = (error > TOLERANCE) & ~fine & (stale < PATIENCE)[panels.row]
        extended = (panels.end != 0) & (shares.sum(0) > OUTER_SHARE)
        if sweep == MAX_SWEEPS - 1 or not (halved | extended).any():
            break
        rest = panels.take(~halved)
        rest.end[extended[~halved]] = 0
        panels = rest + _Panels.evaluate(
            joint, *subdivided(panels.row, panels.low, panels.high, panels.end, halved, extended)
        )
    missed = np.zeros(n)
    np.add.at(missed, panels.row, np.where(error > TOLERANCE, error, error**1.5))
    return RowQuadrature(log_prob, missed, _panel_draws(panels, shares, n))


def _first_panels(modes, unimodal: bool) -> tuple[np.ndarray, ...]:
    """Return row, low, high and end of the panels to begin with."""
    edges = []
    for mode, precision in modes:
        steps = np.concatenate([-EDGES[:0:-1], EDGES]) / np.sqrt(precision[:, 0])
        edges.append(mode + steps)
    if not unimodal:
        uniform = np.arange(-PRIOR_REACH, PRIOR_REACH + PRIOR_STEP / 2, PRIOR_STEP)
        edges.append(np.broadcast_to(uniform, (len(edges[0]), len(uniform))))
    sorted_edges = np.sort(np.concatenate(edges, axis=1), axis=1)
    n, m = sorted_edges.shape
    row, end = np.repeat(np.arange(n), m - 1), np.zeros((n, m - 1), dtype=int)
    end[:, 0], end[:, -1] = -1, 1
    low, high, end = sorted_edges[:, :-1].ravel(), sorted_edges[:, 1:].ravel(), end.ravel()
    wide = high > low
    return row[wide], low[wide], high[wide], end[wide]


def _panel_draws(panels: _Panels, shares: np.ndarray, n_rows: int) -> Draws:
    """Return the nodes as draws: rows with fewer panels are filled up with weights of zero."""
    order = np.argsort(panels.row, kind="stable")
    row = panels.row[order]
    counts = np.bincount(row, minlength=n_rows)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    Z = np.zeros((len(NODES), counts.max(), n_rows))
    weights = np.zeros_like(Z)
    Z[:, place, row] = _nodes(panels.low, panels.high)[:, order]
    weights[:, place, row] = shares[:, order]
    Z, weights = Z.reshape(-1, n_rows), weights.reshape(-1, n_rows)
    Z[weights == 0] = np.broadcast_to((weights * Z).sum(0), Z.shape)[weights == 0]
    return Draws(Z[..., None], weights, np.arange(len(Z)), exact=True)


# ----------------------------------------------------------------- two latents


def _by_grids(joint, modes) -> RowQuadrature:
    """Integrate on grids about the modes, and on one about the prior where these are too large.

    The latter are rows whose density ends at a step near its mode, far from a Gaussian.
    """
    mode, precision = modes[0]
    n, d = mode.shape
    root = np.linalg.inv(np.linalg.cholesky(precision))  # covariance = root' root
    edge = np.full(d, GRID_REACH)
    grid = QuadratureGrid(-edge, edge, np.full(d, GRID_STEP))
    log_prob, error, parts = _on_grid(joint, mode, root, grid)
    whole = QuadratureGrid.for_joint(joint)
    rows = np.flatnonzero(error > UNRESOLVED)
    if not (rows.size and whole.n_points() <= MAX_GRID_POINTS):
        return RowQuadrature(log_prob, error, _joined(parts, n, d))
    about = np.zeros((len(rows), d)), np.broadcast_to(np.eye(d), (len(rows), d, d))
    other, other_error, other_parts = _on_grid(joint.take(rows), *about, whole)
    better = other_error < error[rows]
    log_prob[rows[better]], error[rows[better]] = other[better], other_error[better]
    for places, Z, weights in other_parts:
        chosen = better[places]
        parts.append((rows[places[chosen]], Z[:, chosen], weights[:, chosen]))
    return RowQuadrature(log_prob, error, _joined(parts, n, d))


def _on_grid(joint, mode, root, first: QuadratureGrid):
    """Integrate over z = mode + root' s on a grid of s, wider and finer where rows need it.

    Returns
    -------
    log_prob, error : ndarray of shape (n_rows,)
    parts : list of (rows, Z, weights)
        Points and posterior weights of groups of rows.
    """
    n = len(mode)
    log_det, longest = np.linalg.slogdet(root)[1], joint.longest_step(root)
    log_prob, error, parts = np.full(n, np.nan), np.empty(n), []
    rows, grid = np.arange(n), first
    while rows.size:
        Z = mode[rows] + np.einsum("nij,si->snj", root[rows], grid.points())
        values = joint.take(rows).log_joint(Z)
        total = special.logsumexp(values, axis=0)
        weights = np.exp(values - total)
        border, half_error = grid.border_mass(weights.T), grid.half_error(weights.T)
        before = log_prob[rows]
        log_prob[rows] = total + log_det[rows] + grid.log_volume()
        error[rows] = half_error.max(1) ** 2 + border.sum((1, 2))
        left = np.any(border > BORDER_MASS, axis=(1, 2)) | np.any(half_error > HALF_ERROR, axis=1)
        left |= np.any(grid.step > longest[rows, None], axis=1)
        if left.any():
            grid = grid.improved(border[left].max(0), half_error[left].max(0)) or grid
            grid = grid.at_most(longest[rows[left]].min())
        if grid.n_points() > MAX_GRID_POINTS:
            change = np.nan_to_num(np.abs(log_prob[rows] - before))
            error[rows[left]] = (half_error.max(1) + border.sum((1, 2)) + change)[left]
            left[:] = False
        parts.append((rows[~left], Z[:, ~left], weights[:, ~left]))
        rows = rows[left]
    return log_prob, error, parts


def _joined(parts, n: int, d: int) -> Draws:
    """Return the draws of groups of rows as one: shorter ones are filled up at their mean."""
    n_draws = max(len(weights) for _, _, weights in parts)
    Z, all_weights = np.empty((n_draws, n, d)), np.zeros((n_draws, n))
    for rows, points, weights in parts:
        Z[:, rows] = np.einsum("sn,snd->nd", weights, points)
        Z[: len(points), rows], all_weights[: len(points), rows] = points, weights
    return Draws(Z, all_weights, np.arange(n_draws), exact=True)
