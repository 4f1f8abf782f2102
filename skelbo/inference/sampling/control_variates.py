r"""Control variates: functions of z of posterior mean zero, which reduce Monte Carlo errors.

For continuous z and any field :math:`\phi`, Stein's identity: :math:`E[\nabla \cdot \phi + \phi^T
\nabla_z \log p(x, z)] = 0`. With affine fields it removes from a score all that a shift or stretch
of z explains; for counts in the hundreds that is nearly all of it, as z is then known far better
than theta, and the score of a shift of z is large and of mean zero. For binary z:
:math:`E[(z_k - p(z_k{=}1 \mid z_{-k}, x))\, h(z_{-k})] = 0` (Rao and Blackwell).

Mira, Solgi and Imparato (2013), *Zero variance Markov chain Monte Carlo for Bayesian estimators*.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from skelbo.inference.sampling.draws import Draws

# Draws per control, so that its coefficient is not fitted to the noise.
DRAWS_PER_CONTROL = 16
# Ridge, in squares of one draw: a coefficient must rest on more than one of them. A binary control
# without an event (a rare z_k never drawn) still varies a little, but its mean is not zero, and a
# large coefficient of its small values would magnify that.
RIDGE, RIDGE_BINARY = 1e-3, 0.5


def reduce_variance(values: np.ndarray, joint, draws: Draws) -> np.ndarray:
    """Return values (S, n, P) less their regression on controls, row by row.

    The posterior mean is the same, the error of its estimate is not. Coefficients for one half of
    the chains are fitted to the other: fitted to the same draws they would add a bias, tiny in a
    row, which does not cancel over many rows.
    """
    d = draws.Z.shape[2]
    if len(draws.Z) < DRAWS_PER_CONTROL * d:
        return values
    zero, ridge = (_binary if joint.latent == "binary" else _stein)(joint, draws)
    if len(draws.Z) < DRAWS_PER_CONTROL * zero.shape[2]:
        zero, ridge = zero[..., :d], ridge[:, :d]
    odd = draws.chains % 2 == 1
    rest = np.empty_like(values)
    for half in (odd, ~odd):
        slopes = _slopes(values[~half], zero[~half], draws.weights[~half], ridge / len(odd))
        part = zero[half].transpose(1, 0, 2) @ slopes
        rest[half] = values[half] - part.transpose(1, 0, 2)
    return rest


def _stein(joint, draws):
    """Return controls of affine fields, (S, n, d + d * d), constant fields first, and ridges."""
    shift = joint.gradient(draws.Z)[1]
    centred = draws.Z - draws.mean
    stretch = shift[..., :, None] * centred[..., None, :] + np.eye(centred.shape[2])
    zero = np.concatenate([shift, stretch.reshape(*shift.shape[:2], -1)], axis=2)
    share = draws.weights[..., None] * len(zero)
    return zero, RIDGE * (share * zero**2).max(0) + 1e-300


def _binary(joint, draws):
    """Return the controls with h = 1 and h = z_l, (S, n, d * d), the former first, and ridges."""
    Z, d = draws.Z, draws.Z.shape[2]
    own = np.stack(
        [Z[..., k] - special.expit(joint.conditional_logit(Z, k)) for k in range(d)], axis=2
    )
    products = own[..., :, None] * (Z - draws.mean)[..., None, :]
    zero = np.concatenate([own, products[..., ~np.eye(d, dtype=bool)]], axis=2)
    return zero, np.full(zero.shape[1:], RIDGE_BINARY)


def _slopes(values, zero, weights, ridge) -> np.ndarray:
    """Return the coefficients of a weighted ridge regression with intercept, (n, K, P)."""
    weights = weights / np.maximum(weights.sum(0), 1e-300)
    centred = zero - np.einsum("sn,snk->nk", weights, zero)
    by_row = np.ascontiguousarray((weights[..., None] * centred).transpose(1, 2, 0))
    gram = by_row @ centred.transpose(1, 0, 2)
    gram += ridge[:, None, :] * np.eye(gram.shape[1])
    return np.linalg.solve(gram, by_row @ values.transpose(1, 0, 2))
