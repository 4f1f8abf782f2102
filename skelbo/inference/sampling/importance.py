r"""Importance sampling of p(z | x) from a Gaussian with a defensive part.

The proposal is a mixture, so that no region of the posterior is out of reach: the Gaussian that
fits the row (most draws), a wider Student t around the same centre, and the prior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from skelbo.inference.sampling.draws import Draws
from skelbo.likelihoods.gaussian import LOG_2PI

SHARES = (0.7, 0.2, 0.1)
STUDENT_DF, STUDENT_SCALE = 5.0, 1.5


@dataclass(frozen=True)
class BaseNoise:
    """Standard draws that become draws of a row's proposal.

    Attributes
    ----------
    normal : ndarray of shape (n_draws, n_rows or 1, n_latents)
        One set for all rows (scores that do not depend on the batch), or one for each.
    stretch : ndarray of shape (n_draws, n_rows or 1)
        Factors that turn normals into Student's t.
    part : ndarray of int, shape (n_draws,)
        Component that a draw is from: 0 the Gaussian, 1 the Student t, 2 the prior.
    chains : ndarray of int, shape (n_draws,)
        Draws of different chains are independent of each other; see `Draws`.
    """

    normal: np.ndarray
    stretch: np.ndarray
    part: np.ndarray
    chains: np.ndarray

    @classmethod
    def draw(cls, n_draws: int, n_latents: int, rng, n_rows: int = 1) -> BaseNoise:
        """Draw the noise; `rng` is a numpy.random.RandomState."""
        wide, prior = (max(1, round(n_draws * share)) for share in SHARES[1:])
        part = np.repeat(np.arange(3), (max(1, n_draws - wide - prior), wide, prior))
        normal = rng.standard_normal((len(part), n_rows, n_latents))
        chi = rng.chisquare(STUDENT_DF, (len(part), n_rows))
        return cls(normal, np.sqrt(STUDENT_DF / chi), part, np.arange(len(part)))

    @property
    def shares(self) -> np.ndarray:
        """Shares of the three parts."""
        return np.bincount(self.part, minlength=3) / len(self.part)

    @property
    def seed(self) -> int:
        """Seed of more noise, from the digits of the first draw."""
        return int(special.ndtr(self.normal.flat[0]) * 2.0**30)


def weigh(joint, centre, precision, noise: BaseNoise, second=None):
    """Return draws of the proposal, (S, n, d), and log p(x, z) - log q(z) of each, (S, n).

    `second` is the centre and precision of another mode, which then gets half of the Gaussian part.
    """
    n, d = centre.shape
    gaussian, wide, prior = (np.flatnonzero(noise.part == k) for k in range(3))
    factor = np.linalg.cholesky(precision)
    root = np.linalg.inv(factor)  # covariance = root' root
    stretch = noise.stretch.copy()
    stretch[gaussian] = 1.0
    stretch[wide] *= STUDENT_SCALE
    whitened = np.broadcast_to(noise.normal * stretch[..., None], (len(stretch), n, d)).copy()
    Z = centre + np.einsum("nij,sni->snj", root, whitened)
    Z[prior] = joint.defensive_draws(noise.normal[prior], centre, root)
    if second is not None:
        other, other_factor = second[0], np.linalg.cholesky(second[1])
        half = gaussian[1::2]
        Z[half] = other + np.einsum("nij,sni->snj", np.linalg.inv(other_factor), whitened[half])
        whitened[half] = np.einsum("nij,sni->snj", factor, Z[half] - centre)
    whitened[prior] = np.einsum("nij,sni->snj", factor, Z[prior] - centre)
    squares = (whitened**2).sum(-1)
    log_det = np.log(np.einsum("nkk->nk", factor)).sum(-1)
    normal = log_det - 0.5 * (squares + d * LOG_2PI)
    if second is not None:
        apart = (np.einsum("nij,sni->snj", other_factor, Z - other) ** 2).sum(-1)
        other_det = np.log(np.einsum("nkk->nk", other_factor)).sum(-1)
        share = len(half) / len(gaussian)
        normal = np.logaddexp(
            np.log1p(-share) + normal,
            np.log(share) + other_det - 0.5 * (apart + d * LOG_2PI),
        )
    densities = np.stack(
        [
            normal,
            log_det + _student(squares, d),
            joint.log_defensive_density(Z, squares, log_det),
        ]
    )
    shares = np.log(noise.shares)[:, None, None]
    return Z, joint.log_joint(Z) - special.logsumexp(densities + shares, axis=0)


def importance_draws(
    joint, centre, precision, noise, second=None
) -> tuple[Draws, np.ndarray, np.ndarray]:
    """Return weighted draws, the estimate of log p(x) and its standard error, (n,) each."""
    Z, log_weights = weigh(joint, centre, precision, noise, second)
    return normalised(Z, log_weights, noise.chains)


def normalised(Z, log_weights, chains) -> tuple[Draws, np.ndarray, np.ndarray]:
    """Return draws with normalised weights, log of the mean weight and its standard error.

    The error is that of `log_mean_error` for the chains, which are independent.
    """
    log_weights = np.where(np.isnan(log_weights), -np.inf, log_weights)
    log_total = special.logsumexp(log_weights, axis=0)
    draws = Draws(Z, np.exp(log_weights - log_total), chains)
    return draws, log_total - np.log(len(Z)), log_mean_error(draws.shares())


def log_mean_error(shares: np.ndarray) -> np.ndarray:
    """Return the standard error of the log of a mean of R terms with these shares, (R, n).

    The jackknife: its values are the logs of the mean without one term. Where that term carries
    nearly all of the mean, few draws have found most of what there is, and others may be as far
    above; there the error is as large as the change of the logarithm, while the spread of the
    terms divided by their mean never exceeds one. The jackknife is scaled to the standard
    deviation of Student's t with R - 1 degrees of freedom: the spread of few terms is uncertain.
    """
    R = len(shares)
    without = np.log(np.maximum(1 - shares, np.finfo(float).eps))
    squares = ((without - without.mean(0)) ** 2).sum(0)
    return np.sqrt((R - 1) / R * squares * (R - 1) / (R - 3))


def _student(squares, d):
    """Return the log-density of the wide part, but for the determinant of the precision."""
    df = STUDENT_DF
    constant = special.gammaln((df + d) / 2) - special.gammaln(df / 2)
    constant -= 0.5 * d * np.log(df * np.pi) + d * np.log(STUDENT_SCALE)
    return constant - 0.5 * (df + d) * np.log1p(squares / (STUDENT_SCALE**2 * df))
