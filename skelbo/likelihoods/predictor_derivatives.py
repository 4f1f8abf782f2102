r"""Derivatives of a log-kernel, and their means over a Gaussian predictor, without closed forms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# On an analytic integrand the rule errs by exp(-2 pi d / step), d the distance to the nearest
# pole: pi / sd for the logistic function. A step of 1 / sd leaves 3e-9 and needs fewer nodes than
# Gauss-Hermite where sd is large; beyond +-6.2 sd a Gaussian has 6e-10 of its mass.
STEP, REACH, MAX_NODES = 1.0, 6.2, 321


def trapezoid(scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights for the mean of a function of scale * z, z ~ N(0, 1).

    Both are (n_nodes,). The function is as smooth as the logistic one.
    """
    step = min(0.66, STEP / max(scale, 1e-300))
    half = min(int(np.ceil(REACH / step)), MAX_NODES // 2)
    nodes = np.arange(-half, half + 1) * (REACH / half)
    weights = np.exp(-0.5 * nodes**2)
    return nodes, weights / weights.sum()


def gaussian_mean(
    derivatives: Callable, x, mean, variance, noise, reach: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return means of `Likelihood.derivatives` over eta ~ N(mean, variance), by the trapezoid rule.

    See `Likelihood.expected` for the arguments.
    """
    deviation = np.sqrt(variance)
    value, slope, curvature = np.zeros((3, *np.shape(mean)))
    for node, weight in zip(*trapezoid(reach), strict=True):
        parts = derivatives(x, mean + node * deviation, noise)
        for total, part in zip((value, slope, curvature), parts, strict=True):
            total += weight * part
    return value, slope, curvature


def torch_derivatives(
    log_kernel: Callable, x, eta, noise
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a log-kernel, its first, and minus its second derivative in eta, by torch.

    See `Likelihood.derivatives` for the arguments.
    """
    import torch

    with torch.inference_mode(False), torch.enable_grad():
        x, eta, noise = (torch.tensor(np.asarray(a, dtype=np.float64)) for a in (x, eta, noise))
        shape = torch.broadcast_shapes(x.shape, eta.shape, noise.shape)
        point = eta.expand(shape).clone().requires_grad_()
        value = log_kernel(x, point, noise)
        (slope,) = torch.autograd.grad(value.sum(), point, create_graph=True)
        # Where the log-kernel is linear there is no graph behind the slope: add one of slope 0.
        (bend,) = torch.autograd.grad(slope.sum() + 0.0 * point.sum(), point)
    return value.detach().numpy(), slope.detach().numpy(), -bend.numpy()
