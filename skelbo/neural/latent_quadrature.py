r"""Adaptive quadrature over the one latent of a network: log p(x) and the bound, without draws.

.. math:: \log p(x) = \log \int p(z)\, p(x \mid z)\, dz

Panels of a Gauss-Legendre rule are halved, row by row, where the rule and an embedded one of lower
degree disagree, or where the density rises too fast to be seen at the nodes. All rows take their
panels from the same bisections of one interval, so that the decoder runs once per panel, not per
row; the panels of a row depend on that row alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.polynomial import legendre
from torch import Tensor

from skelbo.elbo import ElboTerms
from skelbo.neural.annealed_importance import in_float64
from skelbo.neural.data.batches import as_batch
from skelbo.neural.data.columns import Columns
from skelbo.neural.model.networks import AutoEncoder
from skelbo.neural.model.row_design import RowDesign
from skelbo.quadrature_panels import subdivided

# A rule of degree 29, and one of degree 13 on all its nodes but two.
NODES, WEIGHTS = legendre.leggauss(15)
EMBEDDED = np.delete(np.arange(15), [3, 11])
# Largest disagreement of the two rules in a panel, and logarithm of what may be missed in one, both
# relative to the density of the row.
TOLERANCE, LOG_NEGLIGIBLE = 1e-7, -32.0
# A panel in which neighbouring nodes differ by more nats, and by more than rounding of log p(x, z)
# in so many units of it, may hide a peak between them.
STEEP, STEEP_ROUNDING = 8.0, 16.0
# Standard deviations of q about its mean that panels cover.
Q_WIDTH = 8.0
# Logarithm of its integral, which is 1, where rounding of z leaves nothing of it.
LOG_LOST = -0.7
# Number of panels at first, and most sweeps: 512 that double the interval reach the posterior of
# any row whose log p(x) float64 holds, and 43 halve a panel to the narrowest one.
FIRST_PANELS, MAX_SWEEPS = 40, 600
# Sweeps after which a row is left whose error does not fall by a tenth: what remains is rounding.
PATIENCE, FALL = 6, 0.9
# Narrowest panel, and rounding of log p(x), relative to their size.
NARROWEST, ROUNDING = 1e-13, 1e-15
LOWEST = -1e300
ROWS_AT_ONCE = 4096


def _lacking() -> np.ndarray:
    """Return 1 - v / w for the weights w of the rule and v of the embedded one, shape (15,)."""
    moments = np.zeros(len(EMBEDDED))
    moments[0] = 2.0
    embedded = np.zeros(len(NODES))
    embedded[EMBEDDED] = np.linalg.solve(
        legendre.legvander(NODES[EMBEDDED], len(EMBEDDED) - 1).T, moments
    )
    return 1 - embedded / WEIGHTS


LACKING = _lacking()


class _Panels(NamedTuple):
    """Panels of several rows, m in all, with the integrals of D densities of z over them.

    The densities are p(x, z) and, if q has one, q(z | x).

    Attributes
    ----------
    row : ndarray of int, shape (m,)
    low, high : ndarray of shape (m,)
    end : ndarray of int, shape (m,)
        -1 for the lowest panel of a row, 1 for the highest, else 0.
    log_mass, log_error : ndarray of shape (D, m)
        Logarithms of the integral and of the disagreement of the two rules about it.
    log_peak : ndarray of shape (D, m)
        Logarithm of what may be missed between nodes, -inf if they are close enough.
    moment : ndarray of shape (m,)
        Integral of q(z | x) (log p(x, z) - log q(z | x)).
    """

    row: np.ndarray
    low: np.ndarray
    high: np.ndarray
    end: np.ndarray
    log_mass: np.ndarray
    log_error: np.ndarray
    log_peak: np.ndarray
    moment: np.ndarray

    @classmethod
    def of(
        cls,
        row: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        end: np.ndarray,
        logs: np.ndarray,
        steep: np.ndarray,
    ) -> _Panels:
        """Integrate densities whose logarithms at the nodes are `logs`, (D, 15, m).

        Differences of neighbours up to `steep`, (m,), hide no peak.
        """
        half = 0.5 * (high - low)
        # Between nodes a density exceeds its values there by less than the largest difference of
        # neighbours, if its logarithm is no more curved than a parabola.
        top, rise = logs.max(1), np.abs(np.diff(logs, axis=1)).max(1)
        log_peak = np.where(rise > steep, top + rise + np.log(2 * half), -np.inf)
        parts = np.exp(logs - top[:, None]) * WEIGHTS[:, None]
        with np.errstate(divide="ignore"):
            log_error = np.log(np.abs(np.einsum("k,dkm->dm", LACKING, parts)))
        scale = top + np.log(half)
        moment = np.zeros(len(row))
        if len(logs) > 1:
            ratio = np.where(parts[1] > 0, logs[0] - logs[1], 0.0)
            moment = np.exp(scale[1]) * (parts[1] * ratio).sum(0)
        log_mass = scale + np.log(parts.sum(1))
        return cls(row, low, high, end, log_mass, scale + log_error, log_peak, moment)

    def take(self, chosen: np.ndarray) -> _Panels:
        """Return some of the panels."""
        return _Panels(*(part[..., chosen] for part in self))

    def joined(self, other: _Panels) -> _Panels:
        """Return these panels and others."""
        return _Panels(*(np.concatenate(pair, axis=-1) for pair in zip(self, other, strict=True)))

    def log_integrals(self, n_rows: int) -> np.ndarray:
        """Return the logarithms of the integrals over all panels of a row, shape (D, n_rows)."""
        result = np.full((len(self.log_mass), n_rows), -np.inf)
        for total, mass in zip(result, self.log_mass, strict=True):
            np.maximum.at(total, self.row, mass)
            total += np.log(np.bincount(self.row, np.exp(mass - total[self.row]), n_rows))
        return result


@dataclass(frozen=True)
class LatentQuadrature:
    """Integrals over one latent for the rows of a table.

    Attributes
    ----------
    model : AutoEncoder
        Both networks, in evaluation mode, with one continuous latent.
    columns : Columns
        Units of the data.
    """

    model: AutoEncoder
    columns: Columns

    @staticmethod
    def serves(model: AutoEncoder) -> bool:
        """Return whether a model has one latent, and it is continuous."""
        return model.n_latents == 1 and not model.family.is_discrete

    def log_prob(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log p(x) and its estimated error, in the units of the data.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN).

        Returns
        -------
        log_prob, std : ndarray of shape (n_samples,)
            In nats, float64.
        """
        log_prob, error = self._integrate(X)[:2]
        empty = np.isnan(X).all(axis=1)  # without a cell p(x) is 1, and the rule has only rounding
        log_prob[empty], error[empty] = 0.0, 0.0
        return log_prob + self.columns.log_jacobian(X), error

    def elbo_terms(self, X: np.ndarray) -> ElboTerms:
        """Return the terms of the bound, in the units of the data, float64.

        The bound is a mean over the nodes of `log_prob`, and so never exceeds it.
        """
        bound, kl, entropy = self._integrate(X)[2:]
        bound = bound + self.columns.log_jacobian(X)
        return ElboTerms(bound + kl, kl, bound - entropy, entropy)

    @torch.inference_mode()
    def _integrate(self, X: np.ndarray) -> np.ndarray:
        """Return log p(x), its error, the bound, KL and entropy, (5, n_samples).

        In the units of the network; the last three are NaN if q has no density.
        """
        model = in_float64(self.model)
        found = np.full((5, len(X)), np.nan)
        for start in range(0, len(X), ROWS_AT_ONCE):
            place = slice(start, start + ROWS_AT_ONCE)
            rows = _Rows.of(model, X[place], self.columns)
            log_prob, error, bound = _refined(rows)
            constant = rows.design.constant.cpu().numpy()
            found[0, place] = log_prob + constant
            found[1, place] = error + ROUNDING * (1 + np.abs(log_prob) + np.abs(constant))
            if model.family.has_density:
                q = model.family.q(rows.code)
                found[2, place] = bound + constant
                found[3, place] = q.kl().double().clamp_min(0.0).cpu().numpy()
                found[4, place] = q.entropy().double().cpu().numpy()
        return found


