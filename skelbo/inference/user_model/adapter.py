"""Adapter of a model that a user wrote in torch to the interface of inference."""

from __future__ import annotations

import numpy as np
import torch
from scipy import linalg, optimize

from skelbo.autograd import gradients
from skelbo.em.loop import AscentError
from skelbo.inference.distinct_rows import repeated_rows
from skelbo.inference.posteriors.bernoulli_posterior import all_states
from skelbo.inference.user_model.checks import check_densities, checked_parameters
from skelbo.inference.user_model.derivatives import neighbours, scores_and_hessian
from skelbo.inference.user_model.joint import (
    BinaryTorchJoint,
    TorchJoint,
    log_densities,
    q_points,
    state_probabilities,
)
from skelbo.models.constraints import ParameterVector, constraint_of
from skelbo.models.interface import Model, Theta

# Cells (draws x rows x columns) whose graph is held at a time, and iterations of L-BFGS a step.
GRAPH_CELLS, MAX_ITERATIONS = 2**22, 25
ROWS_CHECKED = 5
# Smallest value of a positive parameter without a limit of its own, as a share of its start.
SMALLEST_SHARE = 1e-8
NOT_A_NUMBER = (
    "{name}.log_likelihood (or log_prior), or its gradient, is NaN near {theta}, where the fit has "
    "come; return finite numbers there, start elsewhere (initialize, params_init), or give scales "
    "and probabilities a domain: write constraints = {constraints} in the class."
)
TO_ZERO = (
    "{name} of {model} went to zero, 1e-8 of its start, where the likelihood may have no maximum; "
    "set a limit: def lower_limits(self, X, weights): return {{{name!r}: ...}}, or leave {name} "
    "out of the model."
)


