r"""Unit of a table, in which products of its moments stay within float64.

The information about a noise variance is of the size of :math:`1 / \sigma^4`, beyond float64 for
columns of scale 1e-78. A power of two as the unit of all columns changes no digit of a result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skelbo.data.column_moments import SMALLEST, ColumnMoments
from skelbo.inference.distinct_rows import DistinctRows
from skelbo.models.interface import Model, Theta

# Largest exponent of a cell in the unit of its table.
MAX_EXPONENT = 900


@dataclass(frozen=True)
class TableUnit:
    """Power of two as the unit of all columns.

    Attributes
    ----------
    exponent : int
        The unit is two to this power.
    powers : dict of str to int
        Power of the unit that each parameter is proportional to; 0 if not given.
    """

    exponent: int
    powers: dict[str, int]

    @classmethod
    def of_rows(cls, model: Model, data: DistinctRows) -> TableUnit:
        """Return the middle of the largest and the smallest scale of a column.

        It is 1 for models whose parameters do not follow a common unit of the columns.

        Raises
        ------
        ValueError
            If all cells are so small that the inverse of a noise variance overflows.
        """
        if not model.unit_powers:
            return cls(0, {})
        # A column of one value has the scale of the others, or of its size.
        size = float(np.nanmax(np.abs(data.X)))
        if 0 < size < SMALLEST:
            raise ValueError(
                f"the largest cell of X is {size:.3g} in size, whose square underflows float64; "
                "multiply all columns by a constant."
            )
        variances = ColumnMoments.of_table(data.X, data.weights).positive_variance
        exponents = np.frexp(np.sqrt(variances))[1]
        largest = int(np.frexp(size)[1])
        middle = (int(exponents.min()) + int(exponents.max())) // 2
        return cls(max(middle, largest - MAX_EXPONENT), model.unit_powers)

    def table(self, data: DistinctRows) -> DistinctRows:
        """Return rows in this unit."""
        return replace(data, X=np.ldexp(data.X, -self.exponent))

    def relative(self, theta: Theta) -> Theta:
        """Return parameters in this unit."""
        return self._scaled(theta, -self.exponent)

    def absolute(self, theta: Theta) -> Theta:
        """Return parameters, or their errors, in the units of the data; inverse of `relative`."""
        return self._scaled(theta, self.exponent)

    def log_density(self, data: DistinctRows) -> float:
        """Return log p(x) in the units of the data less that in this unit, in nats per row."""
        n_cells = data.mean((~np.isnan(data.X)).sum(1))
        return -n_cells * self.exponent * float(np.log(2.0))

    def _scaled(self, theta: Theta, exponent: int) -> Theta:
        return {k: np.ldexp(v, self.powers.get(k, 0) * exponent) for k, v in theta.items()}
