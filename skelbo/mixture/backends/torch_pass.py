"""E-step of a Gaussian mixture on a torch device: a GPU, or the CPU in tests.

The formulas are those of `skelbo.gaussian`; only sums are copied back. All arithmetic is in
float64, as the stopping rule compares bounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import add

import numpy as np
import torch

from skelbo.data.rows import Block, Rows
from skelbo.gaussian.factor_analysis.covariance import FactorCovariance
from skelbo.gaussian.moments import Moments
from skelbo.mixture.backends.torch_factor_sums import CarefulFactorSums, PlainFactorSums
from skelbo.mixture.backends.torch_sums import ExactSums, NaturalSums, Sums
from skelbo.mixture.mixture import ExpectedStatistics, Mixture

# Float64 cells of the temporaries of a block on a GPU: 512 MiB. A CPU uses the blocks of `Rows`.
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


def _arithmetic(theta: Mixture) -> tuple[float, type[Sums], type[Sums]]:
    """Return the largest cell that may be squared, and the sums of rows up to it and beyond."""
    covariance = theta.components.covariance
    if isinstance(covariance, FactorCovariance):
        plain = covariance.is_safe(theta.components.means)
        return covariance.reach if plain else 0.0, PlainFactorSums, CarefulFactorSums
    natural = theta.natural
    return 0.0 if natural is None else natural.reach, NaturalSums, ExactSums


class DeviceTable:
    """A table whose complete rows are summed on a device; incomplete ones stay with NumPy.

    The rows are moved once if they take less than half of the device's free memory, else in
    every pass.

    Parameters
    ----------
    rows : Rows
    device : str
        Any name that `torch.device` takes.
    kept_cells : int, optional
        Largest table that stays on the device; by default what its free memory allows.
    """

    def __init__(self, rows: Rows, device: str, kept_cells: int | None = None):
        self.rows, self.device = rows, torch_device(device)
        self.kept_cells = kept_cells
        self.total_weight = rows.total_weight
        self._kept: list[DeviceBlock | Block] | None = None

    def e_step(self, theta: Mixture) -> tuple[float, Moments]:
        """Return the bound in nats per row and the expected moments, as `Mixture.e_step`."""
        parts = [part.expected(theta) for part in self._sums(theta)]
        expected = reduce(add, parts)
        return expected.log_prob / self.total_weight, expected.moments

    def _sums(self, theta: Mixture) -> Iterator[Sums | _OnHost]:
        """Yield the sums over the complete rows, of either arithmetic, and the incomplete rows."""
        reach, plain_sums, careful_sums = _arithmetic(theta)
        sums: dict[bool, Sums] = {}
        for block in self._blocks():
            if isinstance(block, Block):
                yield _OnHost(block)
                continue
            plain = block.largest < reach
            if plain not in sums:
                make = plain_sums if plain else careful_sums
                sums[plain] = make(theta, self.device)
            sums[plain].include(block.values, block.weights)
        yield from sums.values()

    def _blocks(self) -> Iterator[DeviceBlock | Block]:
        if self._kept is not None:
            return iter(self._kept)
        if self.rows.n_samples * self.rows.n_features > self._room():
            return self._move()
        self._kept = list(self._move())
        return iter(self._kept)

    def _room(self) -> int:
        """Return the number of cells of the table that may stay on the device."""
        if self.kept_cells is not None:
            return self.kept_cells
        if self.device.type != "cuda":
            return KEPT_CELLS
        return torch.cuda.mem_get_info(self.device)[0] // 16

    def _move(self) -> Iterator[DeviceBlock | Block]:
        """Yield blocks on the device, large enough for a GPU to be efficient."""
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
    """Incomplete rows, left to NumPy: each pattern of missing cells needs its own matrices."""

    def __init__(self, block: Block):
        self.block = block

    def expected(self, theta: Mixture) -> ExpectedStatistics:
        return theta.expected(self.block)