class TorchModel(Model):
    """Adapter of a model that a user wrote in torch to the interface of inference.

    Parameters
    ----------
    model : LatentVariableModel
    device : str or None
    """

    # A pass backwards through the graph for each parameter.
    max_information = 200
    has_gradient = True

    def __init__(self, model, device=None):
        self.model, self.device = model, device
        self.latent, self.n_latents = model.latent, model.n_latents
        self.constraints, self.unit_powers = model.constraints, model.unit_powers
        self._start: Theta = {}
        self._first_rows = np.zeros((0, 0))
        # Bounds of fits with continuous latents are means over few fixed points.
        self.bound_is_sampled = self.latent == "continuous"

    def _tensors(self, theta):
        return {
            k: torch.tensor(np.asarray(v), dtype=torch.float64, device=self.device)
            for k, v in theta.items()
        }

    def _rows(self, X):
        return torch.tensor(np.asarray(X, dtype=np.float64), device=self.device)

    def check(self, X):
        """Raise ValueError if the model refuses X."""
        self.model.check(X)

    def check_fit(self, X):
        """Raise ValueError if the model refuses to be fitted to X."""
        self.model.check_fit(X)

    @gradients()
    def start(self, X, weights, rng, number):
        """Return the first parameters of the model, whose densities are checked there."""
        X = repeated_rows(X, weights)  # weight 2 is the row twice for the start, too
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(rng.randint(2**31 - 1))
            theta = self.model.initialize(self._rows(X), rng)
        incomplete, empty = np.isnan(X).any(axis=1), np.isnan(X).all(axis=1)
        theta = checked_parameters(self.model, theta, missing=bool(incomplete.any()))
        for missing in (False, True):
            some = X[(incomplete == missing) & ~empty][:ROWS_CHECKED]
            if len(some):
                tensors = self._tensors(theta)
                check_densities(self.model, self._rows(some), tensors, missing=missing)
        self._start, self._first_rows = theta, X[:ROWS_CHECKED]
        return theta

    @gradients()
    def joint(self, X, theta):
        """Return log p(x, z; theta) of these rows as a function of z."""
        kind = BinaryTorchJoint if self.latent == "binary" else TorchJoint
        return kind(self.model, self._tensors(theta), self._rows(X))

    # ------------------------------------------------------------ theta step

    @gradients()
    def maximize(self, theta, X, weights, mean, covariance=None, *, n_steps=2, expand=False):
        """Raise E log p(x, z; theta) by L-BFGS; never lower it. See `Model.maximize`.

        A step into a region where the model returns NaN is taken back.

        Raises
        ------
        AscentError
            If there is no other step.
        """
        Z, weights = self._points(weights, mean, covariance)
        coordinates = ParameterVector(theta, self.constraints)
        objective = _Objective(self, coordinates, X, Z, weights)
        start, limits = coordinates.to_vector(theta), self.lower_limits(X, weights.sum(0))
        before = objective(start)[0]
        result = optimize.minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=optimize.Bounds(coordinates.lower_bounds(limits, start), np.inf),
            options={"maxiter": MAX_ITERATIONS, "ftol": 1e-14, "gtol": 1e-9},
        )
        if result.fun < before:
            return coordinates.from_vector(result.x)
        if objective.met_nan:
            self._complain(theta)
        return theta

    def lower_limits(self, X, weights):
        """Return the smallest values of parameters: the model's, or a share of their start."""
        positive = [k for k, kind in self.constraints.items() if kind == "positive"]
        floors = {k: SMALLEST_SHARE * self._start[k] for k in positive if k in self._start}
        return {**floors, **self.model.lower_limits(X, weights)}

    def _points(self, weights, mean, covariance):
        """Return the draws and weights that were passed, or those that represent a Gaussian q."""
        if covariance is None:
            return mean, weights
        if self.latent == "continuous":
            Z, shares = q_points(mean[0], covariance)
            return Z, shares[:, None] * weights
        states = all_states(self.n_latents)
        Z = np.broadcast_to(states[:, None], (len(states), *mean.shape[1:]))
        return Z, state_probabilities(states, mean[0]) * weights

    def expected_gradient(self, theta, X, weights, mean, covariance=None):
        """Return the gradient of the weighted sum of E log p(x, z; theta), a dict like theta."""
        Z, weights = self._points(weights, mean, covariance)
        return self.weighted_gradient(theta, X, Z, weights)[1]

    @gradients()
    def weighted_gradient(self, theta, X, Z, weights):
        """Return the weighted sum of log p(x, z; theta) and its gradient, a dict like theta."""
        total, gradient = 0.0, {k: np.zeros(np.shape(v)) for k, v in theta.items()}
        size = max(1, GRAPH_CELLS // (len(Z) * (X.shape[1] + Z.shape[2])))
        for first in range(0, len(X), size):
            part = slice(first, first + size)
            tensors = {k: v.requires_grad_() for k, v in self._tensors(theta).items()}
            points = self._rows(Z[:, part])
            joint = log_densities(self.model, self._rows(X[part]), points, tensors)[1]
            if not joint.requires_grad:  # refused by the model
                return np.nan, gradient
            value = (self._rows(weights[:, part]) * joint).sum()
            slopes = torch.autograd.grad(value, list(tensors.values()), allow_unused=True)
            for name, slope in zip(tensors, slopes, strict=True):
                if slope is not None:
                    gradient[name] += slope.cpu().numpy()
            total += float(value.detach())
        return total, gradient

    def _complain(self, theta):
        near = {k: np.array2string(np.ravel(v)[:3], precision=3) for k, v in theta.items()}
        name, constraints = type(self.model).__name__, self._suggested(theta)
        raise AscentError(NOT_A_NUMBER.format(name=name, theta=near, constraints=constraints))

    def _suggested(self, theta) -> dict[str, str]:
        """Return the constraints of the model, and those of parameters that may not leave a domain.

        A few rows are evaluated at negative values, and at values above one.
        """
        found = {}
        for key in set(theta) - set(self.constraints):
            if self._is_lost({**theta, key: -np.abs(theta[key]) - 1.0}):
                above = {**theta, key: np.abs(theta[key]) + 1.0}
                found[key] = "unit_interval" if self._is_lost(above) else "positive"
        return {**self.constraints, **found} or {"scale": "positive"}

    def _is_lost(self, theta) -> bool:
        """Return whether the density of the first rows is NaN at theta and z = 0."""
        Z = np.zeros((1, 1, self.n_latents))
        return bool(np.isnan(self.joint(self._first_rows, theta).log_joint(Z)).all())

    def _checked(self, values, theta):
        """Return values; raise AscentError if the model returned NaN next to theta."""
        if np.isnan(values).any():
            self._complain(theta)
        return values

    # ----------------------------------------------------------- information

    def scores(self, theta, X, Z):
        """Return the gradient of log p(x, z; theta) in theta, (S, n, P)."""
        return self._derivatives(theta, X, Z, np.ones(Z.shape[:2]), hessian=False)[0]

    def information(self, theta, X, Z, weights):
        """Return minus the Hessian of E log p(x, z; theta) in theta, (P, P)."""
        return self.scores_and_information(theta, X, Z, weights)[1]

    def scores_and_information(self, theta, X, Z, weights):
        """Return both, which share most of their work."""
        scores, curvature = self._derivatives(theta, X, Z, weights)
        return scores, -0.5 * (curvature + curvature.T)

    @gradients()
    def _derivatives(self, theta, X, Z, weights, *, hessian=True):
        """Return scores (S, n, P) and the Hessian (P, P) of the weighted sum.

        By central differences where torch cannot differentiate the model twice.
        """
        parts, curvature = [], np.zeros(())
        size = max(1, GRAPH_CELLS // (len(Z) * (X.shape[1] + Z.shape[2])))
        for first in range(0, len(X), size):
            part = slice(first, first + size)
            points, shares = self._rows(Z[:, part]), self._rows(weights[:, part])
            found = scores_and_hessian(
                self.model,
                self._tensors(theta),
                self._rows(X[part]),
                points,
                shares,
                hessian=hessian,
            )
            parts.append(found[0])
            curvature = curvature + found[1]
        scores = np.concatenate(parts, axis=1)
        if not (np.isfinite(scores).all() and np.isfinite(curvature).all()):
            scores = self._checked(self._differences(theta, X, Z), theta)
            if hessian:
                curvature = self._checked(self._curvature(theta, X, Z, weights), theta)
        return scores, curvature

    def _differences(self, theta, X, Z):
        values = [
            (self.joint(X, up).log_joint(Z) - self.joint(X, down).log_joint(Z)) / (2 * step)
            for up, down, step in neighbours(theta, self.constraints)
        ]
        return np.stack(values, axis=2)

    def _curvature(self, theta, X, Z, weights):
        return np.array(
            [
                (self._slope(up, X, Z, weights) - self._slope(down, X, Z, weights)) / (2 * step)
                for up, down, step in neighbours(theta, self.constraints)
            ]
        )

    def _slope(self, theta, X, Z, weights):
        gradient = self.weighted_gradient(theta, X, Z, weights)[1]
        return np.concatenate([np.ravel(value) for value in gradient.values()])

    def constraint_jacobian(self, theta):
        """Return the gradients of what is fixed: the sum of every simplex."""
        fixed = [constraint_of(k, self.constraints).fixed_sums(v) for k, v in theta.items()]
        return linalg.block_diag(*fixed)

    # ------------------------------------------------------------- after fit

    def n_parameters(self, theta):
        """Return the number of free parameters."""
        return len(ParameterVector(theta, self.constraints).to_vector(theta))

    def bound_terms(self, joint, q):
        """Return the bound of q on points that it was not fitted to."""
        return joint.rescored(q) if self.bound_is_sampled else q.terms

    def warnings(self, theta, X, weights):
        """Return the model's messages about these parameters, and those that went to zero."""
        set_limits = self.model.lower_limits(X, weights)
        limits = self.lower_limits(X, weights)
        gone = [k for k in limits if np.any(theta[k] <= 1.5 * limits[k]) and k not in set_limits]
        return [
            *(TO_ZERO.format(name=k, model=type(self.model).__name__) for k in gone),
            *self.model.warnings(theta, X, weights),
        ]

    def mean(self, Z, theta):
        """Return E[x | z] by the model's own `mean`."""
        with torch.no_grad():
            return self.model.mean(self._rows(Z), self._tensors(theta)).cpu().numpy()

    def sample(self, n_samples, theta, rng):
        """Draw (x, z) by the model's own `sample`."""
        X, Z = self.model.sample(n_samples, self._tensors(theta), rng)
        return np.asarray(X), np.asarray(Z)

    def sample_given(self, Z, theta, rng):
        """Draw x given z by the model's own `sample_given`."""
        with torch.no_grad():
            return np.asarray(self.model.sample_given(self._rows(Z), self._tensors(theta), rng))


class _Objective:
    """Minus the weighted mean of log p(x, z; theta) in free coordinates, and its gradient."""

    def __init__(self, model: TorchModel, coordinates: ParameterVector, X, Z, weights):
        self.model, self.coordinates, self.data = model, coordinates, (X, Z, weights)
        self.total = weights.sum()
        self.met_nan = False

    def __call__(self, vector):
        """Return value and gradient; infinity where the model returns no number."""
        theta = self.coordinates.from_vector(vector)
        if theta is None:  # the line search went too far, or met NaN
            return np.inf, np.zeros_like(vector)
        value, gradient = self.model.weighted_gradient(theta, *self.data)
        self.met_nan |= bool(np.isnan(value))
        slope = np.nan_to_num(-self.coordinates.pull_back(theta, gradient) / self.total)
        return (-value / self.total if np.isfinite(value) else np.inf), slope
