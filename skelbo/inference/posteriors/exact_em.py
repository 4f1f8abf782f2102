"""EM on log p(X; theta) itself: expectations over the exact posterior of continuous latents."""

from __future__ import annotations

import numpy as np

from skelbo.inference.posteriors.gaussian_posterior import find_mode
from skelbo.inference.posteriors.quadrature_grid import (
    MAX_SHARED_POINTS,
    GridEM,
    GridStatistics,
    QuadratureGrid,
    TooSharp,
)
from skelbo.inference.posteriors.row_quadrature import row_quadrature
from skelbo.inference.sampling.draws import Draws

# Shares of a step that are tried where the whole one is too long.
SHARES = 0.5, 0.25, 0.125


class ExactEM:
    """Steps of EM by quadrature: on one grid for all rows, or on points of each row.

    The shared grid is cheaper. From the first E-step on in which it does not resolve a row, every
    row has points of its own. Of one latent these resolve any row; of two no grid resolves answers
    that are too steep, as those of separable columns become: steps end before that.

    Parameters
    ----------
    model : Model
        Of continuous latents, one or two, the joint density of which `supports_grid`.
    X : ndarray of shape (n_rows, n_features)
        Rows, NaN where missing.
    weights : ndarray of shape (n_rows,)
        Frequency weights.
    """

    def __init__(self, model, X: np.ndarray, weights: np.ndarray):
        self.model, self.X, self.weights = model, X, weights
        self.shared: GridEM | None = GridEM(model, X, weights)
        self.mode: np.ndarray | None = None
        # Whether the last step was shortened so as not to leave what can be resolved, and whether
        # there is none that stays within it.
        self.shortened = self.ran_away = False

    def e_step(self, theta) -> tuple[float, GridStatistics | Draws]:
        """Return log p(X) per row in nats, and the expected statistics."""
        if self.shared is not None:
            try:
                return self.shared.e_step(theta)
            except TooSharp:
                self.shared = None
        joint = self.model.joint(self.X, theta)
        self.mode, precision = find_mode(joint, _best_start(joint, self.mode))
        found = row_quadrature(joint, [(self.mode, precision)])
        return float(self.weights @ found.log_prob / self.weights.sum()), found.draws

    def m_step(self, statistics: GridStatistics | Draws, theta):
        """Return better parameters: those of the whole step, or of as much as is resolved."""
        image = self._whole_step(statistics, theta)
        self.shortened = not self.resolves(image)
        if not self.shortened:
            return image
        # The expected log p(x, z) is concave: it is higher all along the step.
        for share in SHARES:
            part = {k: theta[k] + share * (image[k] - theta[k]) for k in theta}
            if self.resolves(part):
                return part
        self.ran_away = True
        return theta

    def _whole_step(self, statistics, theta):
        if isinstance(statistics, Draws):
            weights = self.weights * statistics.weights
            return self.model.maximize(theta, self.X, weights, statistics.Z)
        return self.model.maximize_at(
            theta, statistics.points, statistics.mass, statistics.totals, statistics.counts
        )

    def resolves(self, theta) -> bool:
        """Return whether grids resolve log p(X), with room for rows that are far out."""
        d = self.model.n_latents
        grid = QuadratureGrid.for_joint(self.model.joint(self.X[:1], theta))
        return d == 1 or grid.n_points() <= MAX_SHARED_POINTS[d - 1] / 2


def _best_start(joint, mode: np.ndarray | None) -> np.ndarray:
    """Return the last modes, (n, d), or a rough mean where that has the larger log p(x, z).

    Down an exponential slope of large loadings Newton's steps have constant length: from a last
    mode far off they would not arrive.
    """
    rough = joint.start()[0]
    if mode is None:
        return rough
    closer = joint.log_joint(mode[None])[0] >= joint.log_joint(rough[None])[0]
    return np.where(closer[:, None], mode, rough)
