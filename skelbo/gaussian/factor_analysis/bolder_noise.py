r"""A bolder step than EM's for the noise variances of factor analysers.

With :math:`a = \operatorname{diag} \Sigma^{-1}` and :math:`b = \operatorname{diag}(\Sigma^{-1} S\,
\Sigma^{-1})`, S the scatter of a component over its weight, a noise variance is at rest where
:math:`a_j = b_j`. EM moves it by :math:`\psi_j^2 (b_j - a_j)`, next to nothing where it runs to
zero (a Heywood case). Here instead

.. math:: \psi_j \leftarrow \psi_j \frac{b_j}{a_j}

has the same points of rest and runs to zero by a factor each time. No p x p matrix is needed: b is
in the moments that EM has, as :math:`\Sigma^{-1} (x - \mu) = \Psi^{-1} (x - \mu - \Lambda \hat z)`.
The bound need not rise, so this is a candidate for acceleration, guarded like any other.
"""

from __future__ import annotations

import numpy as np

from skelbo.gaussian.factor_analysis.factor_density import Factors
from skelbo.gaussian.factor_analysis.moments import JointMoments


def bolder_noise(factors: Factors, moments: JointMoments) -> np.ndarray:
    """Return psi b / a of each column, (K, p), at the factors that gave the moments."""
    weight = np.where(moments.weight > 0, moments.weight, 1.0)[:, None]
    left, size, right = factors.axes
    # Share of a column's noise that is not explained by the factors: psi a.
    own = 1 - np.einsum("kpq,kq->kp", left**2, size**2 / (1 + size**2))
    # Variance of a column about what the expected factors explain: psi^2 b.
    uncertain = (right / (1 + size**2)[:, None, :]) @ right.swapaxes(1, 2)
    scores = moments.factor_scatter / weight[:, :, None] - uncertain
    cross = moments.cross / weight[:, :, None]
    rest = moments.scatter / weight + np.einsum(
        "kpq,kpq->kp", factors.loadings, factors.loadings @ scores - 2 * cross
    )
    return np.maximum(rest, 0.0) / np.maximum(own, np.finfo(float).eps)
