"""log p(x, z; theta) of a model written in torch, as NumPy functions of z."""

from __future__ import annotations

from functools import cache, cached_property

import numpy as np
import torch
from scipy import special
from scipy.stats import qmc

from skelbo.autograd import gradients
from skelbo.elbo import ElboTerms
from skelbo.inference.posteriors.bernoulli_posterior import MAX_ENUMERATED, all_states
from skelbo.inference.posteriors.gaussian_posterior import regular
from skelbo.likelihoods.gaussian import LOG_2PI
from skelbo.models.model import LatentVariableModel

# Nodes per axis of the quadrature over q for one and two latents; fixed normals beyond.
NODES, N_NORMALS = (41, 11), 64
# Points for the bound of a q, which is too high on the few points that q was fitted to: steps of a
# trapezoid rule for one and two latents and where it ends, and normals beyond.
STEPS, REACH, N_SCORED = (1 / 32, 1 / 4), 6.5, 2048
SCORED_CELLS = 2**22
# Standard normals of which the best starts the q of a row.
N_CANDIDATES = 64
# Distance from a mode, in posterior widths, at which another one is sought.
ELSEWHERE = 4.0
# Width of the proposal's widest part, in posterior widths, where the prior is the user's own.
WIDE = 3.0


@cache
def gaussian_nodes(n_latents: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes (K, d) and weights (K,) for means over N(0, I).

    Quadrature for one or two latents. Beyond, fixed normals in pairs +-z with identity covariance:
    the bound is then a deterministic function.
    """
    if n_latents <= len(NODES):
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES[n_latents - 1])
        grid = np.stack(np.meshgrid(*[nodes] * n_latents, indexing="ij"), -1)
        shares = np.stack(np.meshgrid(*[weights / weights.sum()] * n_latents, indexing="ij"), -1)
        grid, shares = grid.reshape(-1, n_latents), shares.prod(-1).ravel()
        kept = shares > 1e-9 * shares.max()
        return _of_unit_variance(grid[kept], shares[kept] / shares[kept].sum())
    count = max(N_NORMALS, 4 * n_latents) // 2
    nodes = _paired(np.random.RandomState(0).standard_normal((count, n_latents)))
    return nodes, np.full(2 * count, 0.5 / count)


def _paired(half: np.ndarray) -> np.ndarray:
    """Return points (2K, d) of mean zero and identity covariance from normals (K, d)."""
    root = np.linalg.cholesky(half.T @ half / len(half))
    half = np.linalg.solve(root, half.T).T
    return np.concatenate([half, -half])


@cache
def fresh_nodes(n_latents: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes (K, d) and weights (K,) for means over N(0, I) that no q was fitted to.

    A trapezoid rule for one or two latents, as steep densities need; beyond, a scrambled Sobol
    sequence in pairs +-z.
    """
    if n_latents <= len(STEPS):
        axis = np.arange(-REACH, REACH + 1e-9, STEPS[n_latents - 1])
        nodes = np.stack(np.meshgrid(*[axis] * n_latents, indexing="ij"), -1)
        nodes = nodes.reshape(-1, n_latents)
        return _of_unit_variance(nodes, special.softmax(-0.5 * (nodes**2).sum(1)))
    sequence = qmc.Sobol(n_latents, rng=np.random.default_rng(1))
    nodes = _paired(special.ndtri(sequence.random(N_SCORED // 2)))
    return nodes, np.full(len(nodes), 1 / len(nodes))


def _of_unit_variance(nodes, weights):
    """Return nodes and weights with variance one, which a rule without its far nodes has lost.

    The mean of log p(z) is then exact, so that the bound of a q of one's own choice is one.
    """
    return nodes / np.sqrt(weights @ nodes**2), weights


def q_points(mean, covariance):
    """Return points (K, n, d) and weights (K,) that represent Gaussians q."""
    nodes, weights = gaussian_nodes(mean.shape[1])
    return _moved(nodes, mean, covariance), weights


def _moved(nodes, mean, covariance):
    """Return the points (K, n, d) of Gaussians q at standard normals (K, d)."""
    if covariance.ndim == 2:
        return mean + np.sqrt(covariance) * nodes[:, None]
    return mean + np.einsum("nij,kj->kni", _roots(covariance), nodes)


def _roots(covariance: np.ndarray) -> np.ndarray:
    """Return roots R of covariances R R^T, (n, d, d), which may be singular to rounding."""
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        return vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]


def log_densities(model, X, Z, theta):
    """Return log p(x | z) and log p(x, z) as tensors (S, n).

    They are NaN where a parameter has left its domain, so that torch.distributions refuses it; the
    checks before a fit let such errors through.
    """
    try:
        likelihood = model.log_likelihood(X, Z, theta)
        return likelihood, likelihood + model.log_prior(Z, theta)
    except ValueError:
        lost = torch.nan + 0.0 * Z.sum(-1)
        return lost, lost


class TorchJoint:
    """log p(x, z; theta) of some rows, z continuous.

    Parameters
    ----------
    model : LatentVariableModel
    theta : dict of str to Tensor
    X : Tensor of shape (n_rows, n_features)
    """

    latent = "continuous"
    gaussian = unimodal = supports_grid = False
    block_rows = None
    # Steps over q between two steps over theta: a Hessian costs n_latents passes through the graph.
    n_steps = 4

    def __init__(self, model, theta, X):
        self.model, self.theta, self.X = model, theta, X

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, n_latents)."""
        return len(self.X), self.model.n_latents

    @gradients()
    def take(self, rows):
        """Return the joint of some of the rows."""
        return type(self)(self.model, self.theta, self.X[rows])

    def _tensor(self, Z):
        full = np.broadcast_to(Z, (len(Z), *self.shape))
        return torch.tensor(np.ascontiguousarray(full), device=self.X.device)

    def log_likelihood(self, Z):
        """Return log p(x | z), (S, n)."""
        with torch.no_grad():
            return self._value(self._tensor(Z))[0].cpu().numpy()

    def log_prior(self, Z):
        """Return log p(z), (S, n)."""
        with torch.no_grad():
            return self.model.log_prior(self._tensor(Z), self.theta).cpu().numpy()

    def log_joint(self, Z):
        """Return log p(x, z), (S, n)."""
        with torch.no_grad():
            return self._value(self._tensor(Z))[1].cpu().numpy()

    @gradients()
    def gradient(self, Z):
        """Return log p(x, z), (S, n), and its gradient in z, (S, n, d)."""
        point = self._tensor(Z).requires_grad_()
        value = self._value(point)[1]
        (gradient,) = torch.autograd.grad(value.sum(), point)
        return value.detach().cpu().numpy(), gradient.cpu().numpy()

    def _value(self, Z):
        return log_densities(self.model, self.X, Z, self.theta)

    def start(self):
        """Return the best of some fixed points for each row, and the precision there."""
        d = self.shape[1]
        points = np.random.RandomState(0).standard_normal((N_CANDIDATES, d))
        points[0] = 0.0
        best = np.nan_to_num(self.log_joint(points[:, None]), nan=-np.inf).argmax(0)
        mean = points[best]
        return mean, regular(self.expected(mean)[3])

    def longest_step(self, root):
        """Return infinity: how steep log p(x | z) is is not known."""
        return np.full(root.shape[:-2], np.inf)

    def second_start(self, mode, precision):
        """Return the best fixed point of each row that is not near its mode, (n, d)."""
        points = np.random.RandomState(1).standard_normal((8 * N_CANDIDATES, self.shape[1]))
        values = np.nan_to_num(self.log_joint(points[:, None]), nan=-np.inf)
        away = points[:, None] - mode
        squares = np.einsum("snk,nkl,snl->sn", away, precision, away)
        return points[np.where(squares > ELSEWHERE**2, values, -np.inf).argmax(0)]

    @gradients()
    def expected(self, mean, covariance=None):
        """Return E log p(x|z), E log p(x,z), its gradient, E of minus its Hessian."""
        if covariance is None:
            points, weights = mean[None], np.ones(1)
        else:
            points, weights = q_points(mean, covariance)
        Z = self._tensor(points).requires_grad_()
        share = torch.tensor(weights, device=Z.device)[:, None]
        likelihood, joint = self._value(Z)
        (gradient,) = torch.autograd.grad(joint.sum(), Z, create_graph=True)
        hessian = torch.zeros(*mean.shape, mean.shape[1], dtype=Z.dtype, device=Z.device)
        for k in range(mean.shape[1]):
            if gradient.requires_grad:
                (row,) = torch.autograd.grad(gradient[..., k].sum(), Z, retain_graph=True)
                hessian[:, k] = -(share[..., None] * row).sum(0)
        hessian = 0.5 * (hessian + hessian.transpose(1, 2))
        slope = (share[..., None] * gradient).sum(0)
        # Where the model returns NaN a row stays at its point, and its bound is NaN.
        lost = torch.isnan(slope).any(1) | torch.isnan(hessian).any(2).any(1)
        slope[lost], hessian[lost] = 0.0, torch.eye(mean.shape[1], dtype=Z.dtype, device=Z.device)
        means = (share * likelihood).sum(0), (share * joint).sum(0), slope, hessian
        return tuple(value.detach().cpu().numpy() for value in means)

    def rescored(self, q) -> ElboTerms:
        """Return the bound of q on points that it was not fitted to."""
        (nodes, weights), covariance = fresh_nodes(self.shape[1]), q.covariance
        size = max(1, SCORED_CELLS // (q.mean.size + self.X.numel()))
        reconstruction, energy = np.zeros((2, self.shape[0]))
        for first in range(0, len(nodes), size):
            part = slice(first, first + size)
            Z = _moved(nodes[part], q.mean, covariance)
            likelihood = self.log_likelihood(Z)
            reconstruction += weights[part] @ likelihood
            energy += weights[part] @ (likelihood + self.log_prior(Z))
        entropy = q.terms.entropy
        return ElboTerms.from_energy(reconstruction, energy, entropy)

    def defensive_draws(self, normal, centre, root):
        """Return standard normals as draws of the prior, or of a wide Gaussian, (S, n, d)."""
        if self._standard:
            return np.broadcast_to(normal, (len(normal), *centre.shape))
        full = np.broadcast_to(normal, (len(normal), *centre.shape))
        return centre + WIDE * np.einsum("nij,sni->snj", root, full)

    def log_defensive_density(self, Z, squares, log_det):
        """Return the log-density of `defensive_draws`, (S, n)."""
        if self._standard:
            return self.log_prior(Z)
        d = Z.shape[-1]
        return log_det - d * np.log(WIDE) - 0.5 * (squares / WIDE**2 + d * LOG_2PI)

    @property
    def _standard(self) -> bool:
        return type(self.model).log_prior is LatentVariableModel.log_prior


class BinaryTorchJoint(TorchJoint):
    """log p(x, z; theta) of some rows, z binary."""

    latent = "binary"

    @cached_property
    def _table(self):
        """All states (2**d, d) and log p(x|z), log p(x,z) of each, (2**d, n)."""
        if self.model.n_latents > MAX_ENUMERATED:
            raise ValueError(
                f"n_latents={self.model.n_latents} binary latents of a model without closed forms, "
                f"expected at most {MAX_ENUMERATED}: a fit sums over all their states; use fewer "
                "latents, or BinaryFeatureModel if x is a sum of features."
            )
        states = all_states(self.model.n_latents)
        likelihood = self.log_likelihood(states[:, None])
        return states, likelihood, likelihood + self.log_prior(states[:, None])

    def prior_mean(self):
        """Return 1/2 for each latent: where starts begin."""
        return np.full(self.model.n_latents, 0.5)

    def conditional_logit(self, Z, k):
        """Return log p(x, z_k=1, ..) - log p(x, z_k=0, ..), averaged over means Z (n, d)."""
        if Z.ndim == 3:
            one, zero = Z.copy(), Z.copy()
            one[..., k], zero[..., k] = 1.0, 0.0
            return self.log_joint(one) - self.log_joint(zero)
        states, _, joint = self._table
        certain = Z.copy()
        certain[:, k] = 1.0
        on = (state_probabilities(states, certain) * joint).sum(0)
        certain[:, k] = 0.0
        return on - (state_probabilities(states, certain) * joint).sum(0)

    def expected(self, mean, covariance=None):
        """Return E log p(x|z) and E log p(x,z), (n,), for independent z with this mean."""
        states, likelihood, joint = self._table
        weights = state_probabilities(states, mean)
        return (weights * likelihood).sum(0), (weights * joint).sum(0)


def state_probabilities(states, mean):
    """Return the probability of each state under independent z, (2**d, n)."""
    return np.where(states[:, None] == 1, mean, 1 - mean).prod(-1)
