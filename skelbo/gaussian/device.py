"""The E-step of a Gaussian mixture on a torch device: a GPU, or the CPU for its tests.

The formulas are those of `natural` and of the covariance structures; only the sums come back. All
arithmetic is in float64, so that the bound still tells whether it has stopped climbing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import reduce
from operator import add

import numpy as np
import torch

from skelbo.gaussian.mixture import Expected, Mixture
from skelbo.gaussian.moments import Moments, Scatter, safe
from skelbo.gaussian.natural import Natural
from skelbo.gaussian.structure import LOG_2PI, Matrices
from skelbo.rows import Block, Rows

# Float64 cells of the temporaries of one block on a GPU: 512 MiB. A CPU keeps the blocks of `Rows`.
DEVICE_CELLS = 2**26
# Tables of up to this many cells stay on a device whose free memory is not known.
KEPT_CELLS = 2**26


def torch_device(name: str) -> torch.device:
    """Return the device of that name; ValueError if it cannot hold float64 numbers here."""
    try:
        device = torch.device(name)
        torch.zeros(1, dtype=torch.float64, device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        cause = str(error).splitlines()[0]
        raise ValueError(
            f"device={name!r} cannot be used here, expected a torch device with float64, such as "
            f"'cuda' or 'cpu'; leave device=None for NumPy. ({cause})"
        ) from None
    return device


class DeviceTable:
    """A table whose complete rows are dealt with on a device; incomplete ones stay with NumPy.

    The rows are moved once if they take less than half of the device's free memory, else in
    every pass.

    Parameters
    ----------
    rows : Rows
    device : str
        Any name that `torch.device` takes.
    """

    def __init__(self, rows: Rows, device: str):
        self.rows, self.device = rows, torch_device(device)
        self.total_weight = rows.total_weight
        self._kept: list[DeviceBlock | Block] | None = None

    def e_step(self, theta: Mixture) -> tuple[float, Moments]:
        """Return what ``theta.e_step(rows)`` does."""
        parts = [part.expected(theta) for part in self._sums(theta)]
        expected = reduce(add, parts)
        return expected.log_prob / self.total_weight, expected.moments

    def _sums(self, theta: Mixture) -> Iterator[_Sums | _OnHost]:
        """Yield the sums over the complete rows, of either arithmetic, and the incomplete rows."""
        covariance = theta.components.covariance
        assert isinstance(covariance, Matrices)
        natural = theta.natural
        sums: dict[bool, _Sums] = {}
        for block in self._blocks():
            if isinstance(block, Block):
                yield _OnHost(block)
                continue
            plain = natural is not None and block.largest < natural.reach
            if plain not in sums:
                make = _NaturalSums if plain else _ExactSums
                sums[plain] = make(theta, self.device)
            sums[plain].include(block)
        yield from sums.values()

    def _blocks(self) -> Iterator[DeviceBlock | Block]:
        if self._kept is not None:
            return iter(self._kept)
        if self.rows.n_samples * self.rows.n_features > self._room():
            return self._move()
        self._kept = list(self._move())
        return iter(self._kept)

    def _room(self) -> int:
        """Return how many cells of the table may stay on the device."""
        if self.device.type != "cuda":
            return KEPT_CELLS
        return torch.cuda.mem_get_info(self.device)[0] // 16

    def _move(self) -> Iterator[DeviceBlock | Block]:
        """Yield blocks large enough to keep a GPU busy."""
        cells = 1 if self.device.type == "cpu" else DEVICE_CELLS
        size = cells // (self.rows.cells_per_row or self.rows.n_features)
        waiting: list[Block] = []
        for block in self.rows.blocks():
            if block.observed is not None:
                yield block
                continue
            waiting.append(block)
            if sum(len(part.index) for part in waiting) >= size:
                yield DeviceBlock(waiting, self.device)
                waiting = []
        if waiting:
            yield DeviceBlock(waiting, self.device)


class DeviceBlock:
    """Complete rows on a device, columns first, with their weights and largest cell."""

    def __init__(self, parts: list[Block], device: torch.device):
        values = np.concatenate([part.values for part in parts], axis=1)
        self.largest = float(max(values.max(), -values.min()))
        self.values = torch.from_numpy(values).to(device)
        weights = np.concatenate([part.weights for part in parts]).astype(np.float64)
        self.weights = torch.from_numpy(weights).to(device)


class _OnHost:
    """Incomplete rows: each pattern of missing cells needs matrices of its own."""

    def __init__(self, block: Block):
        self.block = block

    def expected(self, theta: Mixture) -> Expected:
        return theta.expected(self.block)


class _Sums(ABC):
    """What an E-step sums over complete rows; the sums stay on the device until asked for."""

    def __init__(self, theta: Mixture, device: torch.device):
        self.device = device
        self.kind: Scatter = theta.components.covariance.scatter
        self.log_weights = self._tensor(theta.log_weights)[:, None]
        self.bound = torch.zeros((), dtype=torch.float64, device=device)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, dtype=torch.float64, device=self.device)

    def _normalize(self, log_joint: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Add the weighted log p(x) to the bound; return weights times responsibilities."""
        top = log_joint.amax(dim=0)
        lost = torch.isneginf(top)  # so far away that every density underflows
        log_joint = torch.where(lost, self.log_weights, log_joint)
        log_prob = torch.logsumexp(log_joint, dim=0)
        resp = torch.exp(log_joint - log_prob) * weights
        self.bound += weights @ torch.where(lost, top, log_prob)
        return resp

    @abstractmethod
    def include(self, block: DeviceBlock) -> None:
        """Add the rows of a block."""

    @abstractmethod
    def expected(self, theta: Mixture) -> Expected:
        """Return bound and moments, on the host."""


