r"""Gradient ascent on log p(X; theta) itself, by automatic differentiation.

An alternative to EM where the likelihood can be evaluated: no q and no bound, but L-BFGS in the
unconstrained coordinates of `Mixture.to_vector`.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch

from skelbo.autograd import gradients, load_optimizers
from skelbo.data.rows import Rows
from skelbo.elbo import LOG_2PI
from skelbo.em.checkpoint import Resumable
from skelbo.em.loop import AscentError
from skelbo.gaussian.components import Components
from skelbo.gaussian.dense import log_cholesky
from skelbo.gaussian.matrices import Matrices
from skelbo.gaussian.regularization import FLOOR, ILL_DEFINED, Ridge
from skelbo.mixture.backends.torch_pass import torch_device
from skelbo.mixture.mixture import Mixture

# The least variance that is left of one without its ridge, in units of the ridge.
LEAST = 1e-8


class GradientAscent(Resumable):
    """L-BFGS one iteration at a time, as the M-step of `skelbo.em.loop.ascend`.

    Parameters
    ----------
    theta : Mixture
        The start.
    rows : Rows
        All are copied to the device.
    units : ndarray of shape (n_features,)
        Scale of the columns; coordinates are in these units.
    structure : type of Matrices
    ridge : float or "auto"
        Added to every variance; "auto" is `FLOOR` times the column's own, which keeps the
        likelihood bounded.
    device : str or None
        Torch device; None is the CPU.
    """

    @gradients()
    def __init__(self, theta, rows: Rows, units, structure: type[Matrices], ridge, device=None):
        self.units, self.structure = units, structure
        self.n_components = len(theta.weights)
        self.device = torch_device(device or "cpu")
        self.scaled_units = self._tensor(units)
        floor = FLOOR * (
            np.full_like(units, np.mean(units**2)) if structure.isotropic else units**2
        )
        self.ridge = self._tensor(floor if ridge == "auto" else np.full_like(units, ridge))
        self.patterns = [self._tensors(block) for block in rows.blocks()]
        self.total_weight = rows.total_weight
        self.vector = self._tensor(self._start(theta)).requires_grad_()
        load_optimizers()
        self.optimizer = torch.optim.LBFGS(
            [self.vector],
            max_iter=1,
            max_eval=30,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            history_size=20,
            line_search_fn="strong_wolfe",
        )

    def _start(self, theta: Mixture) -> np.ndarray:
        """Return the coordinates of theta without the ridge, which `_unpack` adds."""
        vector = theta.to_vector(self.units)
        covariances = cast(Matrices, theta.components.covariance).covariances
        ridge = self.ridge.cpu().numpy()
        if not ridge.all():
            return vector
        if self.structure.scatter.dense:
            rest = log_cholesky(_less_ridge(covariances, ridge) / self.units[:, None])
        else:
            ridge = ridge[: covariances.shape[1]]
            rest = np.log(np.maximum(covariances - ridge, LEAST * ridge)).ravel()
        return np.concatenate([vector[: len(vector) - len(rest)], rest])

    def _tensor(self, array) -> torch.Tensor:
        return torch.tensor(array, dtype=torch.float64, device=self.device)

    def _tensors(self, block) -> list[tuple]:
        """Return rows, weights and observed columns of each pattern of missing cells."""
        if block.observed is None:
            return [(self._tensor(block.values.T), self._tensor(block.weights), None)]
        patterns, which = np.unique(block.observed, axis=1, return_inverse=True)
        parts = []
        for number, observed in enumerate(patterns.T):
            chosen = np.flatnonzero(which.ravel() == number)
            columns = np.flatnonzero(observed)
            values = block.values[np.ix_(columns, chosen)].T
            parts.append((self._tensor(values), self._tensor(block.weights[chosen]), columns))
        return parts

    def checkpoint_state(self):
        """Return the coordinates and what L-BFGS has gathered."""
        gathered = self.optimizer.state_dict()["state"].get(0, {})
        kept = {name: _arrays(value) for name, value in gathered.items() if name != "al"}
        return {"vector": self.vector.detach().cpu().numpy(), "gathered": kept}

    def resume(self, state):
        """Go on with what had been gathered."""
        with torch.no_grad():
            self.vector.copy_(self._tensor(state["vector"]))
        gathered = {name: self._tensors_of(value) for name, value in state["gathered"].items()}
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": {0: gathered}})

    def _tensors_of(self, value):
        """Return arrays as tensors, also those in a list."""
        if isinstance(value, list):
            return [self._tensors_of(item) for item in value]
        return self._tensor(value) if isinstance(value, np.ndarray) else value

    @gradients()
    def __call__(self, statistics, theta: Mixture) -> Mixture:
        """Return theta after one more iteration; the arguments are ignored."""

        def loss() -> torch.Tensor:
            self.optimizer.zero_grad()
            value = -self.log_likelihood() / self.total_weight
            value.backward()
            return value

        try:
            self.optimizer.step(loss)
        except torch.linalg.LinAlgError:
            raise AscentError(ILL_DEFINED) from None
        return self._mixture()

    def _mixture(self) -> Mixture:
        """Return the current parameters as a mixture."""
        with torch.no_grad():
            arrays = [tensor.cpu().numpy() for tensor in self._unpack()]
        log_weights, means, covariances = arrays
        if self.structure.shared:
            covariances = covariances[:1]
        if self.structure.scatter.dense:
            covariances, factors, _ = Ridge(0.0).dense(covariances)
            pivots = 1 / np.diagonal(factors, axis1=1, axis2=2) ** 2
        else:
            isotropic = self.structure.isotropic
            covariances = covariances[:, :1] if isotropic else covariances
            pivots, _ = Ridge(0.0).diagonal(covariances, isotropic)
            factors = 1 / np.sqrt(covariances)
        floored = np.any(pivots < 100 * FLOOR * self.units**2, axis=1)
        covariance = self.structure(covariances, factors, floored)
        return Mixture(np.exp(log_weights), Components(means, covariance))

    def log_likelihood(self) -> torch.Tensor:
        """Return the weighted sum of log p(x; theta) over the rows, in nats."""
        log_weights, means, covariances = self._unpack()
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for values, weights, columns in (part for block in self.patterns for part in block):
            log_joint = log_weights[:, None] + _log_prob(values, means, covariances, columns)
            total = total + weights @ torch.logsumexp(log_joint, dim=0)
        return total

    def _unpack(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return log-weights, means and covariances; (K, p, p) if dense, else variances (K, p)."""
        n_components, p = self.n_components, len(self.units)
        log_weights, means, rest = torch.split(
            self.vector,
            [n_components, n_components * p, len(self.vector) - n_components * (p + 1)],
        )
        means = means.reshape(n_components, p) * self.scaled_units
        groups = 1 if self.structure.shared else n_components
        if self.structure.scatter.dense:
            index = torch.tril_indices(p, p, device=self.device)
            lower = torch.zeros(groups, p, p, dtype=torch.float64, device=self.device)
            lower[:, index[0], index[1]] = rest.reshape(groups, -1)
            diagonal = torch.diagonal(lower, dim1=1, dim2=2)
            lower = lower - torch.diag_embed(diagonal) + torch.diag_embed(diagonal.exp())
            lower = lower * self.scaled_units[:, None]
            covariances = lower @ lower.mT + torch.diag(self.ridge)
            covariances = covariances.expand(n_components, p, p)
        else:
            covariances = rest.reshape(groups, -1).exp().expand(n_components, p) + self.ridge
        return torch.log_softmax(log_weights, 0), means, covariances


