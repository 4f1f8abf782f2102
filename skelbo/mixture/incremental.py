"""Incremental EM with a memory: each batch updates theta, and a sweep reads it once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce
from itertools import accumulate
from operator import add

from skelbo.data.rows import Rows
from skelbo.em.loop import Ascent
from skelbo.gaussian.moments import Moments
from skelbo.gaussian.regularization import Regularization
from skelbo.mixture.mixture import Expected, Mixture


@dataclass(frozen=True)
class Remembered:
    """What is known of each batch under the theta that saw it last.

    Attributes
    ----------
    moments : tuple of Moments
        Expected moments, one a batch; immutable.
    entropy : tuple of float
        Entropy of q over the batch, in nats.
    """

    moments: tuple[Moments, ...]
    entropy: tuple[float, ...]


class IncrementalEM:
    r"""The E- and M-step of incremental EM, to be alternated by `skelbo.elbo.ascend`.

    q is remembered as each batch's expected moments and entropy. A sweep exchanges the batches'
    shares one by one, each followed by an M-step, so that the free energy

    .. math:: F(q, \theta) = \sum_b E_{q_b}[\log p(x, z; \theta)] + H[q_b] \le \log p(X; \theta)

    never falls. It is known exactly without another pass over the rows. Memory grows with the
    number of batches, not of rows: K p^2 numbers each.

    Parameters
    ----------
    rows : Rows
        The table, possibly a memory map.
    regularization : Regularization
    batch_size : int
        Rows in a batch.

    Notes
    -----
    Neal and Hinton (1998), eq. 7 and section 3; Hughes and Sudderth (2013) for the memory.
    """

    def __init__(self, rows: Rows, regularization: Regularization, batch_size: int):
        self.rows, self.rule, self.batch_size = rows, regularization, batch_size
        self._swept: tuple[Mixture, float, Remembered] | None = None

    def e_step(self, theta: Mixture) -> tuple[float, Remembered]:
        """Return the bound in nats per row, and q; no row is read if a sweep ended at theta."""
        if self._swept is not None and theta is self._swept[0]:
            return self._swept[1:]
        seen = [(theta, batch.total(theta.expected)) for batch in self._batches()]
        return self._free_energy(theta, remembered := _remember(seen)), remembered

    def m_step(self, known: Remembered, theta: Mixture) -> Mixture:
        """Sweep through the batches, updating theta after each."""
        # The sum of all batches but one, without subtraction: those before it are new, those
        # behind it old.
        behind = [*accumulate(reversed(known.moments), add)][::-1]
        theta = theta.m_step(behind[0], self.rule)
        before: Moments | None = None
        seen: list[tuple[Mixture, Expected]] = []
        for number, batch in enumerate(self._batches(), start=1):
            seen.append((theta, batch.total(theta.expected)))
            moments = seen[-1][1].moments
            before = moments if before is None else before + moments
            total = before + behind[number] if number < len(behind) else before
            theta = theta.m_step(total, self.rule)
        remembered = _remember(seen)
        self._swept = theta, self._free_energy(theta, remembered), remembered
        return theta

    def finished(self, ascent: Ascent) -> Ascent:
        """Return an ascent with log p(X; theta) itself, and its moments, at the end."""
        bound, moments = ascent.theta.e_step(self.rows)
        bounds = (*ascent.lower_bounds[:-1], bound) if ascent.lower_bounds else ()
        return replace(ascent, lower_bounds=bounds, statistics=moments)

    def _batches(self) -> Iterator[Rows]:
        """Yield the batches; those without a row of positive weight have no share."""
        for start in range(0, self.rows.n_samples, self.batch_size):
            batch = self.rows.part(start, start + self.batch_size)
            if batch.n_present:
                yield batch

    def _free_energy(self, theta: Mixture, q: Remembered) -> float:
        energy = theta.expected_log_joint(reduce(add, q.moments))
        return (energy + sum(q.entropy)) / self.rows.total_weight


def _remember(seen: list[tuple[Mixture, Expected]]) -> Remembered:
    """Keep of each batch what the bound and the M-step need: as q is exact, F is log p there."""
    return Remembered(
        tuple(expected.moments for _, expected in seen),
        tuple(
            expected.log_prob - theta.expected_log_joint(expected.moments)
            for theta, expected in seen
        ),
    )
