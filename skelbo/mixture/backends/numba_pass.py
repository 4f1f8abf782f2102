"""E-step of a large table as one compiled pass, where numba is installed (``skelbo[fast]``).

The arithmetic is that of `skelbo.gaussian.exponential_family` without its temporaries; sums differ
in their last digits, being taken in another order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from skelbo.data.rows import Block, Rows
from skelbo.data.uninterrupted import uninterrupted
from skelbo.gaussian.covariance import CovarianceStructure
from skelbo.gaussian.exponential_family import NaturalDensity
from skelbo.gaussian.moments import Moments
from skelbo.mixture.mixture import ExpectedStatistics, Mixture

# Work of a pass, in terms of eta' t(x), from which on it is compiled: some milliseconds. Importing
# numba and loading the kernel, once a process, takes what a hundred of these passes save. Only the
# size of the table decides, so that fits are reproducible.
MIN_WORK = 2**24
# Cost of computing t(x), in components, and of an exponential, in terms.
STATISTICS_COST, EXPONENTIAL_COST = 4, 8


@cache
def kernel() -> Callable[..., Any] | None:
    """Return the compiled pass, None where numba is not installed or cannot compile or cache."""
    try:
        return uninterrupted(_load)
    except (ImportError, RuntimeError):
        return None


def _load() -> Callable[..., Any] | None:
    import numba

    from skelbo.mixture.backends.numba_kernel import expected_sums

    return None if numba.config.DISABLE_JIT else expected_sums


def compiled_e_step(
    rows: Any, n_components: int, structure: CovarianceStructure, min_work: float | None = None
) -> Callable[[Mixture], tuple[float, Moments]] | None:
    """Return `Mixture.e_step` over these rows as compiled passes.

    None where compilation saves too little: the table is shorter than `min_work`, by default
    `MIN_WORK`, or a Dask collection, whose workers need not be alike.
    """
    if not isinstance(rows, Rows):
        return None
    n_statistics = structure.scatter.n_statistics(rows.n_features)
    terms = (n_components + STATISTICS_COST) * n_statistics + EXPONENTIAL_COST * n_components
    if rows.n_samples * terms < (MIN_WORK if min_work is None else min_work):
        return None

    def e_step(theta: Mixture) -> tuple[float, Moments]:
        if theta.natural is None or kernel() is None:
            return theta.e_step(rows)
        total = rows.total(expected, theta)
        return total.log_prob / rows.total_weight, total.moments

    return e_step


def expected(block: Block, theta: Mixture) -> ExpectedStatistics:
    """Return ``theta.expected(block)``, by the kernel where natural parameters are safe."""
    density, pass_over = theta.density(block), kernel()
    if pass_over is None or not isinstance(density, NaturalDensity):
        return theta.expected(block)
    natural, kind = density.natural, density.natural.kind
    K, S = natural.eta.shape
    eta = np.zeros((-(-K // 4) * 4, 1 + -(-(S - 1) // 4) * 4))
    eta[:K, :S] = natural.eta
    tables = (np.require(table, np.float64, ["C", "W"]) for table in (block.values, block.weights))
    products = 0 if kind.shared else 1 + kind.dense
    bound, sums = pass_over(*tables, eta, K, products)
    return ExpectedStatistics(bound + density.total_log_base(), density.moments_of(sums[:K, :S]))
