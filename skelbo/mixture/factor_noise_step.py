r"""Noise variances of factor models by a bolder step than EM's, to be guarded.

With :math:`a = \operatorname{diag} \Sigma^{-1}` and :math:`b = \operatorname{diag}(\Sigma^{-1} S\,
\Sigma^{-1})`, S the scatter of a component over its weight, a noise variance is at rest where
:math:`a_j = b_j`. EM moves it by :math:`\psi_j^2 (b_j - a_j)`, next to nothing where it runs to
zero (a Heywood case). Here instead

.. math:: \psi_j \leftarrow \psi_j \frac{b_j}{a_j}

has the same points of rest and runs to zero by a factor each time. No p x p matrix is needed: b is
in the moments that EM has, as :math:`\Sigma^{-1} (x - \mu) = \Psi^{-1} (x - \mu - \Lambda \hat z)`.
Nothing says that the bound must rise, so this is a candidate, as any accelerated step is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from skelbo.em.anderson import Anderson
from skelbo.gaussian.factor_analysis.covariance import Factor
from skelbo.gaussian.factor_analysis.moments import JointMoments
from skelbo.gaussian.regularization import Floor
from skelbo.mixture.mixture import Mixture


class BoldNoise:
    """Anderson acceleration of EM with bold noise variances.

    An accelerator for `skelbo.elbo.ascend`, that has to see the moments of each M-step as well.

    Parameters
    ----------
    anderson : Anderson
    m_step : callable, (moments, theta) -> theta
        The plain M-step.
    floor : Floor
        Keeps the variances off zero.
    """

    def __init__(self, anderson: Anderson, m_step: Callable[..., Mixture], floor: Floor):
        self.anderson, self.plain, self.floor = anderson, m_step, floor
        self.propose, self.refuse = anderson.propose, anderson.refuse
        # How much is left is told by plain steps, so their own rate goes with them.
        self.watch = Anderson(anderson.to_vector, anderson.from_vector)
        self.rate = self.watch.rate
        self._bold: Any = None

    def m_step(self, moments: JointMoments, theta: Mixture) -> Mixture:
        """Return the plain step, and remember the bold one."""
        image = self.plain(moments, theta)
        components = image.components
        before, after = theta.components.covariance, components.covariance
        assert isinstance(before, Factor)
        assert isinstance(after, Factor)
        noise = bold_noise(before, moments)
        usable = np.isfinite(noise) & (moments.weight > 0)[:, None]
        noise, _ = self.floor.diagonal(np.where(usable, noise, after.noise), False)
        bold = replace(components, covariance=replace(after, noise=noise))
        self._bold = replace(image, components=bold)
        return image

    def learn(self, theta: Mixture, image: Mixture) -> None:
        """Take note of theta and of the bold step from it."""
        self.anderson.learn(theta, self._bold)
        self.watch.learn(theta, image)


def bold_noise(factor: Factor, moments: JointMoments) -> np.ndarray:
    """Return psi b / a of each column, (K, p), at the factor model that gave the moments."""
    weight = np.where(moments.weight > 0, moments.weight, 1.0)[:, None]
    left, size, right = factor.axes
    # Of a column's noise the part that the factors do not take for signal: psi a.
    own = 1 - np.einsum("kpq,kq->kp", left**2, size**2 / (1 + size**2))
    # What is left of a column when the factors, as they are expected, have been taken out: psi^2 b.
    uncertain = (right / (1 + size**2)[:, None, :]) @ right.swapaxes(1, 2)
    scores = moments.factor_scatter / weight[:, :, None] - uncertain
    cross = moments.cross / weight[:, :, None]
    rest = moments.scatter / weight + np.einsum(
        "kpq,kpq->kp", factor.loadings, factor.loadings @ scores - 2 * cross
    )
    return np.maximum(rest, 0.0) / np.maximum(own, np.finfo(float).eps)