class _NaturalSums(_Sums):
    """Sums of t(x), in exponential-family form: one matrix product each for E and M."""

    def __init__(self, theta: Mixture, device: torch.device):
        super().__init__(theta, device)
        natural = theta.natural
        assert isinstance(natural, Natural)
        self.eta = self._tensor(natural.eta)
        self.common = None if natural.common is None else self._tensor(natural.common)
        self.sums = torch.zeros_like(self.eta)
        self.second = None if self.common is None else torch.zeros_like(self.common)

    def include(self, block: DeviceBlock) -> None:
        statistics = self._statistics(block.values)
        resp = self._normalize(self.eta @ statistics, block.weights)
        self.sums += resp @ statistics.T
        if self.common is not None and self.second is not None:
            weighted = block.values * block.weights
            dense = self.kind.dense
            second = weighted @ block.values.T if dense else (weighted * block.values).sum(dim=1)
            self.second += second
            self.bound -= 0.5 * (self.common * second).sum()

    def _statistics(self, x: torch.Tensor) -> torch.Tensor:
        """Return t(x) in the order of `Scatter.statistics`."""
        parts = [torch.ones_like(x[:1]), x]
        if self.kind is Scatter.DIAGONAL:
            parts.append(x * x)
        elif self.kind is Scatter.FULL:
            rows, columns = torch.triu_indices(len(x), len(x), device=self.device)
            parts.append(x[rows] * x[columns])
        return torch.cat(parts)

    def expected(self, theta: Mixture) -> Expected:
        common = None if self.second is None else self.second.cpu().numpy()
        return Expected(
            float(self.bound), Moments.of_sums(self.kind, self.sums.cpu().numpy(), common)
        )


class _ExactSums(_Sums):
    """Sums about the means, one component at a time, where expanded squares lose digits."""

    def __init__(self, theta: Mixture, device: torch.device):
        super().__init__(theta, device)
        covariance = theta.components.covariance
        assert isinstance(covariance, Matrices)
        self.means = theta.components.means
        self.centres = self._tensor(self.means)
        K, p = self.means.shape
        factors = self._tensor(covariance.factors)
        self.factors = factors.expand(K, *([p, p] if self.kind.dense else [p]))
        diagonals = self.factors.diagonal(dim1=1, dim2=2) if self.kind.dense else self.factors
        self.constants = diagonals.log().sum(dim=1) - 0.5 * p * LOG_2PI
        self.weight = torch.zeros(K, dtype=torch.float64, device=device)
        self.first = torch.zeros_like(self.centres)
        shape = (p, p) if self.kind.dense else (p,)
        shape = shape if self.kind.pooled else (K, *shape)
        self.second = torch.zeros(shape, dtype=torch.float64, device=device)

    def include(self, block: DeviceBlock) -> None:
        log_prob = torch.stack([self._log_prob(k, block) for k in range(len(self.means))])
        resp = self._normalize(log_prob + self.log_weights, block.weights)
        self.weight += resp.sum(dim=1)
        for k, weights in enumerate(resp):
            steps = block.values - self.centres[k][:, None]
            weighted = steps * weights
            self.first[k] += weighted.sum(dim=1)
            second = weighted @ steps.T if self.kind.dense else (weighted * steps).sum(dim=1)
            target = self.second if self.kind.pooled else self.second[k]
            target += second

    def _log_prob(self, k: int, block: DeviceBlock) -> torch.Tensor:
        steps = block.values - self.centres[k][:, None]
        factor = self.factors[k]
        white = factor.T @ steps if self.kind.dense else factor[:, None] * steps
        return self.constants[k] - 0.5 * (white * white).sum(dim=0)

    def expected(self, theta: Mixture) -> Expected:
        weight, first, second = (t.cpu().numpy() for t in (self.weight, self.first, self.second))
        step = first / safe(weight)[:, None]
        scatter = second - self.kind.of_steps(weight, step)
        moments = Moments(self.kind, weight, self.means + step, scatter)
        return Expected(float(self.bound), moments)