class _Rows(NamedTuple):
    """Some rows of a table, and what is known of their p(x, z) and q(z | x)."""

    model: AutoEncoder
    design: RowDesign
    code: Tensor
    n: int

    @classmethod
    def of(cls, model: AutoEncoder, X: np.ndarray, columns: Columns) -> _Rows:
        batch = as_batch(X, columns, model.likelihood.offset)
        code = model.code(batch.targets, batch.mask)
        return cls(model, RowDesign.of(model.likelihood, batch), code, len(X))

    def first_panels(self) -> _Panels:
        """Return equal panels over most of the prior for each row."""
        edges = np.linspace(*self.model.family.prior_interval(), FIRST_PANELS + 1)
        end = np.zeros(FIRST_PANELS, dtype=int)
        end[0], end[-1] = -1, 1
        row = np.repeat(np.arange(self.n), FIRST_PANELS)
        return self.evaluate(row, *(np.tile(a, self.n) for a in (edges[:-1], edges[1:], end)))

    def evaluate(
        self, row: np.ndarray, low: np.ndarray, high: np.ndarray, end: np.ndarray
    ) -> _Panels:
        """Return panels with the densities at their nodes."""
        family, like = self.model.family, self.code
        _, first, panel = np.unique(low + 1j * high, return_index=True, return_inverse=True)
        logs = np.empty((1 + family.has_density, len(NODES), len(row)))
        z = torch.as_tensor(_nodes(low[first], high[first]).T.ravel()).to(like)[:, None]
        outputs = self.model.decode(z)
        factors = self.design.factors(outputs)
        log_prior = family.log_prior(z[:, None]).double()
        order = np.argsort(panel, kind="stable")
        for i, members in enumerate(np.split(order, np.cumsum(np.bincount(panel))[:-1])):
            nodes = slice(i * len(NODES), (i + 1) * len(NODES))
            parts = [None if f is None else f[nodes] for f in factors]
            places = torch.as_tensor(row[members]).to(like.device)
            log_prob = self.design.log_prob(outputs[nodes], parts, places)
            logs[0][:, members] = (log_prob.T + log_prior[nodes]).cpu().numpy()
        if family.has_density:
            q = family.q(self.code[torch.as_tensor(row).to(like.device)])
            points = torch.as_tensor(_nodes(low, high)).to(like)[..., None]
            logs[1] = q.log_prob(points).cpu().numpy()
        logs = np.nan_to_num(logs, nan=LOWEST, neginf=LOWEST, posinf=LOWEST)
        rounding = ROUNDING * self.design.constant.abs().cpu().numpy()[row]
        steep = np.maximum(STEEP, STEEP_ROUNDING * rounding)
        return _Panels.of(row, low, high, end, logs, steep)

    def q_ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Return where the mass of q begins and ends in each row; nowhere if it has no density."""
        if not self.model.family.has_density:
            return np.full(self.n, np.inf), np.full(self.n, -np.inf)
        q = self.model.family.q(self.code)
        mean, width = (part[:, 0].double().cpu().numpy() for part in (q.mean, Q_WIDTH * q.std))
        return mean - width, mean + width

    def bound_at_mean(self) -> np.ndarray:
        """Return the bound of each row if q is narrower than what float64 resolves at its mean."""
        q = self.model.family.q(self.code)
        log_prob = self.design.log_prob_of_each(self.model.decode(q.mean))
        log_prior = self.model.family.log_prior(q.mean[None])[0]
        return (log_prob + log_prior + q.entropy()).double().cpu().numpy()


def _nodes(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the nodes of panels (m,), shape (15, m)."""
    return 0.5 * (low + high) + 0.5 * (high - low) * NODES[:, None]


