r"""A bolder step than EM's for the noise variances of factor models.

With :math:`a = \operatorname{diag} \Sigma^{-1}` and :math:`b = \operatorname{diag}(\Sigma^{-1} S\,
\Sigma^{-1})`, S the scatter of a component over its weight, a noise variance is stationary where
:math:`a_j = b_j`. EM moves it by :math:`\psi_j^2 (b_j - a_j)`, which vanishes where it tends to
zero (a Heywood case). The step here,

.. math:: \psi_j \leftarrow \psi_j \frac{b_j}{a_j}

has the same fixed points and tends to zero geometrically. No p x p matrix is needed: b follows from
the moments of the E-step, as :math:`\Sigma^{-1} (x - \mu) = \Psi^{-1} (x - \mu - \Lambda \hat z)`.
The bound need not rise, so this is a candidate for acceleration, guarded like any other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from skelbo.gaussian.factor_analysis.covariance import Factor
from skelbo.gaussian.factor_analysis.moments import JointMoments
from skelbo.gaussian.regularization import Floor
from skelbo.mixture.mixture import Mixture


def bolder_step(floor: Floor, theta: Mixture, image: Mixture, moments: Any) -> Mixture:
    """Return the image of theta under the M-step, its noise variances by the bolder step.

    Parameters
    ----------
    floor : Floor
        Keeps the variances off zero.
    theta, image : Mixture
        Of factor models.
    moments : JointMoments
        Of complete rows, expected at theta.
    """
    components = image.components
    before: Any = theta.components.covariance
    after: Any = components.covariance
    noise = bolder_noise(before, moments)
    usable = np.isfinite(noise) & (moments.weight > 0)[:, None]
    noise, _ = floor.diagonal(np.where(usable, noise, after.noise), False)
    return replace(image, components=replace(components, covariance=replace(after, noise=noise)))


def bolder_noise(factor: Factor, moments: JointMoments) -> np.ndarray:
    """Return psi b / a of each column, (K, p), at the factor model that gave the moments."""
    weight = np.where(moments.weight > 0, moments.weight, 1.0)[:, None]
    left, size, right = factor.axes
    # psi a: the share of a column's noise that the factors do not explain.
    unexplained = 1 - np.einsum("kpq,kq->kp", left**2, size**2 / (1 + size**2))
    # psi^2 b: the variance of a column minus its expected factors.
    uncertain = (right / (1 + size**2)[:, None, :]) @ right.swapaxes(1, 2)
    scores = moments.factor_scatter / weight[:, :, None] - uncertain
    cross = moments.cross / weight[:, :, None]
    rest = moments.scatter / weight + np.einsum(
        "kpq,kpq->kp", factor.loadings, factor.loadings @ scores - 2 * cross
    )
    return np.maximum(rest, 0.0) / np.maximum(unexplained, np.finfo(float).eps)
