"""Places of the parameters of a mixture in one vector, in the units of the columns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from skelbo.gaussian.components import Components
from skelbo.gaussian.covariance_tangent import (
    CovarianceTangent,
    dense_tangent,
    diagonal_tangent,
    factor_tangent,
    isotropic_tangent,
)
from skelbo.gaussian.factor_analysis.covariance import FactorCovariance
from skelbo.likelihoods.component_likelihood import EDGE
from skelbo.mixture.mixture import Mixture

# A variance below this share of its column's is at the floor of ``reg_covar="auto"``, 1e-10.
AT_FLOOR = 1.5e-10


@dataclass(frozen=True)
class ParameterLayout:
    """Places of weights, means, covariances and parameters of other columns in a vector.

    Attributes
    ----------
    theta : Mixture
        About the origin of the rows.
    gaussian_columns, other_columns : ndarray of int
        Positions of the Gaussian columns in the table, and of the others.
    deviations : ndarray of shape (p,) or None
        Standard deviations of the Gaussian columns in the data, in units of which variances have
        their floor; None if no floor is looked for.
    """

    theta: Mixture
    gaussian_columns: np.ndarray
    other_columns: np.ndarray
    deviations: np.ndarray | None = None

    @classmethod
    def of_mixture(cls, theta: Mixture, deviations: np.ndarray | None = None) -> ParameterLayout:
        """Return the layout of a Gaussian mixture or one of mixed columns.

        `deviations` (n_features,) are those of the columns of the data.
        """
        components = theta.components
        if isinstance(components, Components):
            gaussian, other = np.arange(components.means.shape[1]), np.arange(0)
        else:
            gaussian, other = components.layout.gaussian_columns, components.layout.other_columns
        return cls(theta, gaussian, other, None if deviations is None else deviations[gaussian])

    @property
    def n_components(self) -> int:
        """K."""
        return len(self.theta.weights)

    @property
    def gaussian(self) -> Components | None:
        """The Gaussians of the Gaussian columns."""
        components: Any = self.theta.components
        return components if isinstance(components, Components) else components.gaussian

    @property
    def groups(self) -> list[tuple[Any, np.ndarray, np.ndarray]]:
        """Likelihood, columns of the table and parameters (n, K, c) of each other group."""
        components: Any = self.theta.components
        if isinstance(components, Components) or components.layout.table is None:
            return []
        pairs = zip(components.layout.table.groups, components.parameters, strict=True)
        return [(kind, self.other_columns[j], np.asarray(values)) for (kind, j), values in pairs]

    @cached_property
    def column_units(self) -> np.ndarray:
        """Scale of each Gaussian column under the mixture: equal ones if isotropic, (p,)."""
        if self.gaussian is None:
            return np.ones(0)
        means, K, p = self.gaussian.means, *self.gaussian.means.shape
        within = np.einsum("kpp->kp", self.gaussian.covariance.dense(K, p))
        away = means - self.theta.weights @ means
        variances = self.theta.weights @ (within + away**2)
        if self.gaussian.covariance.structure.isotropic:
            variances = np.full(p, variances.mean())
        return np.sqrt(variances)

    @cached_property
    def scaled_means(self) -> np.ndarray:
        """Means of the Gaussian columns in their units, (K, p)."""
        assert self.gaussian is not None
        return self.gaussian.means / self.column_units

    @cached_property
    def scaled_covariances(self) -> np.ndarray:
        """Covariances of the Gaussian columns in their units, (K, p, p)."""
        assert self.gaussian is not None
        dense = self.gaussian.covariance.dense(*self.gaussian.means.shape)
        return dense / self.column_units[:, None] / self.column_units

    def scaled_loadings(self, k: int) -> np.ndarray:
        """Return the loadings of a component in the units of the columns, (p, q)."""
        assert self.gaussian is not None
        covariance: Any = self.gaussian.covariance
        return covariance.loadings[k] / self.column_units[:, None]

    @cached_property
    def tangents(self) -> list[CovarianceTangent]:
        """Derivatives of each component's covariance in its parameters."""
        if self.gaussian is None:
            return []
        (K, p), covariance = self.gaussian.means.shape, self.gaussian.covariance
        if isinstance(covariance, FactorCovariance):
            return [factor_tangent(self.scaled_loadings(k)) for k in range(K)]
        if covariance.structure.scatter.dense:
            tangent = dense_tangent(p)
        elif covariance.structure.isotropic:
            tangent = isotropic_tangent(p)
        else:
            tangent = diagonal_tangent(p)
        return [tangent] * K

    @property
    def has_all_tangents(self) -> bool:
        """True if the tangents are those of the free parameters of the covariance structure."""
        if self.gaussian is None or isinstance(self.gaussian.covariance, FactorCovariance):
            return True
        free = self.gaussian.covariance.structure.n_parameters(1, len(self.gaussian_columns))
        return self.n_covariance_parameters == free

    @property
    def n_covariance_parameters(self) -> int:
        """J, the number of parameters of a covariance; their tangents are not formed for it."""
        if self.gaussian is None:
            return 0
        p, covariance = len(self.gaussian_columns), self.gaussian.covariance
        if isinstance(covariance, FactorCovariance):
            return p * (covariance.loadings.shape[2] + 1)
        if covariance.structure.scatter.dense:
            return p * (p + 1) // 2
        return 1 if covariance.structure.isotropic else p

    @property
    def shares_covariance(self) -> bool:
        """True if all components have one covariance."""
        return self.gaussian is not None and self.gaussian.covariance.structure.shared

    @cached_property
    def weight_places(self) -> np.ndarray:
        """Places of the weights, (K,); none for one component."""
        return np.arange(self.n_components if self.n_components > 1 else 0)

    @cached_property
    def mean_places(self) -> np.ndarray:
        """Places of the means, (K, p)."""
        first, p = len(self.weight_places), len(self.gaussian_columns)
        return first + np.arange(self.n_components * p).reshape(self.n_components, p)

    @cached_property
    def covariance_places(self) -> np.ndarray:
        """Places of the parameters of the covariances, (K, J); equal ones if shared."""
        K, first = self.n_components, len(self.weight_places) + self.mean_places.size
        J = self.n_covariance_parameters
        if self.shares_covariance:
            return np.tile(first + np.arange(J), (K, 1))
        return first + np.arange(K * J).reshape(K, J)

    @cached_property
    def group_places(self) -> list[np.ndarray]:
        """Places of the parameters of each other group, in the shape of these, (n, K, c)."""
        first = len(self.weight_places) + self.mean_places.size
        first += len(np.unique(self.covariance_places))
        places = []
        for _, _, values in self.groups:
            places.append(first + np.arange(values.size).reshape(values.shape))
            first += values.size
        return places

    @cached_property
    def size(self) -> int:
        """Length of the vector."""
        n_covariances = 1 if self.shares_covariance else self.n_components
        size = len(self.weight_places) + self.mean_places.size
        size += n_covariances * self.n_covariance_parameters
        return size + sum(values.size for _, _, values in self.groups)

    def component_places(self, k: int) -> np.ndarray:
        """Return the places of all that component k depends on: its weight, mean and so on."""
        parts = [self.weight_places[k : k + 1], self.mean_places[k], self.covariance_places[k]]
        parts += [places[:, k].ravel() for places in self.group_places]
        return np.concatenate(parts)

    @cached_property
    def units(self) -> np.ndarray:
        """Unit of each parameter, (size,)."""
        units = np.ones(self.size)
        units[self.mean_places] = self.column_units
        for k, tangent in enumerate(self.tangents):
            units[self.covariance_places[k]] = np.prod(self.column_units**tangent.units, axis=1)
        return units

    @cached_property
    def constraints(self) -> np.ndarray:
        """Gradients of equations that the parameters fulfil, and rotations, (C, size)."""
        rows = []
        if len(self.weight_places):
            rows.append(self._ones_at(self.weight_places))
        for (kind, _, values), places in zip(self.groups, self.group_places, strict=True):
            if kind.domain == "simplex":
                used = values.max(axis=1) > 0  # codes that a column does not have stay at zero
                for k in range(values.shape[1]):
                    rows += [self._ones_at(places[used[:, j], k, j]) for j in range(used.shape[1])]
        for k, tangent in enumerate(self.tangents):
            if tangent.n_factors > 1:
                turns = tangent.rotations(self.scaled_loadings(k))
                for turn in turns:
                    row = np.zeros(self.size)
                    row[self.covariance_places[k]] = turn
                    rows.append(row)
        return np.array(rows).reshape(len(rows), self.size)

    @cached_property
    def flat(self) -> np.ndarray:
        """Orthonormal directions, besides rotations, that leave all covariances, (F, size)."""
        rows = []
        for k, tangent in enumerate(self.tangents):
            if not tangent.n_factors:
                continue
            turns, null = tangent.rotations(self.scaled_loadings(k)), tangent.null_space()
            if len(turns):
                null = null - null @ np.linalg.pinv(turns) @ turns
            _, length, right = np.linalg.svd(null)
            for direction in right[: int((length > 1e-6).sum())]:
                row = np.zeros(self.size)
                row[self.covariance_places[k]] = direction
                rows.append(row)
        return np.array(rows).reshape(len(rows), self.size)

    def _ones_at(self, places: np.ndarray) -> np.ndarray:
        row = np.zeros(self.size)
        row[places] = 1.0
        return row

    @cached_property
    def held(self) -> np.ndarray:
        """Mask of the parameters at the edge of their domain, (size,)."""
        held = np.zeros(self.size, dtype=bool)
        held[self.weight_places] = (self.theta.weights < EDGE * EDGE)[: len(self.weight_places)]
        for (kind, _, values), places in zip(self.groups, self.group_places, strict=True):
            held[places] = kind.at_edge(values, self.theta.weights)
        for k, tangent in enumerate(self.tangents):
            held[self.covariance_places[k]] = self._floored(k, tangent)
        return held

    def _floored(self, k: int, tangent: CovarianceTangent) -> np.ndarray:
        """Return which parameters of a covariance are at the floor, (J,)."""
        p, J = len(self.column_units), tangent.n_parameters
        if self.deviations is None:
            return np.zeros(J, dtype=bool)
        assert self.gaussian is not None
        covariance: Any = self.gaussian.covariance
        scale = self.deviations
        if covariance.structure.isotropic:
            scale = np.full(p, np.sqrt(np.mean(scale**2)))
        if isinstance(covariance, FactorCovariance):
            noise = covariance.noise[k] / scale**2
            return np.concatenate([np.zeros(J - p, dtype=bool), noise < AT_FLOOR])
        matrix = covariance.dense(self.n_components, p)[k] / scale / scale[:, None]
        if covariance.structure.scatter.dense:
            return np.full(J, np.linalg.eigvalsh(matrix)[0] < AT_FLOOR)
        return np.diagonal(matrix)[:J] < AT_FLOOR
