"""Weighted points that stand for p(z | x) of each row: a rule where there is one, else draws."""

from __future__ import annotations

import numpy as np

from skelbo.inference.cubature import MAX_LATENTS, nodes_per_axis, posterior_rule
from skelbo.inference.log_marginal import log_marginal
from skelbo.inference.posteriors.gaussian_posterior import find_mode, fit_gaussian
from skelbo.inference.sampling.draws import Draws
from skelbo.inference.sampling.importance import BaseNoise, importance_draws

MIN_DRAWS, MAX_DRAWS = 40, 1000
# Points of rules that are tried where p(z | x) may have several modes, and the agreement, in nats,
# of log p(x) by a rule, by the rule turned, and by other methods to within their errors, without
# which it is not used.
MAX_POINTS, AGREEMENT, ERRORS = (50, 150), 1e-3, 5.0


def posterior_points(joint, noise: BaseNoise, max_points: float) -> Draws:
    """Return weighted points that stand for p(z | x) of each row."""
    d = joint.shape[1]
    if joint.latent == "continuous" and d <= MAX_LATENTS and joint.unimodal:
        max_points = 0.0 if joint.gaussian else max_points  # few points are exact there
        return posterior_rule(joint, *_gaussian_near(joint, max_points), max_points).draws
    log_prob, error, draws = log_marginal(joint, noise)
    if draws is None:
        mean, precision = joint.start()
        return importance_draws(joint, mean, precision, noise)[0]
    if joint.latent == "continuous" and d <= MAX_LATENTS:
        # Scores of a model without closed forms cost as much as all else: few points, if they do.
        for n_points in (min(max_points, limit) for limit in MAX_POINTS):
            near = _gaussian_near(joint, n_points)
            rule = posterior_rule(joint, *near, n_points)
            turned = posterior_rule(joint, *near, n_points, turned=True)
            close = np.abs(rule.log_prob - turned.log_prob) < AGREEMENT
            if np.all(close & (np.abs(rule.log_prob - log_prob) < AGREEMENT + ERRORS * error)):
                return rule.draws
    return draws


def _gaussian_near(joint, max_points: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and precision of a Gaussian near p(z | x): Laplace's if nodes are many."""
    if joint.gaussian:
        return joint.start()
    if not nodes_per_axis(joint.shape[1], max_points):
        q = fit_gaussian(joint)
        return q.mean, q.precision
    mode, precision = find_mode(joint)
    # A mode is found to within a share of log p(x, z), which may be large.
    gradient = joint.expected(mode)[2]
    return mode + np.linalg.solve(precision, gradient[..., None])[..., 0], precision


def base_noise(n_latents: int, max_points: float, seed: int) -> BaseNoise:
    """Return the noise behind expectations that no rule gives, as much as time allows."""
    n_draws = int(np.clip(max_points, MIN_DRAWS, MAX_DRAWS))
    return BaseNoise.draw(n_draws, n_latents, np.random.RandomState(seed))
