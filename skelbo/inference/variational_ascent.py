"""Ascent of the bound from one start: the steps that a model allows, and escape from saddles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from skelbo.em.anderson import Anderson
from skelbo.em.loop import Ascent, ascend
from skelbo.inference.bound_gradient_ascent import BoundGradientAscent
from skelbo.inference.distinct_rows import DistinctRows
from skelbo.inference.parameter_scale import parameter_scale
from skelbo.inference.posteriors.bernoulli_posterior import fit_bernoulli
from skelbo.inference.posteriors.best import best_q, uses_grid
from skelbo.inference.posteriors.exact_em import ExactEM
from skelbo.inference.posteriors.gaussian_posterior import fit_gaussian
from skelbo.inference.variational_step import VariationalStep
from skelbo.models.constraints import ParameterVector
from skelbo.models.interface import Model, Theta

# Perturbation of a converged theta, in scales of the parameters; iterations from there; and climb,
# in nats per row, beyond which theta was a saddle point and no maximum.
PERTURBATION, N_TRIAL, MARGIN = 0.02, 25, 1e-6
# Steps of EM before the gradient of the bound is followed.
N_FIRST = 5
# Largest number of saddle points that one ascent leaves.
MAX_SADDLES = 5


@dataclass(frozen=True)
class VariationalAscent:
    """Ascents of the bound of one family of q.

    Attributes
    ----------
    model : Model
    data : DistinctRows
        Rows of the fit.
    posterior : {"mean_field", "full", "exact"}
        Family of q.
    tol : "auto" or float
    max_iter : int
    on_iteration : callable, (n_iter, bound, theta) -> bool
        Called after each iteration; True ends the ascent.
    """

    model: Model
    data: DistinctRows
    posterior: str
    tol: str | float
    max_iter: int
    on_iteration: Callable[[int, float, Theta], bool]

    def run(self, theta: Theta) -> Ascent:
        """Return the ascent from theta, by the profile likelihood where there is one."""
        profile = self.model.profile(self.data.X, self.data.weights)
        if profile is not None:

            def on_iteration(n_iter, bound, noise):
                return self.on_iteration(n_iter, bound, profile.theta(noise))

            climb = replace(self, on_iteration=on_iteration)._climb
            ascent = climb(profile.start(), profile, profile)
            found = replace(ascent, theta=profile.theta(ascent.theta), statistics=None)
            return self._by_rows(found) if profile.is_rounded(ascent.theta) else found
        coordinates = self._coordinates(theta)
        if uses_grid(self.model.joint(self.data.X[:1], theta), self.posterior):
            return self._run_exactly(theta, coordinates)
        if self.model.has_gradient and self.model.latent == "continuous":
            return self._run_by_gradient(theta, coordinates)
        first = self._climb(theta, self._steps(), coordinates)
        mean_field = self.model.latent == "binary" and self.posterior == "mean_field"
        if not (mean_field and first.converged):
            return first
        # Mean field of binary latents has local optima: q is also sought where new rows begin.
        steps = self._steps(thorough=True, start=first.statistics)
        return self._continued(first, lambda rest: rest._climb(first.theta, steps, coordinates))

    def _by_rows(self, ascent: Ascent) -> Ascent:
        """Return an ascent with the bound of its rows, and the bounds before as much higher."""
        q = best_q(self.model.joint(self.data.X, ascent.theta), self.posterior)
        more = self.data.mean(q.terms.elbo) - ascent.lower_bound
        bounds = tuple(bound + more for bound in ascent.lower_bounds)
        return replace(ascent, start_bound=ascent.start_bound + more, lower_bounds=bounds)

    def _run_exactly(self, theta, coordinates) -> Ascent:
        """Return the ascent of log p(X) by quadrature; it ends where that no longer resolves it."""
        exact = ExactEM(self.model, self.data.X, self.data.weights)

        def from_vector(vector):
            candidate = coordinates.from_vector(vector)
            return candidate if candidate is None or exact.resolves(candidate) else None

        def on_iteration(n_iter, bound, theta):
            return self.on_iteration(n_iter, bound, theta) or exact.ran_away

        accelerator = Anderson(coordinates.to_vector, from_vector)
        found = replace(self, on_iteration=on_iteration)._ascend(theta, exact, accelerator)
        return replace(found, converged=found.converged and not exact.shortened)

    def run_past_saddles(self, theta: Theta) -> Ascent:
        """Return the ascent from theta, continued where a perturbation of its end climbs higher.

        Ascents from random starts end at maxima; one from a symmetric start, with a latent that has
        no effect, ends at a saddle point.
        """
        ascent = self.run(theta)
        for _ in range(MAX_SADDLES):
            if not ascent.converged or self.model.profile(self.data.X, self.data.weights):
                break
            n_iter = ascent.n_iter
            ascent = self._continued(ascent, partial(VariationalAscent._higher, ascent=ascent))
            if ascent.n_iter == n_iter:
                break
        return ascent

    def _higher(self, ascent: Ascent) -> Ascent:
        """Return an ascent from near the end of another, of no iterations if that was a maximum."""
        theta = self._perturbed(ascent.theta)
        few = replace(self, max_iter=N_TRIAL, on_iteration=lambda *args: False)
        gradient = self.model.has_gradient and self.model.latent == "continuous"
        trial = (
            few._follow_gradient(theta, self._coordinates(theta)) if gradient else few.run(theta)
        )
        if trial.lower_bound > ascent.lower_bound + MARGIN and not trial.interrupted:
            return self.run(trial.theta)
        return replace(ascent, lower_bounds=(), interrupted=trial.interrupted)

    def _run_by_gradient(self, theta, coordinates) -> Ascent:
        """Return an ascent by the gradient of the bound between a few steps of EM.

        The first find the basin of a maximum more reliably, the last confirm that it is one.
        """
        n_first = min(N_FIRST, self.max_iter)
        first = replace(self, max_iter=n_first)._climb(theta, self._steps(), coordinates)
        ended = first.converged or first.interrupted or first.n_iter < n_first
        if ended or n_first == self.max_iter:
            return first
        return self._continued(first, lambda rest: rest._follow_gradient(first.theta, coordinates))

    def _follow_gradient(self, theta, coordinates) -> Ascent:
        """Return an ascent by the gradient of the bound, of which EM confirms the end."""
        climb = BoundGradientAscent(self.model, self.data, self.posterior == "mean_field", theta)
        first = climb.run(self.max_iter, self.tol, self.on_iteration)
        if climb.interrupted or first.converged or first.n_iter >= self.max_iter:
            return first
        steps = self._steps(start=climb.q)
        return self._continued(first, lambda rest: rest._climb(first.theta, steps, coordinates))

    def _climb(self, theta, steps, coordinates) -> Ascent:
        """Climb by an object with `e_step` and `m_step`, accelerated in free coordinates."""
        return self._ascend(theta, steps, Anderson(coordinates.to_vector, coordinates.from_vector))

    def _ascend(self, theta, steps, accelerator) -> Ascent:
        return ascend(
            theta,
            steps.e_step,
            steps.m_step,
            tol=self.tol,
            max_iter=self.max_iter,
            accelerator=accelerator,
            on_iteration=self.on_iteration,
        )

    def _steps(self, **options) -> VariationalStep:
        return VariationalStep(self.model, self.data, self.posterior, **options)

    def _continued(self, first: Ascent, climb: Callable[[VariationalAscent], Ascent]) -> Ascent:
        """Return an ascent and its continuation as one; `climb` takes the iterations left."""

        def on_iteration(n_iter, bound, theta):
            return self.on_iteration(n_iter + first.n_iter, bound, theta)

        left = max(1, self.max_iter - first.n_iter)
        try:
            second = climb(replace(self, max_iter=left, on_iteration=on_iteration))
        except KeyboardInterrupt:  # before the continuation has anything to keep
            return replace(first, interrupted=True)
        bounds = (*first.lower_bounds, *second.lower_bounds)
        return replace(second, start_bound=first.start_bound, lower_bounds=bounds)

    def _coordinates(self, theta) -> ParameterVector:
        limits = self.model.limits(self.data.X, self.data.weights)
        return ParameterVector(theta, self.model.constraints, limits)

    def _perturbed(self, theta) -> Theta:
        """Return theta after a small random step, the same each time."""
        coordinates, joint = self._coordinates(theta), self.model.joint(self.data.X, theta)
        q = fit_bernoulli(joint) if self.model.latent == "binary" else fit_gaussian(joint)
        vector = coordinates.to_vector(theta)
        here = self.model, self.data, coordinates, vector, q
        scale = parameter_scale(*here)
        # A parameter without effect here, as of a column of one value, may have one further away.
        scale = np.minimum(scale, parameter_scale(*here, difference=PERTURBATION * scale))
        step = PERTURBATION * scale * np.random.RandomState(0).standard_normal(len(vector))
        moved = coordinates.from_vector(vector + step)
        return theta if moved is None else moved
