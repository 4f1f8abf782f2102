"""Sums over complete rows for the E-step of dense and diagonal covariances on a torch device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch

from skelbo.elbo import LOG_2PI
from skelbo.gaussian.moments import Moments, Scatter
from skelbo.mixture.mixture import ExpectedStatistics, Mixture


class Sums(ABC):
    """Sums of an E-step over complete rows, on the device until `expected` is called."""

    def __init__(self, theta: Mixture, device: torch.device):
        self.device = device
        self.kind: Scatter = theta.components.covariance.structure.scatter
        self.log_weights = self._tensor(theta.log_weights)[:, None]
        self.bound = torch.zeros((), dtype=torch.float64, device=device)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, dtype=torch.float64, device=self.device)

    def _normalize(self, log_joint: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Add the weighted log p(x) to the bound; return weights times responsibilities."""
        top = log_joint.amax(dim=0)
        lost = torch.isneginf(top)  # every density underflows
        log_joint = torch.where(lost, self.log_weights, log_joint)
        log_prob = torch.logsumexp(log_joint, dim=0)
        resp = torch.exp(log_joint - log_prob) * weights
        self.bound += (weights * torch.where(lost, top, log_prob)).sum()
        return resp

    @abstractmethod
    def include(self, values: torch.Tensor, weights: torch.Tensor) -> None:
        """Add rows, columns first (p, n), with their weights (n,)."""

    @abstractmethod
    def expected(self, theta: Mixture) -> ExpectedStatistics:
        """Return bound and moments, on the host."""


class NaturalSums(Sums):
    """Sums of t(x) in exponential-family form: one matrix product each for E and M."""

    def __init__(self, theta: Mixture, device: torch.device):
        super().__init__(theta, device)
        natural: Any = theta.natural
        # A constant of -inf is no factor of a product; see `NaturalParameters.log_joint`.
        self.absent = torch.tensor(natural.absent, device=device)[:, None]
        self.eta = self._tensor(natural.eta).masked_fill(self.absent, 0.0)
        self.common = None if natural.common is None else self._tensor(natural.common)
        self.sums = torch.zeros_like(self.eta)
        self.second = None if self.common is None else torch.zeros_like(self.common)

    def include(self, values: torch.Tensor, weights: torch.Tensor) -> None:
        """Add rows."""
        statistics = self._statistics(values)
        log_joint = (self.eta @ statistics).masked_fill(self.absent, -torch.inf)
        resp = self._normalize(log_joint, weights)
        self.sums += resp @ statistics.T
        if self.common is not None and self.second is not None:
            weighted = values * weights
            dense = self.kind.dense
            second = weighted @ values.T if dense else (weighted * values).sum(dim=1)
            self.second += second
            self.bound -= 0.5 * (self.common * second).sum()

    def _statistics(self, x: torch.Tensor) -> torch.Tensor:
        """Return t(x) in the order of `Scatter.statistics`."""
        parts = [torch.ones_like(x[:1]), x]
        if self.kind == Scatter.DIAGONAL:
            parts.append(x * x)
        elif self.kind == Scatter.FULL:
            rows, columns = torch.triu_indices(len(x), len(x), device=self.device)
            parts.append(x[rows] * x[columns])
        return torch.cat(parts)

    def expected(self, theta: Mixture) -> ExpectedStatistics:
        """Return bound and moments."""
        common = None if self.second is None else self.second.cpu().numpy()
        return ExpectedStatistics(
            float(self.bound), Moments.of_sums(self.kind, self.sums.cpu().numpy(), common)
        )


class ExactSums(Sums):
    """Sums about the means, one component at a time, where expanded squares lose digits."""

    def __init__(self, theta: Mixture, device: torch.device):
        super().__init__(theta, device)
        covariance: Any = theta.components.covariance
        self.means = theta.components.means
        self.centres = self._tensor(self.means)
        K, p = self.means.shape
        factors = self._tensor(covariance.precision_cholesky)
        self.precision_cholesky = factors.expand(K, *([p, p] if self.kind.dense else [p]))
        diagonals = (
            self.precision_cholesky.diagonal(dim1=1, dim2=2)
            if self.kind.dense
            else self.precision_cholesky
        )
        self.constants = diagonals.log().sum(dim=1) - 0.5 * p * LOG_2PI
        self.weight = torch.zeros(K, dtype=torch.float64, device=device)
        self.first = torch.zeros_like(self.centres)
        shape = (p, p) if self.kind.dense else (p,)
        shape = shape if self.kind.shared else (K, *shape)
        self.second = torch.zeros(shape, dtype=torch.float64, device=device)

    def include(self, values: torch.Tensor, weights: torch.Tensor) -> None:
        """Add rows."""
        log_prob = torch.stack([self._log_prob(k, values) for k in range(len(self.means))])
        resp = self._normalize(log_prob + self.log_weights, weights)
        self.weight += resp.sum(dim=1)
        for k, share in enumerate(resp):
            steps = values - self.centres[k][:, None]
            weighted = steps * share
            self.first[k] += weighted.sum(dim=1)
            second = weighted @ steps.T if self.kind.dense else (weighted * steps).sum(dim=1)
            target = self.second if self.kind.shared else self.second[k]
            target += second

    def _log_prob(self, k: int, values: torch.Tensor) -> torch.Tensor:
        steps = values - self.centres[k][:, None]
        factor = self.precision_cholesky[k]
        white = factor.T @ steps if self.kind.dense else factor[:, None] * steps
        return self.constants[k] - 0.5 * (white * white).sum(dim=0)

    def expected(self, theta: Mixture) -> ExpectedStatistics:
        """Return bound and moments."""
        weight, first, second = (t.cpu().numpy() for t in (self.weight, self.first, self.second))
        moments = Moments.about(self.kind, self.means, weight, first, second)
        return ExpectedStatistics(float(self.bound), moments)