def _less_ridge(covariances: np.ndarray, ridge: np.ndarray) -> np.ndarray:
    """Return L, lower triangular, with L L^T the covariances (K, p, p) less diag(ridge)."""
    size = np.sqrt(ridge)
    values, vectors = np.linalg.eigh(covariances / (size[:, None] * size))
    roots = np.sqrt(np.maximum(values - 1, LEAST))[:, :, None] * vectors.swapaxes(1, 2) * size
    upper = np.linalg.qr(roots)[1]
    signs = np.where(np.einsum("kii->ki", upper) < 0, -1.0, 1.0)
    return (upper * signs[:, :, None]).swapaxes(1, 2)


def _arrays(value):
    """Return tensors as arrays, also those in a list."""
    if isinstance(value, list):
        return [_arrays(item) for item in value]
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value


def _log_prob(values, means, covariances, columns) -> torch.Tensor:
    """Return log N(x_o; mu_o, Sigma_oo), (K, n), for rows with the same observed columns."""
    if columns is not None:
        means = means[:, columns]
        covariances = covariances[:, columns]
        covariances = covariances[:, :, columns] if covariances.ndim == 3 else covariances
    steps = values - means[:, None, :]
    constant = 0.5 * values.shape[1] * LOG_2PI
    if covariances.ndim == 2:
        half_log_det = 0.5 * covariances.log().sum(dim=1)
        squares = (steps**2 / covariances[:, None, :]).sum(dim=2)
    else:
        lower = torch.linalg.cholesky(covariances)
        half_log_det = torch.diagonal(lower, dim1=1, dim2=2).log().sum(dim=1)
        squares = (torch.linalg.solve_triangular(lower, steps.mT, upper=False) ** 2).sum(dim=1)
    return -0.5 * squares - half_log_det[:, None] - constant
