r"""Quasi-Newton ascent of the bound, for models without a closed-form theta step.

At the best q of theta the gradient of the bound in theta is that of :math:`E_q \log p(x, z;
\theta)` with q fixed (envelope theorem). L-BFGS on it needs tens of evaluations where EM, along
directions in which the bound is almost flat (rotations of the latents), needs hundreds of steps.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import optimize

from skelbo.em.loop import Ascent, AscentError
from skelbo.inference.distinct_rows import DistinctRows
from skelbo.inference.parameter_scale import parameter_scale
from skelbo.inference.posteriors.gaussian_posterior import GaussianPosterior, fit_gaussian
from skelbo.models.constraints import ParameterVector
from skelbo.models.interface import Model, Theta

# Relative climb of the bound, and its gradient in nats per row, at which L-BFGS ends: EM judges.
CLIMB, GRADIENT = 1e-12, 1e-7
# Relative gain at which a q is good enough, and largest number of steps from the last one.
Q_TOLERANCE, Q_STEPS = 1e-11, 20
# Pairs of steps and gradients that L-BFGS keeps.
MEMORY = 30


class BoundGradientAscent:
    """The bound of a Gaussian q as a function of scaled free coordinates of theta.

    Parameters
    ----------
    model : Model
        One with `expected_gradient`.
    data : DistinctRows
        Rows of the fit.
    diagonal : bool
        Whether q is a product over latents.
    theta : dict of str to ndarray
        Start.

    Attributes
    ----------
    q : GaussianPosterior
        Best q at the highest bound.
    interrupted : bool
        Whether a callback ended the ascent.
    """

    def __init__(self, model: Model, data: DistinctRows, diagonal: bool, theta: Theta):
        self.model, self.data, self.diagonal = model, data, diagonal
        self.coordinates = ParameterVector(theta, model.constraints)
        self.start = self.coordinates.to_vector(theta)
        joint = model.joint(data.X, theta)
        self.q: GaussianPosterior = fit_gaussian(joint, diagonal=diagonal)
        self.scale = parameter_scale(model, data, self.coordinates, self.start, self.q)
        self.bound = data.mean(self.q.terms.elbo)
        self.interrupted = False

    def run(
        self,
        max_iter: int,
        tol: float | str,
        on_iteration: Callable[[int, float, Theta], bool],
    ) -> Ascent:
        """Return where L-BFGS ends; the bound of each iteration is not below the one before.

        It also ends when `on_iteration` returns True, an iteration climbs less than a number
        `tol`, in nats per row, or Ctrl-C comes after the first iteration.
        """
        bounds, reached = [self.bound], self.start / self.scale
        smallest = -np.inf if isinstance(tol, str) else tol

        def record(intermediate_result):
            nonlocal reached
            reached = intermediate_result.x.copy()
            bounds.append(-float(intermediate_result.fun))
            theta = self._theta(self.scale * intermediate_result.x)
            self.interrupted = on_iteration(len(bounds) - 1, bounds[-1], theta)
            if self.interrupted or is_small():
                raise StopIteration

        def is_small():
            return len(bounds) > 1 and bounds[-1] - bounds[-2] < smallest

        by_user = False
        try:
            reached = self._minimize(reached, max_iter, record)
        except KeyboardInterrupt:
            if len(bounds) == 1:
                raise
            by_user = self.interrupted = True
        theta, path = self._theta(self.scale * reached), tuple(bounds[1:])
        return Ascent(theta, bounds[0], path, is_small(), interrupted=by_user)

    def _minimize(self, scaled: np.ndarray, max_iter: int, callback: Callable) -> np.ndarray:
        """Return the scaled coordinates where L-BFGS ends."""
        limits = self.model.lower_limits(self.data.X, self.data.weights)
        lower = self.coordinates.lower_bounds(limits, self.start) / self.scale
        options = {"maxiter": max_iter, "maxfun": 10 * max_iter, "maxcor": MEMORY}
        return optimize.minimize(
            self.evaluate,
            scaled,
            jac=True,
            method="L-BFGS-B",
            bounds=optimize.Bounds(lower, np.inf),
            callback=callback,
            options={**options, "ftol": CLIMB, "gtol": GRADIENT},
        ).x

    def evaluate(self, scaled: np.ndarray) -> tuple[float, np.ndarray]:
        """Return minus the bound per row and its gradient; infinity where it is no number."""
        theta = self.coordinates.from_vector(self.scale * scaled)
        if theta is None:
            return np.inf, np.zeros_like(scaled)
        joint = self.model.joint(self.data.X, theta)
        with np.errstate(all="ignore"):  # a line search may go too far
            q = fit_gaussian(
                joint, diagonal=self.diagonal, start=self.q, tol=Q_TOLERANCE, n_steps=Q_STEPS
            )
        bound = self.data.mean(q.terms.elbo)
        if not np.isfinite(bound):
            return np.inf, np.zeros_like(scaled)
        if bound >= self.bound:
            self.q, self.bound = q, bound
        weights, Z, covariance = q.draws(moments_suffice=False)
        gradient = self.model.expected_gradient(
            theta, self.data.X, weights * self.data.weights, Z, covariance
        )
        free = self.coordinates.pull_back(theta, gradient) / self.data.total
        return -bound, -self.scale * np.nan_to_num(free)

    def _theta(self, vector) -> Theta:
        theta = self.coordinates.from_vector(vector)
        if theta is None:
            raise AscentError("a parameter is out of reach: it grows without end")
        return theta
