"""Numba kernel of the E-step and the sums for the M-step, tile by tile.

A tile is so short that t(x), the log-joint and the responsibilities of its rows stay in the
fastest cache; every loop over the rows of a tile compiles to vector instructions, and the products
keep four by four sums in registers. exp and log are written out: calls of the library's are not
vectorised.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from llvmlite import ir
from numba import float64, int64
from numba.extending import intrinsic

TILE = 256
LN2, LN2_TAIL = float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")
ROUND = 1.5 * 2.0**52  # added to a float, it leaves the nearest integer in the last bits
ROOT_HALF = int(np.sqrt(0.5).view(np.int64))
SMALLEST = -708.0  # its exponential is the last before precision is lost
EXP = tuple(1 / math.factorial(i) for i in range(13))  # Taylor series of exp(r), |r| < log(2) / 2
ARTANH = tuple(2 / (2 * i + 1) for i in range(11))  # and of 2 artanh(s) / s, in s^2

# Division by zero as in NumPy: a check would prevent vectorisation. Only sums may be reordered; no
# other assumption is made about numbers.
_options = {"cache": True, "nogil": True, "error_model": "numpy"}
_exact = numba.njit(**_options, fastmath={"contract"})
_sums = numba.njit(**_options, fastmath={"contract", "reassoc", "nsz"})


@intrinsic
def _bits(context, x):
    return int64(float64), lambda context, b, sig, args: b.bitcast(args[0], ir.IntType(64))


@intrinsic
def _number(context, x):
    return float64(int64), lambda context, b, sig, args: b.bitcast(args[0], ir.DoubleType())


@_exact
def exp(x):
    """Return e^x for x <= 0, as 2^m e^r: to 4e-16, and zero below e^-708."""
    y = x if x > SMALLEST else SMALLEST
    shifted = y * (1 / LN2) + ROUND
    m = shifted - ROUND
    r = y - m * LN2 - m * LN2_TAIL
    q = (((EXP[12] * r + EXP[11]) * r + EXP[10]) * r + EXP[9]) * r + EXP[8]
    q = ((((q * r + EXP[7]) * r + EXP[6]) * r + EXP[5]) * r + EXP[4]) * r + EXP[3]
    power = _number(_bits(((q * r + EXP[2]) * r + EXP[1]) * r + EXP[0]) + (_bits(shifted) << 52))
    return power if x > SMALLEST else 0.0


@_exact
def log(x):
    """Return log(x) for x >= 1 to 4e-16, with x = 2^m y and y near 1."""
    m = (_bits(x) - ROOT_HALF) >> 52
    y = _number(_bits(x) - (m << 52))
    s = (y - 1) / (y + 1)
    u = s * s
    q = ((((ARTANH[10] * u + ARTANH[9]) * u + ARTANH[8]) * u + ARTANH[7]) * u + ARTANH[6]) * u
    q = (((((q + ARTANH[5]) * u + ARTANH[4]) * u + ARTANH[3]) * u + ARTANH[2]) * u + ARTANH[1]) * u
    return m * LN2 + (m * LN2_TAIL + (q * s + ARTANH[0] * s))


@_exact
def statistics_of(values, products, t):
    """Write t(x), but for its leading one; see `expected_sums` for `products`."""
    p, s = len(values), 1 + len(values)
    for i in range(p):
        a, c = values[i], t[1 + i]
        for r in range(len(a)):
            c[r] = a[r]
    for i in range(p):
        for j in range(i, (0, i + 1, p)[products]):
            a, b, c = t[1 + i], t[1 + j], t[s]
            for r in range(TILE):
                c[r] = a[r] * b[r]
            s += 1


@_sums
def log_joint_of(eta, t, joint):
    """Write eta t(x), four components and four statistics at a time."""
    for k in range(0, len(eta), 4):
        j0, j1, j2, j3 = joint[k], joint[k + 1], joint[k + 2], joint[k + 3]
        e0, e1, e2, e3 = eta[k], eta[k + 1], eta[k + 2], eta[k + 3]
        for r in range(TILE):
            j0[r], j1[r], j2[r], j3[r] = e0[0], e1[0], e2[0], e3[0]
        for s in range(1, len(t), 4):
            t0, t1, t2, t3 = t[s], t[s + 1], t[s + 2], t[s + 3]
            a0, a1, a2, a3 = e0[s], e0[s + 1], e0[s + 2], e0[s + 3]
            b0, b1, b2, b3 = e1[s], e1[s + 1], e1[s + 2], e1[s + 3]
            c0, c1, c2, c3 = e2[s], e2[s + 1], e2[s + 2], e2[s + 3]
            d0, d1, d2, d3 = e3[s], e3[s + 1], e3[s + 2], e3[s + 3]
            for r in range(TILE):
                w, x, y, z = t0[r], t1[r], t2[r], t3[r]
                j0[r] += a0 * w + a1 * x + a2 * y + a3 * z
                j1[r] += b0 * w + b1 * x + b2 * y + b3 * z
                j2[r] += c0 * w + c1 * x + c2 * y + c3 * z
                j3[r] += d0 * w + d1 * x + d2 * y + d3 * z


@_exact
def exponentiate(joint, K, top, total):
    """Turn log p(x, z) into p(x, z) / p(x, z of the largest), `top`; sum it over z."""
    for r in range(TILE):
        top[r], total[r] = joint[0, r], 0.0
    for k in range(1, K):
        for r in range(TILE):
            top[r] = joint[k, r] if joint[k, r] > top[r] else top[r]
    for k in range(K):
        for r in range(TILE):
            joint[k, r] = exp(joint[k, r] - top[r])
            total[r] += joint[k, r]


@_sums
def add_sums(joint, K, t, top, total, weights, sums):
    """Scale to weighted responsibilities, add their sums of t(x); return the sum of log p(x)."""
    bound = 0.0
    for r in range(TILE):
        bound += weights[r] * (top[r] + log(total[r]))
        total[r] = weights[r] / total[r]
    for k in range(K):
        for r in range(TILE):
            joint[k, r] *= total[r]
        sums[k, 0] += joint[k].sum()
    for k in range(0, len(joint), 4):
        j0, j1, j2, j3 = joint[k], joint[k + 1], joint[k + 2], joint[k + 3]
        for s in range(1, len(t), 4):
            t0, t1, t2, t3 = t[s], t[s + 1], t[s + 2], t[s + 3]
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = 0.0
            c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = 0.0
            for r in range(TILE):
                w, x, y, z = t0[r], t1[r], t2[r], t3[r]
                a, b, c, d = j0[r], j1[r], j2[r], j3[r]
                a0, a1, a2, a3 = a0 + a * w, a1 + a * x, a2 + a * y, a3 + a * z
                b0, b1, b2, b3 = b0 + b * w, b1 + b * x, b2 + b * y, b3 + b * z
                c0, c1, c2, c3 = c0 + c * w, c1 + c * x, c2 + c * y, c3 + c * z
                d0, d1, d2, d3 = d0 + d * w, d1 + d * x, d2 + d * y, d3 + d * z
            tile = (a0, a1, a2, a3), (b0, b1, b2, b3), (c0, c1, c2, c3), (d0, d1, d2, d3)
            for i in range(16):
                sums[k + i // 4, s + i % 4] += tile[i // 4][i % 4]
    return bound


@_exact
def expected_sums(values, weights, eta, K, products):
    """Return the weighted sum of log p(x) - h(x) and the expected sums of t(x), tile by tile.

    Parameters
    ----------
    values : ndarray of shape (n_features, n_rows)
    weights : ndarray of shape (n_rows,)
    eta : ndarray of shape (K', S')
        Natural parameters, padded by zeros: K' is a multiple of four, S' - 1 too.
    K : int
        Number of components.
    products : int
        Products of columns in t(x): 0 none, 1 squares, 2 all.

    Returns
    -------
    bound : float
    sums : ndarray of shape (K', S')
    """
    joint, t = np.zeros((len(eta), TILE)), np.zeros((eta.shape[1], TILE))
    top, total, weight = np.empty(TILE), np.empty(TILE), np.empty(TILE)
    sums, bound = np.zeros_like(eta), 0.0
    for first in range(0, len(weights), TILE):
        rows = slice(first, min(first + TILE, len(weights)))
        for r in range(TILE):  # rows beyond a short tile get weight zero
            weight[r] = weights[first + r] if first + r < len(weights) else 0.0
        statistics_of(values[:, rows], products, t)
        log_joint_of(eta, t, joint)
        exponentiate(joint, K, top, total)
        bound += add_sums(joint, K, t, top, total, weight, sums)
    return bound, sums
