"""Sums over complete rows for the E-step of factor models on a torch device."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch

from skelbo.elbo import LOG_2PI
from skelbo.gaussian.factor_analysis.moments import JointMoments
from skelbo.mixture.backends.torch_sums import Sums
from skelbo.mixture.mixture import ExpectedStatistics, Mixture


class FactorSums(Sums):
    r"""Sums of x and of its scaled expected factors u.

    .. math:: u = G (x - \mu), \quad \hat z = V (1 + s^2)^{-1/2} u, \quad
        G = \frac{s}{\sqrt{1 + s^2}} Q^T \Psi^{-1/2}
    """

    def __init__(self, theta: Mixture, device: torch.device):
        super().__init__(theta, device)
        factor: Any = theta.components.covariance
        self.factor, self.means = factor, self._tensor(theta.components.means)
        K, p, q = factor.loadings.shape
        self.left, self.size, self.right = (self._tensor(axes) for axes in factor.axes)
        self.root, self.noise = self._tensor(factor.root), self._tensor(factor.noise)
        self.shrink = self.size / torch.sqrt(1 + self.size**2)
        self.projection = ((self.left * self.shrink[:, None]) / self.root[:, :, None]).mT
        self.constants = p * LOG_2PI + self.noise.log().sum(1) + torch.log1p(self.size**2).sum(1)
        zeros = partial(torch.zeros, dtype=torch.float64, device=device)
        self.weight, self.first, self.squares = zeros(K), zeros(K, p), zeros(K, p)
        self.factor_first, self.cross = zeros(K, q), zeros(K, p, q)

    def _joint(self, centres: torch.Tensor) -> JointMoments:
        """Return the moments of sums about `centres`, those of z from those of u."""
        back = self.right.mT / torch.sqrt(1 + self.size**2)[:, :, None]
        first = (self.factor_first[:, None] @ back)[:, 0]
        cross = self.cross @ back
        parts = centres, self.weight, self.first, self.squares, first, cross
        arrays = (part.cpu().numpy() for part in (*parts, torch.zeros_like(back)))
        sums = JointMoments.centred(*arrays)
        # z is a linear function of x plus its posterior uncertainty.
        expected = (back.mT @ self.projection @ self._tensor(sums.cross)).cpu()
        spread = ((self.right / (1 + self.size**2)[:, None]) @ self.right.mT).cpu()
        factors = 0.5 * (expected + expected.mT) + self.weight.cpu()[:, None, None] * spread
        return replace(sums, factor_scatter=factors.numpy())


class PlainFactorSums(FactorSums):
    """Sums about the origin, squares expanded: matrix products for all components together."""

    def include(self, values: torch.Tensor, weights: torch.Tensor) -> None:
        """Add rows."""
        K, q, p = self.projection.shape
        inverse, squares = 1 / self.noise, values**2
        distances = inverse @ squares - (2 * self.means * inverse) @ values
        distances += (self.means**2 * inverse).sum(dim=1)[:, None]
        explained = (self.projection.reshape(K * q, p) @ values).reshape(K, q, -1)
        explained -= self.projection @ self.means[:, :, None]
        distances -= (explained**2).sum(dim=1)
        log_prob = -0.5 * (distances + self.constants[:, None])
        resp = self._normalize(log_prob + self.log_weights, weights)
        weighted = (explained * resp[:, None]).reshape(K * q, -1)
        self.weight += resp.sum(dim=1)
        self.first += resp @ values.T
        self.squares += resp @ squares.T
        self.factor_first += weighted.sum(dim=1).reshape(K, q)
        self.cross += (weighted @ values.T).reshape(K, q, p).mT

    def expected(self, theta: Mixture) -> ExpectedStatistics:
        """Return bound and moments."""
        return ExpectedStatistics(float(self.bound), self._joint(torch.zeros_like(self.means)))


class CarefulFactorSums(FactorSums):
    """Sums about the means, one component at a time, where expanded squares lose digits."""

    def include(self, values: torch.Tensor, weights: torch.Tensor) -> None:
        """Add rows."""
        log_prob = torch.stack([self._log_prob(k, values) for k in range(len(self.means))])
        resp = self._normalize(log_prob + self.log_weights, weights)
        self.weight += resp.sum(dim=1)
        for k, share in enumerate(resp):
            steps = values - self.means[k][:, None]
            weighted = (self.projection[k] @ steps) * share
            self.first[k] += steps @ share
            self.squares[k] += steps**2 @ share
            self.factor_first[k] += weighted.sum(dim=1)
            self.cross[k] += steps @ weighted.T

    def _log_prob(self, k: int, values: torch.Tensor) -> torch.Tensor:
        white = (values - self.means[k][:, None]) / self.root[k][:, None]
        scores = (self.shrink[k] / torch.sqrt(1 + self.size[k] ** 2))[:, None] * (
            self.left[k].T @ white
        )
        rest = white - self.left[k] @ (self.size[k][:, None] * scores)
        distances = (rest**2).sum(dim=0) + (scores**2).sum(dim=0)
        return -0.5 * (distances + self.constants[k])

    def expected(self, theta: Mixture) -> ExpectedStatistics:
        """Return bound and moments."""
        return ExpectedStatistics(float(self.bound), self._joint(self.means))
