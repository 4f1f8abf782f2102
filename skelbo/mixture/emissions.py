r"""Distribution of a row of mixed columns in each component of a mixture, or state of a chain.

.. math:: p(x \mid k) = N(x_G; \mu_k, \Sigma_k) \prod_{j \notin G} p_j(x_j \mid k)

G are the Gaussian columns. A mixture and a hidden Markov model differ only in how they make the
responsibilities that `Emissions.statistics` takes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from skelbo.data.rows import Block, Rows
from skelbo.gaussian.components import Components, WeightedGaussians
from skelbo.gaussian.moments import Moments
from skelbo.gaussian.regularization import Regularization
from skelbo.mixture.emission_density import EmissionStatistics, WeightedTable
from skelbo.mixture.emission_layout import EmissionLayout

# A block, or expected statistics, of a table all of whose columns are Gaussian are those of
# Gaussians alone; else `EmissionStatistics`.
Statistics = Moments | EmissionStatistics


@dataclass(frozen=True)
class Emissions:
    """Parameters of K components, about the origin of the rows; immutable.

    One block of Gaussian columns alone is computed by the very operations of a Gaussian mixture.

    Attributes
    ----------
    layout : EmissionLayout
        Which likelihood each column has. It is shared by all parameters of a fit: blocks keep
        statistics of their rows under its identity.
    gaussian : Components or None
        The Gaussians of the Gaussian columns.
    parameters : tuple of ndarray of shape (n_parameters, n_components, n_columns)
        Parameters of the other columns, by group of ``layout.table``.
    """

    layout: EmissionLayout
    gaussian: Components | None
    parameters: tuple[np.ndarray, ...] = ()

    # ------------------------------------------------- blocks, as EM uses them

    @property
    def n_components(self) -> int:
        """Number of components."""
        if self.gaussian is not None:
            return len(self.gaussian.means)
        return self.parameters[0].shape[1]

    @cached_property
    def natural(self) -> np.ndarray:
        """Natural parameters of the columns that are not Gaussian, (K, n_statistics)."""
        assert self.layout.table is not None
        return self.layout.table.natural(self.parameters)

    def weighted(self, log_weights: np.ndarray | float = 0.0) -> WeightedGaussians | WeightedTable:
        """Return the components with logarithms of their probabilities, (n_components,) or 0.

        Its ``density(block)`` has ``log_joint()``, which may be -inf for a component that no sum
        over the components would show, ``whole_log_joint()``, which is never so (a chain needs
        it), ``log_base()`` and ``total_log_base()``, which they leave out, and
        ``moments(resp)``, the expected statistics under responsibilities (K, n_rows).
        """
        log_weights = np.broadcast_to(log_weights, self.n_components)
        gaussian = None if self.gaussian is None else self.gaussian.weighted(log_weights)
        if gaussian is not None and self.layout.table is None:
            return gaussian
        return WeightedTable(self.layout, self.natural, log_weights, gaussian)

    def updated(self, statistics: Statistics, regularization: Regularization) -> Emissions:
        """Return the parameters of greatest weighted likelihood: the M-step, in closed form.

        Maxima on the boundary (a probability of 0 or 1, a rate of 0) are answers. A component
        without weight stays as it is.

        Parameters
        ----------
        statistics : Moments or EmissionStatistics
            Summed over the rows.
        regularization : Regularization
            Of the Gaussian columns: ``layout.regularization(...)``.
        """
        moments = statistics.moments if isinstance(statistics, EmissionStatistics) else statistics
        gaussian = self.gaussian
        if gaussian is not None and moments is not None:
            gaussian = gaussian.updated(moments, regularization)
        if self.layout.table is None or not isinstance(statistics, EmissionStatistics):
            return replace(self, gaussian=gaussian)
        fitted = self.layout.table.maxima(statistics.sums)
        if statistics.weight.min() <= 0:
            kept = (statistics.weight <= 0)[:, None]
            pairs = zip(self.parameters, fitted, strict=True)
            fitted = tuple(np.where(kept, old, new) for old, new in pairs)
        return Emissions(self.layout, gaussian, fitted)

    def check(self, X: np.ndarray) -> None:
        """Raise an error that names a column with a cell without a density; see `layout.check`."""
        self.layout.check(X)

    @property
    def floored(self) -> np.ndarray:
        """Mask of the covariances that had to be altered, (n_components or 1,)."""
        return np.zeros(1, dtype=bool) if self.gaussian is None else self.gaussian.floored

    @property
    def is_regular(self) -> bool:
        """True if no covariance had to be altered to become regular."""
        return self.gaussian is None or self.gaussian.is_regular

    def about(self, origin: np.ndarray) -> Emissions:
        """Return the same about `origin`, given about the present one; see `centre`."""
        if self.gaussian is None:
            return self
        return replace(self, gaussian=self.gaussian.about(origin[self.layout.gaussian_columns]))

    def centre(self, weights: np.ndarray) -> np.ndarray:
        """Return the mean of Gaussian columns under these weights, 0 in others, (n_features,)."""
        centre = np.zeros(self.layout.n_features)
        if self.gaussian is not None:
            centre[self.layout.gaussian_columns] = self.gaussian.centre(weights)
        return centre

    def take(self, which: np.ndarray) -> Emissions:
        """Return some of the components, by number, in this order: a permutation, say."""
        gaussian = None if self.gaussian is None else self.gaussian.take(which)
        parameters = tuple(values[:, which] for values in self.parameters)
        return Emissions(self.layout, gaussian, parameters)

    @property
    def cells(self) -> tuple[int, int | None]:
        """Sizes of the temporaries of a row in an E-step: complete, and incomplete."""
        return self.layout.cells(self.n_components)

    def to_vector(self, units: np.ndarray) -> np.ndarray:
        """Return coordinates, finite on the boundary, Gaussian columns being in `units`.

        Parameters
        ----------
        units : ndarray of shape (n_features,)
            Scale of each column, positive.
        """
        parts = []
        if self.gaussian is not None:
            parts.append(self.gaussian.to_vector(units[self.layout.gaussian_columns]))
        if self.layout.table is not None:
            parts.append(self.layout.table.to_vector(self.parameters))
        return np.concatenate(parts)

    def from_vector(self, vector: np.ndarray, units: np.ndarray) -> Emissions | None:
        """Return the emissions with these coordinates, put into the domain; None if none are."""
        gaussian, parameters = None, self.parameters
        if self.layout.table is not None:
            size = sum(values.size for values in parameters)
            vector, rest = np.split(vector, [len(vector) - size])
            found = self.layout.table.from_vector(rest, parameters)
            if found is None:
                return None
            parameters = found
        if self.gaussian is not None:
            gaussian = self.gaussian.from_vector(vector, units[self.layout.gaussian_columns])
            if gaussian is None:
                return None
        return Emissions(self.layout, gaussian, parameters)

    def aligned(self, statistics: Statistics) -> Statistics:
        """Return the statistics that these were estimated from; see `Covariance.aligned`."""
        if self.gaussian is None:
            return statistics
        if isinstance(statistics, Moments):
            return self.gaussian.aligned(statistics)
        assert statistics.moments is not None
        return replace(statistics, moments=self.gaussian.aligned(statistics.moments))

    def expected_cells(self, block: Block, resp: np.ndarray) -> np.ndarray:
        """Return E[x | observed cells] of a block, the most probable code in columns of codes.

        Parameters
        ----------
        block : Block
        resp : ndarray of shape (n_components, n_rows)

        Returns
        -------
        ndarray of shape (n_rows, n_features)
            About the origin.
        """
        layout, result = self.layout, self.average(resp.T)
        if self.gaussian is not None:
            part = self.gaussian.expected_cells(layout.gaussian_block(block), resp)
            result[:, layout.gaussian_columns] = part
        observed = True if block.observed is None else block.observed.T
        return np.where(observed, block.values.T, result)

    def draw_cells(
        self, X: np.ndarray, labels: np.ndarray, rng: np.random.RandomState
    ) -> np.ndarray:
        """Draw missing cells given the observed ones, from the component that each label names.

        Rows, (n_rows, n_features), are about the origin; observed cells stay as they are.
        """
        result, layout = X.copy(), self.layout
        if self.gaussian is not None:
            columns = layout.gaussian_columns
            result[:, columns] = self.gaussian.draw_cells(X[:, columns], labels, rng)
        if layout.table is not None:
            columns = layout.other_columns
            draws = layout.table.draw(self.parameters, labels, rng)
            result[:, columns] = np.where(np.isnan(X[:, columns]), draws, X[:, columns])
        return result

    def sample(self, labels: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
        """Draw a row from the component that each label names, (n_rows, n_features)."""
        X = np.empty((len(labels), self.layout.n_features))
        if self.gaussian is not None:
            X[:, self.layout.gaussian_columns] = self.gaussian.sample(labels, rng)
        if self.layout.table is not None:
            X[:, self.layout.other_columns] = self.layout.table.draw(self.parameters, labels, rng)
        return X

    # ------------------------------------------------------------- whole tables

    def rows(self, X: np.ndarray) -> Rows:
        """Return a table about the origin, in blocks."""
        return Rows(X, None, None, *self.cells)

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Return log p(x | k) of the observed cells of each row about the origin.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            In nats; -inf where a component excludes the row.
        """
        weighted = self.weighted()

        def log_prob(block: Block) -> np.ndarray:
            density = weighted.density(block)
            return (density.whole_log_joint() + density.log_base()).T

        return self.rows(X).each(log_prob, self.n_components)

    def statistics(self, X: np.ndarray, resp: np.ndarray) -> Any:
        """Return the expected statistics of rows about the origin: additive, and `scaled`.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
        resp : ndarray of shape (n_samples, n_components)
            Responsibilities times frequency weights.
        """
        weighted = self.weighted()
        return self.rows(X).total(
            lambda block: weighted.density(block).moments(resp[block.index].T)
        )

    # ------------------------------------------------------------------ public

    @property
    def n_parameters(self) -> int:
        """Number of free parameters."""
        n, K = 0, self.n_components
        if self.layout.structure is not None:
            p = len(self.layout.gaussian_columns)
            n += K * p + self.layout.structure.n_parameters(K, p)
        if self.layout.table is not None:
            n += self.layout.table.n_parameters(self.parameters)
        return n

    def average(self, resp: np.ndarray) -> np.ndarray:
        """Return E[x] about the origin under responsibilities; of codes, the most probable one.

        Parameters
        ----------
        resp : ndarray of shape (n_samples, n_components)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        result = np.empty((len(resp), self.layout.n_features))
        if self.gaussian is not None:
            result[:, self.layout.gaussian_columns] = resp @ self.gaussian.means
        if self.layout.table is not None:
            others = self.layout.table.expected_cells(self.parameters, resp)
            result[:, self.layout.other_columns] = others
        return result

    def mean(self) -> np.ndarray:
        """Return E[x | k] about the origin, (n_components, n_features); NaN in columns of codes."""
        means = np.empty((self.n_components, self.layout.n_features))
        if self.gaussian is not None:
            means[:, self.layout.gaussian_columns] = self.gaussian.means
        if self.layout.table is not None:
            means[:, self.layout.other_columns] = self.layout.table.mean(self.parameters)
        return means

    def levels(self) -> np.ndarray:
        """Return the mean of each column, in columns of codes the probability of the highest.

        Returns
        -------
        ndarray of shape (n_components, n_features)
            About the origin.
        """
        levels, table = self.mean(), self.layout.table
        if table is not None:
            for (_, columns), values in zip(table.groups, self.parameters, strict=True):
                j = self.layout.other_columns[columns]
                levels[:, j] = np.where(np.isnan(levels[:, j]), values[-1], levels[:, j])
        return levels