def _refined(rows: _Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log p(x) of each row, its error and the bound, by panels that resolve them."""
    panels, (begin, finish) = rows.first_panels(), rows.q_ends()
    least, stale = np.full(rows.n, np.inf), np.zeros(rows.n, dtype=int)
    for sweep in range(MAX_SWEEPS):
        integrals = panels.log_integrals(rows.n)
        integrals[1:] = 0.0  # q is normalised
        relative = integrals[:, panels.row]
        error = np.exp(panels.log_error - relative)
        worst = np.where(error.max(0) > TOLERANCE, error.max(0), 0.0)
        coarse = np.bincount(panels.row, worst, rows.n)
        stale = np.where(coarse < FALL * least, 0, stale + 1)
        least = np.minimum(least, coarse)
        doubted = (worst > 0) & (stale < PATIENCE)[panels.row]
        hiding = (panels.log_peak - relative > LOG_NEGLIGIBLE).any(0)
        size = np.maximum(np.abs(panels.low), np.abs(panels.high))
        halved = (doubted | hiding) & (panels.high - panels.low > NARROWEST * size)
        beyond = (panels.log_mass - relative > LOG_NEGLIGIBLE).any(0)
        outside = np.where(
            panels.end > 0, panels.high < finish[panels.row], panels.low > begin[panels.row]
        )
        extended = (panels.end != 0) & (beyond | outside)
        if sweep == MAX_SWEEPS - 1 or not (halved | extended).any():
            break
        moved = panels.row[extended]  # what new panels hold may raise the error
        least[moved], stale[moved] = np.inf, 0
        more = rows.evaluate(
            *subdivided(panels.row, panels.low, panels.high, panels.end, halved, extended)
        )
        panels = panels._replace(end=np.where(extended, 0, panels.end)).take(~halved).joined(more)
    log_prob = integrals[0]
    missed = np.bincount(panels.row, error[0], rows.n)
    if len(panels.log_mass) == 1:
        return log_prob, missed, np.full(rows.n, np.nan)
    mass = panels.log_integrals(rows.n)[1]
    point = mass < LOG_LOST
    mass = np.where(point, 0.0, mass)
    bound = np.bincount(panels.row, panels.moment, rows.n) * np.exp(-mass) + mass
    if point.any():
        bound = np.where(point, np.minimum(rows.bound_at_mean(), log_prob), bound)
    return log_prob, missed, bound
