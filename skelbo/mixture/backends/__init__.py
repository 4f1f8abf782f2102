"""Backends of the E-step of a Gaussian mixture: NumPy, numba, or a torch device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skelbo.data.row_source import RowSource
from skelbo.gaussian.covariance import CovarianceStructure
from skelbo.gaussian.moments import Moments
from skelbo.mixture.backends.numba_pass import compiled_e_step
from skelbo.mixture.mixture import Mixture

EStep = Callable[[Mixture], tuple[float, Moments]]


def e_step_of(
    rows: RowSource, n_components: int, structure: CovarianceStructure, device: str | None = None
) -> EStep:
    """Return the E-step over these rows: theta -> (bound in nats per row, expected moments).

    Parameters
    ----------
    rows : RowSource
        About the origin of theta.
    n_components : int
    structure : CovarianceStructure
    device : str or None
        A torch device; None is NumPy, or numba where the table is large and numba is installed.

    Returns
    -------
    callable
        The same numbers as `Mixture.e_step`, up to rounding.
    """
    if device is not None:
        from skelbo.mixture.backends.torch_pass import DeviceTable  # torch is optional

        table: Any = rows
        return DeviceTable(table, device).e_step
    return compiled_e_step(rows, n_components, structure) or (lambda theta: theta.e_step(rows))
