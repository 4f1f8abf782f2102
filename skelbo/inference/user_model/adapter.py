"""A model written in torch, made to answer like the built-in ones."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from scipy import optimize

from skelbo.autograd import gradients
from skelbo.em.loop import AscentError
from skelbo.inference.user_model.checks import check_densities, checked_parameters
from skelbo.inference.user_model.joint import NODES, BinaryTorchJoint, TorchJoint, q_points
from skelbo.models.constraints import Coordinates
from skelbo.models.interface import Model

# Cells (draws x rows x columns) whose graph is held at a time, and iterations of L-BFGS a step.
GRAPH_CELLS, MAX_ITERATIONS = 2**22, 25
# Step of central differences, relative to a parameter's size.
DIFFERENCE = 1e-5
ROWS_CHECKED = 5
NOT_A_NUMBER = (
    "{name}.log_likelihood (or log_prior), or its gradient, is NaN near {theta}, where the fit has "
    "come; return finite numbers there, give the parameters a domain (constraints), or begin "
    "elsewhere (initialize, params_init)."
)


class TorchModel(Model):
    """Adapter of a model that a user wrote in torch to the interface of inference.

    Parameters
    ----------
    model : LatentVariableModel
    device : str or None
    """

    # Largest number of parameters with standard errors: scores are differences, one each.
    max_information = 200

    def __init__(self, model, device=None):
        self.model, self.device = model, device
        self.latent, self.n_latents = model.latent, model.n_latents
        self.constraints = model.constraints
        # Bounds of fits with three or more continuous latents are means over few fixed points.
        self.bound_is_sampled = self.latent == "continuous" and self.n_latents > len(NODES)

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

    @gradients()
    def start(self, X, weights, rng, number):
        """Return the model's own first parameters, after a look at what the model returns."""
        counts = np.round(weights).astype(int)
        if np.all(counts == weights):  # the start, too, should see a weight of 2 as two rows
            X = np.repeat(X, counts, axis=0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(rng.randint(2**31 - 1))
            theta = self.model.initialize(self._rows(X), rng)
        theta = checked_parameters(self.model, theta)
        X = self._rows(X[:ROWS_CHECKED])
        check_densities(self.model, X, self._tensors(theta))
        return theta

    @gradients()
    def joint(self, X, theta):
        """Return log p(x, z; theta) of these rows as a function of z."""
        kind = BinaryTorchJoint if self.latent == "binary" else TorchJoint
        return kind(self.model, self._tensors(theta), self._rows(X))

    # ------------------------------------------------------------ theta step

    @gradients()
    def maximize(self, theta, X, weights, mean, covariance=None, *, n_steps=2, expand=False):
        """Raise E log p(x, z; theta) by L-BFGS; never lower it. See `FactorModel.maximize`.

        A step into a region where the model returns NaN is taken back; if there is no other, that
        is an AscentError.
        """
        Z, weights = self._points(weights, mean, covariance)
        coordinates = Coordinates(theta, self.constraints)
        start = coordinates.to_vector(theta)
        plain = partial(self._objective, coordinates, X, Z, weights, weights.sum())
        met_nan = False

        def objective(vector):
            nonlocal met_nan
            value, gradient = plain(vector)
            met_nan |= bool(np.isnan(value))
            return value if np.isfinite(value) else np.inf, np.nan_to_num(gradient)

        before = objective(start)[0]
        result = optimize.minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=self._bounds(coordinates, theta, X, weights.sum(0)),
            options={"maxiter": MAX_ITERATIONS, "ftol": 1e-14, "gtol": 1e-9},
        )
        if result.fun < before:
            return coordinates.from_vector(result.x)
        if met_nan:
            self._complain(theta)
        return theta

    def lower_limits(self, X, weights):
        """Return the smallest values of parameters that the model sets."""
        return self.model.lower_limits(X, weights)

    def _bounds(self, coordinates, theta, X, weights):
        limits = self.lower_limits(X, weights)
        if not limits:
            return None
        lowest = {k: np.full(np.shape(v), -np.inf) for k, v in theta.items()}
        vector = coordinates.to_vector(theta)
        floors = {**theta, **{k: np.full(np.shape(theta[k]), v) for k, v in limits.items()}}
        limited = {**lowest, **{k: np.ones(np.shape(theta[k])) for k in limits}}
        which = np.concatenate([np.ravel(limited[k]) for k in theta]) > 0
        lower = np.where(which, coordinates.to_vector(floors), -np.inf)
        return list(zip(np.minimum(lower, vector), np.full(len(vector), np.inf), strict=True))

    def _points(self, weights, mean, covariance):
        """Return draws and weights: as they are, or those that stand for q."""
        if covariance is None:
            return mean, weights
        if self.latent == "continuous":
            Z, shares = q_points(mean[0], covariance)
            return Z, shares[:, None] * weights
        from skelbo.inference.posteriors.bernoulli import all_states
        from skelbo.inference.user_model.joint import _probabilities

        states = all_states(self.n_latents)
        Z = np.broadcast_to(states[:, None], (len(states), *mean.shape[1:]))
        return Z, _probabilities(states, mean[0]) * weights

    def _objective(self, coordinates, X, Z, weights, total, vector):
        """Return minus the mean of log p(x, z; theta) and its gradient in free coordinates."""
        if not np.all(np.isfinite(vector)):  # the line search, after a NaN of the model
            return np.nan, np.zeros_like(vector)
        free = torch.tensor(vector, requires_grad=True)
        value, gradient = 0.0, np.zeros_like(vector)
        size = max(1, GRAPH_CELLS // (len(Z) * (X.shape[1] + Z.shape[2])))
        for first in range(0, len(X), size):
            part = slice(first, first + size)
            theta = {k: v.to(self.device) for k, v in natural(coordinates, free).items()}
            points, share = self._rows(Z[:, part]), self._rows(weights[:, part])
            joint = self.model.log_likelihood(self._rows(X[part]), points, theta)
            joint = joint + self.model.log_prior(points, theta)
            loss = -(share * joint).sum() / total
            gradient += torch.autograd.grad(loss, free, allow_unused=True)[0].numpy()
            value += float(loss.detach())
        return value, gradient

    def _complain(self, theta):
        near = {k: np.array2string(np.ravel(v)[:3], precision=3) for k, v in theta.items()}
        raise AscentError(NOT_A_NUMBER.format(name=type(self.model).__name__, theta=near))

    def _sound(self, values, theta):
        """Return values, or say that the model returned NaN next to theta."""
        if np.isnan(values).any():
            self._complain(theta)
        return values

    # ----------------------------------------------------------- information

    def scores(self, theta, X, Z):
        """Return the gradient of log p(x, z; theta) in theta, (S, n, P), by central differences."""
        differences = [
            (self.joint(X, up).log_joint(Z) - self.joint(X, down).log_joint(Z)) / (2 * step)
            for up, down, step in _neighbours(theta)
        ]
        return self._sound(np.stack(differences, axis=2), theta)

    def information(self, theta, X, Z, weights):
        """Return minus the Hessian of E log p(x, z; theta) in theta, (P, P)."""
        rows = [
            (self._slope(up, X, Z, weights) - self._slope(down, X, Z, weights)) / (2 * step)
            for up, down, step in _neighbours(theta)
        ]
        return self._sound(-0.5 * (np.array(rows) + np.array(rows).T), theta)

    @gradients()
    def _slope(self, theta, X, Z, weights):
        tensors = {k: v.requires_grad_() for k, v in self._tensors(theta).items()}
        points = self._rows(Z)
        joint = self.model.log_likelihood(self._rows(X), points, tensors)
        joint = joint + self.model.log_prior(points, tensors)
        total = (self._rows(weights) * joint).sum()
        gradients = torch.autograd.grad(total, list(tensors.values()), allow_unused=True)
        return np.concatenate(
            [
                np.zeros(v.numel()) if g is None else g.cpu().numpy().ravel()
                for g, v in zip(gradients, tensors.values(), strict=True)
            ]
        )

    def constraint_jacobian(self, theta):
        """Return the gradients of what is fixed: the sum of every simplex."""
        size = sum(np.size(value) for value in theta.values())
        rows: list[np.ndarray] = []
        first = 0
        for name, value in theta.items():
            if self.constraints.get(name) == "simplex":
                index = first + np.arange(np.size(value)).reshape(-1, np.shape(value)[-1])
                rows.extend(np.isin(np.arange(size), some).astype(float) for some in index)
            first += np.size(value)
        return np.array(rows).reshape(-1, size)

    # ------------------------------------------------------------- after fit

    def n_parameters(self, theta):
        """Return the number of free parameters."""
        return len(Coordinates(theta, self.constraints).to_vector(theta))

    def bound_terms(self, joint, q):
        """Return the bound of q on points that it was not fitted to."""
        return joint.rescored(q) if self.bound_is_sampled else q.terms

    def warnings(self, theta, X, weights):
        """Return the model's messages about these parameters."""
        return self.model.warnings(theta, X, weights)

    def mean(self, Z, theta):
        """Return E[x | z] by the model's own `mean`."""
        with torch.no_grad():
            return self.model.mean(self._rows(Z), self._tensors(theta)).cpu().numpy()

    def sample(self, n_samples, theta, rng):
        """Draw (x, z) by the model's own `sample`."""
        X, Z = self.model.sample(n_samples, self._tensors(theta), rng)
        return np.asarray(X), np.asarray(Z)


def natural(coordinates: Coordinates, free) -> dict:
    """Return parameters on the natural scale from free coordinates, differentiably."""
    theta, first = {}, 0
    for name, shape in coordinates.shapes.items():
        kind = coordinates.constraints.get(name)
        inner = (*shape[:-1], shape[-1] - 1) if kind == "simplex" else shape
        size = int(np.prod(inner))
        value = free[first : first + size].reshape(inner)
        first += size
        if kind == "positive":
            value = value.exp()
        elif kind == "unit_interval":
            value = value.sigmoid()
        elif kind == "simplex":
            value = torch.cat([value, torch.zeros_like(value[..., :1])], -1).softmax(-1)
        theta[name] = value
    return theta


def _neighbours(theta):
    """Yield theta with one entry raised, with it lowered, and by how much."""
    for name, value in theta.items():
        for index in np.ndindex(np.shape(value)):
            step = DIFFERENCE * max(abs(value[index]), 1e-2)
            pair = []
            for sign in (1, -1):
                moved = np.array(value, dtype=np.float64)
                moved[index] += sign * step
                pair.append({**theta, name: moved})
            yield (*pair, step)
