r"""Observed information of log p(X; theta) of a mixture, in closed form.

.. math::
    I = \sum_i w_i \Big\{ s_i s_i^T
        - \sum_k r_{ik} \big( \partial_\theta^2 \ell_{ik} + s_{ik} s_{ik}^T \big) \Big\},
    \quad \ell_{ik} = \log \pi_k p(x_i \mid k), \quad s_{ik} = \partial_\theta \ell_{ik},
    \quad s_i = \sum_k r_{ik} s_{ik}

Louis (1982); McLachlan and Peel (2000), *Finite Mixture Models*, section 2.15. Cells that are
missing drop out of :math:`\ell`, pattern by pattern.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from skelbo.data.blocks import iter_blocks
from skelbo.data.memmap import release_pages
from skelbo.gaussian.pattern_derivatives import PatternDerivatives
from skelbo.mixture.parameter_layout import ParameterLayout

# Cells that the outer products of the rows of a block may take.
BLOCK_CELLS = 2**21
# Cells of a table that are read at a time.
PART_CELLS = 2**22


@dataclass
class MixtureInformation:
    """Sums over rows of the derivatives of log p(x), in the units of the columns.

    Attributes
    ----------
    observed : ndarray of shape (size, size)
        Observed information.
    complete : ndarray of shape (size,)
        Diagonal of the information of rows whose labels are known.
    log_prob : float
        Weighted sum of log p(x) in nats, in the units of the data.
    """

    observed: np.ndarray
    complete: np.ndarray
    log_prob: float = 0.0

    @classmethod
    def of_rows(
        cls,
        layout: ParameterLayout,
        X: np.ndarray,
        weights: np.ndarray,
        origin: np.ndarray | float = 0.0,
    ) -> MixtureInformation:
        """Return the information of rows.

        Parameters
        ----------
        layout : ParameterLayout
            Of parameters about `origin`.
        X : ndarray of shape (n_samples, n_features)
            NaN where missing; a memory map is read part by part.
        weights : ndarray of shape (n_samples,)
        origin : ndarray of shape (n_features,), default=0.0
        """
        total = cls(np.zeros((layout.size, layout.size)), np.zeros(layout.size))
        for rows in iter_blocks(len(X), X.shape[1], PART_CELLS):
            present = weights[rows] > 0
            part = np.asarray(X[rows], dtype=np.float64)[present] - origin
            total._add_part(layout, part, weights[rows][present])
            release_pages(X, rows.start, rows.stop)
        return total

    def _add_part(self, layout: ParameterLayout, X: np.ndarray, weights: np.ndarray) -> None:
        """Add rows about the origin, pattern by pattern."""
        gaussian = X[:, layout.gaussian_columns] / layout.column_units
        others = X[:, layout.other_columns]
        patterns, pattern = np.unique(np.isnan(gaussian), axis=0, return_inverse=True)
        for number, gaps in enumerate(patterns):
            members = np.flatnonzero(pattern.ravel() == number)
            derivatives = _pattern(layout, ~gaps)
            scale = float(np.log(layout.column_units[~gaps]).sum())
            cells = 4 * layout.size
            for rows in iter_blocks(len(members), cells, BLOCK_CELLS):
                block = members[rows]
                self._add(layout, derivatives, gaussian[block], others[block], weights[block])
            self.log_prob -= scale * weights[members].sum()

    def _add(self, layout, derivatives, gaussian, others, weights) -> None:
        """Add the rows of a block, which miss the same Gaussian cells."""
        K = layout.n_components
        cells = _OtherCells(layout, others)
        with np.errstate(divide="ignore"):
            log_joint = np.log(layout.theta.weights) + cells.log_prob
        steps: list[Any] = [None] * K
        for k, pattern in enumerate(derivatives):
            steps[k], log_density = pattern.steps(gaussian)
            log_joint[:, k] += log_density
        log_prob = special.logsumexp(log_joint, axis=1)
        resp = np.exp(log_joint - log_prob[:, None])
        self.log_prob += float(weights @ log_prob)
        score = np.zeros((len(weights), layout.size))
        for k in range(K):
            places, share = layout.component_places(k), weights * resp[:, k]
            own = self._component(layout, k, derivatives, steps[k], cells, share)
            self.observed[np.ix_(places, places)] -= own.T @ (share[:, None] * own)
            score[:, places] += resp[:, k : k + 1] * own
        self.observed += score.T @ (weights[:, None] * score)

    def _component(self, layout, k, derivatives, v, cells, share) -> np.ndarray:
        """Add the second derivatives of one component; return the gradients of the rows."""
        total, parts = share.sum(), []
        if len(layout.weight_places):
            weight = max(layout.theta.weights[k], 1e-300)
            parts.append(np.full((len(share), 1), 1 / weight))
            self._add_diagonal(layout.weight_places[k : k + 1], total / weight**2)
        if derivatives:
            pattern = derivatives[k]
            parts.append(pattern.scores(v))
            places = np.concatenate([layout.mean_places[k], layout.covariance_places[k]])
            second = pattern.information(total, share @ v, (share[:, None] * v).T @ v)
            self.observed[np.ix_(places, places)] += second
            self.complete[places] += pattern.complete_information(total)
        for g, places in enumerate(layout.group_places):
            scores, second = cells.derivatives(g, k, share)
            parts.append(scores.reshape(len(share), -1))
            own = places[:, k]
            self.observed[own[:, None], own] += second
            self.complete[own] += np.einsum("mmc->mc", second)
        return np.concatenate(parts, axis=1)

    def _add_diagonal(self, places: np.ndarray, values: Any) -> None:
        self.observed[places, places] += values
        self.complete[places] += values


def _pattern(layout: ParameterLayout, observed: np.ndarray) -> list[PatternDerivatives]:
    """Return the Gaussians of all components on the observed columns."""
    if layout.gaussian is None:
        return []
    triples = zip(layout.scaled_means, layout.scaled_covariances, layout.tangents, strict=True)
    return [
        PatternDerivatives.of_pattern(mean, covariance, observed, tangent)
        for mean, covariance, tangent in triples
    ]


class _OtherCells:
    """Cells of the columns that are not Gaussian, of a block of rows.

    Parameters
    ----------
    layout : ParameterLayout
    X : ndarray of shape (n_rows, n_others)
    """

    def __init__(self, layout: ParameterLayout, X: np.ndarray):
        self.groups, self.X = layout.groups, X
        self.columns = [np.searchsorted(layout.other_columns, j) for _, j, _ in layout.groups]
        self.log_prob = np.zeros((len(X), layout.n_components))
        for (kind, _, values), columns in zip(self.groups, self.columns, strict=True):
            self.log_prob += kind.component_log_prob(X[:, columns], values)

    def derivatives(self, g: int, k: int, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the derivatives of log p(cell | k) of a group in its own parameters.

        See `ComponentLikelihood.component_derivatives`.
        """
        kind, _, values = self.groups[g]
        return kind.component_derivatives(self.X[:, self.columns[g]], values[:, k], weights)
