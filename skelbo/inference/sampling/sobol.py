r"""Randomised quasi-Monte Carlo: evenly spread base noise in independent copies.

Points of a Sobol sequence, with their binary digits shifted at random: every point is uniform, so
that means are unbiased, and together they leave smaller holes than independent ones, so that the
error of a smooth mean falls almost like 1 / S instead of :math:`1 / \sqrt{S}`. Copies with shifts
of their own are independent: their spread estimates the error.

L'Ecuyer and Lemieux (2002), *Recent advances in randomized quasi-Monte Carlo methods*.
"""

from __future__ import annotations

import numpy as np
from scipy import special
from scipy.stats import qmc

from skelbo.inference.sampling.importance import STUDENT_DF, BaseNoise

# Copies, and the shortest run of the sequence in which its first coordinate, the one that chooses
# the part of the proposal, has each eighth once: six are Gaussian, one is Student's, one the prior.
N_COPIES, PERIOD = 8, 8
PARTS = np.array([0, 0, 0, 0, 0, 0, 1, 2])
BITS = 30


class ShiftedSobol:
    """Source of base noise for many rows, in runs that continue the sequence.

    Parameters
    ----------
    shape : (int, int)
        Rows and latents.
    rng : numpy.random.RandomState
        Draws the shifts, one for every copy, row and coordinate.
    n_copies : int
        Independent copies: many give a precise error, few leave longer runs and a smaller one.
    """

    def __init__(self, shape: tuple[int, int], rng, n_copies: int = N_COPIES):
        n_rows, n_latents = shape
        self._begin(rng.randint(2**BITS, size=(n_copies, 1, n_rows, n_latents + 1)))

    def _begin(self, shifts: np.ndarray) -> None:
        self.shifts, self.n_copies, self.length = shifts, len(shifts), 0
        self.sequence = qmc.Sobol(shifts.shape[-1] + 1, scramble=False, bits=BITS)

    @classmethod
    def with_shifts(cls, shifts: np.ndarray) -> ShiftedSobol:
        """Return a source with given shifts, (n_copies, 1, n_rows, n_latents + 1)."""
        source = cls.__new__(cls)
        source._begin(shifts)
        return source

    def run(self, n_draws: int) -> BaseNoise:
        """Return the next draws, copy by copy: enough for `n_draws` in all, a power of two."""
        wanted = self.length + -(-n_draws // self.n_copies)
        total = max(PERIOD, 2 ** int(np.ceil(np.log2(wanted))))
        new, self.length = total - self.length, total
        points = self.sequence.random(new)
        digits = (points[:, 1:] * 2.0**BITS).astype(np.int64)
        shifted = digits[:, None] ^ self.shifts
        uniform = (shifted + 0.5).reshape(-1, *self.shifts.shape[2:]) / 2.0**BITS
        part = np.tile(PARTS[(points[:, 0] * PERIOD).astype(int)], self.n_copies)
        stretch = np.ones(uniform.shape[:2])
        wide = part == 1
        chi = 2 * special.gammaincinv(STUDENT_DF / 2, uniform[wide, :, -1])
        stretch[wide] = np.sqrt(STUDENT_DF / chi)
        copies = np.repeat(np.arange(self.n_copies), new)
        return BaseNoise(special.ndtri(uniform[..., :-1]), stretch, part, copies)
