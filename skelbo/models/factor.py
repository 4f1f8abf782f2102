r"""Factor models: a linear predictor eta = b + W z with standard normal z, one column at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skelbo.models.column_fit import CHUNK_CELLS, maximize_columns, predictor_variance
from skelbo.models.column_scores import complete_information, complete_scores
from skelbo.models.gaussian_factor import GaussianProfile, expected_information
from skelbo.models.likelihoods import LIKELIHOODS, LOG_2PI, Likelihood
from skelbo.models.model import LatentVariableModel

# Steps over the noise variances that a start makes where they have a closed form.
PROFILE_STEPS = 20
# Log-odds that change by this much per standard deviation of a latent: the item is separable.
LARGE_LOADING = 6.0
RUNAWAY = (
    "the loadings of column {column} ran away (|loading| = {loading:.3g}): the column is "
    "separable, its likelihood has no maximum; remove the column, use fewer latents or collect "
    "more rows."
)
HEYWOOD = (
    "the noise variance of column {column} reached its floor, 1e-6 of the column's variance (a "
    "Heywood case: the column is a function of the latents); use fewer latents, "
    "noise='isotropic', or remove the column."
)
# A noise variance below this share of its column's variance is a Heywood case: the likelihood
# climbs without end as the column becomes a function of the latents.
NOISE_FLOOR = 1e-6


@dataclass(frozen=True)
class FactorJoint:
    """log p(x, z; theta) of some rows as a function of z.

    Attributes
    ----------
    likelihood : Likelihood
    loadings : ndarray of shape (n_features, n_latents)
    intercepts : ndarray of shape (n_features,)
    noise : ndarray of shape (n_features,)
        Noise variances; ones where the likelihood has none.
    values : ndarray of shape (n_rows, n_features)
        The rows, zero where missing.
    observed : ndarray of shape (n_rows, n_features), or None
        1.0 where known, 0.0 where missing; None where all are known.
    base : ndarray of shape (n_rows,)
        What depends on x alone.
    """

    likelihood: Likelihood
    loadings: np.ndarray
    intercepts: np.ndarray
    noise: np.ndarray
    values: np.ndarray
    observed: np.ndarray | None
    base: np.ndarray

    # log p(z | x) is concave: one mode, which a Gaussian around it cannot miss.
    unimodal = True
    # Steps over q between two steps over theta: they are cheap.
    n_steps = 100

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, n_latents)."""
        return len(self.values), self.loadings.shape[1]

    def take(self, rows) -> FactorJoint:
        """Return the joint of some of the rows."""
        observed = None if self.observed is None else self.observed[rows]
        return replace(self, values=self.values[rows], observed=observed, base=self.base[rows])

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Return a rough posterior mean (n, d) and precision (n, d, d) of each row."""
        eta, weight = self.likelihood.working(self.values, self.noise)
        weight = self._known(weight)
        precision = self._quadratic(weight)
        pull = (weight * (eta - self.intercepts)) @ self.loadings
        return np.linalg.solve(precision, pull[..., None])[..., 0], precision

    def expected(self, mean, covariance=None):
        """Return E log p(x|z), E log p(x,z), its gradient in the mean and E of minus its Hessian.

        Parameters
        ----------
        mean : ndarray of shape (n_rows, n_latents)
        covariance : ndarray of shape (n_rows, n_latents[, n_latents]) or None
            Full, diagonal, or none: the values at `mean` itself.
        """
        W, d = self.loadings, self.loadings.shape[1]
        eta = self.intercepts + mean @ W.T
        square = (mean**2).sum(-1)
        if covariance is None:
            value, slope, curvature = self.likelihood.point(self.values, eta, self.noise)
        else:
            variance = predictor_variance(covariance, W)
            reach = np.sqrt((W**2).sum(1).max())
            value, slope, curvature = self.likelihood.expected(
                self.values, eta, variance, self.noise, reach
            )
            full = covariance.ndim == 3
            square += np.trace(covariance, axis1=1, axis2=2) if full else covariance.sum(-1)
        reconstruction = self._known(value).sum(-1) + self.base
        energy = reconstruction - 0.5 * (square + d * LOG_2PI)
        gradient = self._known(slope) @ W - mean
        return reconstruction, energy, gradient, self._quadratic(self._known(curvature))

    def log_likelihood(self, Z):
        """Return log p(x | z), (S, n), for Z of shape (S, n, d)."""
        result = np.empty(Z.shape[:2])
        size = max(1, CHUNK_CELLS // self.values.size)
        for first in range(0, len(Z), size):
            part = slice(first, first + size)
            eta = self.intercepts + Z[part] @ self.loadings.T
            value = self.likelihood.value(self.values, eta, self.noise)
            result[part] = self._known(value).sum(-1)
        return result + self.base

    def log_prior(self, Z):
        """Return log p(z), (S, n)."""
        return -0.5 * ((Z**2).sum(-1) + Z.shape[-1] * LOG_2PI)

    def log_joint(self, Z):
        """Return log p(x, z), (S, n)."""
        return self.log_likelihood(Z) + self.log_prior(Z)

    def gradient(self, Z):
        """Return log p(x, z), (S, n), and its gradient in z, (S, n, d)."""
        eta = self.intercepts + Z @ self.loadings.T
        value, slope, _ = self.likelihood.point(self.values, eta, self.noise)
        log_joint = self._known(value).sum(-1) + self.base + self.log_prior(Z)
        return log_joint, self._known(slope) @ self.loadings - Z

    @property
    def gaussian(self) -> bool:
        """Whether p(z | x) is a Gaussian, which `start` then gives exactly."""
        return self.likelihood.has_noise

    def spread(self, normal, centre, root):
        """Turn standard normals (S, n or 1, d) into draws that cover the prior."""
        return np.broadcast_to(normal, (len(normal), *centre.shape))

    def log_spread(self, Z, centre, squares, log_det):
        """Return the log-density of `spread`, (S, n)."""
        return self.log_prior(Z)

    def _known(self, cells):
        return cells if self.observed is None else cells * self.observed

    def _quadratic(self, weight):
        """Return I + W' diag(weight_i) W of each row, as one product of matrices."""
        p, d = self.loadings.shape
        products = (self.loadings[:, :, None] * self.loadings[:, None, :]).reshape(p, d * d)
        return np.eye(d) + (weight @ products).reshape(-1, d, d)


class FactorModel(LatentVariableModel):
    r"""Factor analysis for real numbers, yes/no answers or counts.

    .. math:: \eta = b + W z, \quad z \sim N(0, I), \quad x_j \sim p(x_j \mid \eta_j)

    Parameters
    ----------
    n_latents : int, default=2
        Number of factors.
    likelihood : {"gaussian", "bernoulli", "poisson"}, default="gaussian"
        Factor analysis (probabilistic PCA with isotropic noise); latent-trait model (2PL of item
        response theory with one latent); Poisson-lognormal PCA.
    noise : {"diag", "isotropic"}, default="diag"
        Noise variance of each column, or one for all. Gaussian likelihood only.
    fit_intercept : bool, default=True
        Whether b is fitted; else it is zero.

    Notes
    -----
    Parameters ``loadings (p, d)``, ``intercepts (p,)`` and, for the Gaussian likelihood,
    ``noise_variance``, (p,) or a scalar. The likelihood does not change when z is rotated. After
    a fit the factors are principal axes (:math:`W^T D W` diagonal, D the inverse noise variance
    or the identity), in decreasing order, and the largest loading of each is positive. A
    mean-field q does depend on the rotation (except where the likelihood is Gaussian and no cell
    is missing): there only order and signs are settled.

    Noise variances are kept above 1e-6 of the columns' variances (Heywood cases).

    References
    ----------
    Tipping and Bishop (1999) for PPCA; Bock and Aitkin (1981) for latent traits; Chiquet,
    Mariadassou and Robin (2018) for Poisson-lognormal PCA.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skelbo import VariationalEM
    >>> from skelbo.models import FactorModel
    >>> ppca = VariationalEM(model=FactorModel(2, noise="isotropic")).fit(load_iris().data)
    >>> round(150 * ppca.score(load_iris().data), 3)
    -404.963
    """

    def __init__(self, n_latents=2, *, likelihood="gaussian", noise="diag", fit_intercept=True):
        self.n_latents = n_latents
        self.likelihood = likelihood
        self.noise = noise
        self.fit_intercept = fit_intercept

    # The prior's mean and covariance can be fitted and taken up in b and W.
    expandable = True

    # -------------------------------------------------------------- contract

    @property
    def _kind(self) -> Likelihood:
        return LIKELIHOODS[self.likelihood]

    @property
    def constraints(self) -> dict[str, str]:  # type: ignore[override]
        """Domains of the parameters."""
        return {"noise_variance": "positive"} if self.likelihood == "gaussian" else {}

    def check(self, X: np.ndarray) -> None:
        """Raise ValueError if the model or X cannot be used."""
        if self.likelihood not in LIKELIHOODS:
            raise ValueError(
                f"likelihood={self.likelihood!r}, expected one of {sorted(LIKELIHOODS)}."
            )
        if self.noise not in ("diag", "isotropic"):
            raise ValueError(f"noise={self.noise!r}, expected 'diag' or 'isotropic'.")
        if self.n_latents > X.shape[1]:
            raise ValueError(
                f"n_latents={self.n_latents} exceeds n_features={X.shape[1]}; use fewer latents "
                "(n_components)."
            )
        self._kind.check(X)

    def joint(self, X: np.ndarray, theta: dict[str, Any]) -> FactorJoint:
        """Return log p(x, z; theta) of these rows as a function of z."""
        missing = np.isnan(X)
        observed = None if not missing.any() else (~missing).astype(np.float64)
        values = X if observed is None else np.where(missing, 0.0, X)
        base = self._kind.base(values)
        base = base.sum(1) if observed is None else (base * observed).sum(1)
        noise = np.broadcast_to(theta.get("noise_variance", 1.0), X.shape[1])
        return FactorJoint(
            self._kind, theta["loadings"], theta["intercepts"], noise, values, observed, base
        )

    def log_likelihood(self, X, Z, theta):
        """Return log p(x | z; theta), (n_draws, n_samples), in nats; NumPy arrays."""
        return self.joint(np.asarray(X), theta).log_likelihood(np.asarray(Z))

    # ----------------------------------------------------------------- starts

    def initialize(self, X, rng):
        """Return principal axes of a rough linear predictor, whatever `rng`."""
        return self.start(np.asarray(X), np.ones(len(X)), rng, 0)

    def start(self, X, weights, rng, number):
        """Return the parameters of a start: principal axes, perturbed from the second on."""
        profile = self.profile(X, weights)
        if profile is not None and not number:
            variances = profile.start()
            for _ in range(PROFILE_STEPS):
                variances = profile.m_step(profile.e_step(variances)[1], variances)
            return profile.theta(variances)
        known = ~np.isnan(X)
        share = weights[:, None] * known
        total = share.sum(0)
        eta = self._kind.working(np.where(known, X, 0.0), np.ones(X.shape[1]))[0]
        centre = (share * eta).sum(0) / total if self.fit_intercept else np.zeros(X.shape[1])
        residual = np.where(known, eta - centre, 0.0)
        covariance = (weights[:, None] * residual).T @ residual / weights.sum()
        scale = np.diagonal(covariance).copy()
        scale[scale <= 0] = scale.mean() or 1.0
        half = residual_axes(covariance / np.sqrt(scale[:, None] * scale), self.n_latents)
        loadings = np.sqrt(scale)[:, None] * half
        if number:
            loadings += np.sqrt(scale / 2)[:, None] * rng.standard_normal(loadings.shape)
        if self.likelihood == "bernoulli":
            share_of_ones = (share * np.where(known, X, 0)).sum(0) / total
            share_of_ones = np.clip(share_of_ones, 0.5 / total, 1 - 0.5 / total)
            centre = np.log(share_of_ones / (1 - share_of_ones)) * self.fit_intercept
        # A mean-field q loses least along the axes in which the posteriors are widest apart; the
        # bound's saddles between rotations cost it hundreds of iterations.
        level = (share * np.where(known, X, 0.0)).sum(0) / total
        pull = np.sqrt(self._kind.information(level, scale))[:, None] * loadings
        loadings = loadings @ np.linalg.svd(pull, full_matrices=False)[2].T
        theta = {"loadings": loadings, "intercepts": centre}
        if self._kind.has_noise:
            noise = np.maximum(scale - (loadings**2).sum(1), 0.2 * scale)
            theta["noise_variance"] = noise if self.noise == "diag" else np.asarray(noise.mean())
        return theta

    # ------------------------------------------------------------ theta step

    def maximize(self, theta, X, weights, mean, covariance=None, *, n_steps=2, expand=False):
        """Raise E log p(x, z; theta) under Gaussians, or draws, of z; never lower it.

        Parameters
        ----------
        theta : dict
            Parameters to start from.
        X : ndarray of shape (n_rows, n_features)
            Rows, NaN where missing.
        weights : ndarray of shape (n_draws, n_rows)
            Weights of the latents; 1 draw for a Gaussian q.
        mean : ndarray of shape (n_draws, n_rows, n_latents)
            Draws, or means of q.
        covariance : ndarray of shape (n_rows, n_latents[, n_latents]), optional
            Covariance of q; a draw is a Gaussian without width.
        n_steps : int
            Number of guarded Newton steps; one is exact for the Gaussian likelihood.
        expand : bool
            Also fit the mean and covariance of the prior and take them up in b and W: PX-EM.

        References
        ----------
        Liu, Rubin and Wu (1998) for parameter expansion.
        """
        floor = noise_floor(X, weights.sum(0))
        theta = maximize_columns(self, theta, X, weights, mean, covariance, floor, n_steps)
        return self._absorb_prior(theta, weights, mean, covariance) if expand else theta

    def prior_moments(self, weights, mean, covariance=None):
        """Return the mean of z over all rows, (d,), and a root of its covariance, (d, d)."""
        d = self.n_latents
        flat, share = mean.reshape(-1, d), weights.ravel() / weights.sum()
        centre = share @ flat if self.fit_intercept else np.zeros(d)
        spread = (share[:, None] * (flat - centre)).T @ (flat - centre)
        if covariance is None:
            return centre, np.linalg.cholesky(spread)
        width = weights.sum(0) @ covariance.reshape(len(covariance), -1) / weights.sum()
        if covariance.ndim == 3:
            return centre, np.linalg.cholesky(spread + width.reshape(d, d))
        # A diagonal q stays one only if each latent is stretched by itself.
        return centre, np.diag(np.sqrt(np.diagonal(spread) + width))

    def _absorb_prior(self, theta, weights, mean, covariance):
        centre, root = self.prior_moments(weights, mean, covariance)
        loadings = theta["loadings"]
        intercepts = theta["intercepts"] + loadings @ centre
        return {**theta, "loadings": loadings @ root, "intercepts": intercepts}

    def profile(self, X, weights):
        """Return the profile likelihood of the noise variances where it exists, else None.

        It does for the Gaussian likelihood of complete rows: the covariance of X is sufficient.
        """
        if not self._kind.has_noise or np.isnan(X).any():
            return None
        share = weights / weights.sum()
        centre = share @ X
        residual = X - (centre if self.fit_intercept else 0.0)
        covariance = (share[:, None] * residual).T @ residual
        intercepts = centre if self.fit_intercept else np.zeros(X.shape[1])
        floor = noise_floor(X, weights)
        isotropic = self.noise == "isotropic"
        return GaussianProfile(covariance, intercepts, self.n_latents, floor, isotropic)

    # ------------------------------------------------------------- after fit

    def identify(self, theta, *, rotate=True):
        """Return theta with rotation (if `rotate`), order and signs of the factors settled."""
        noise = theta.get("noise_variance", 1.0)
        units = np.sqrt(np.broadcast_to(noise, len(theta["loadings"])))[:, None]
        loadings = theta["loadings"]
        if rotate:
            left, size, _ = np.linalg.svd(loadings / units, full_matrices=False)
            loadings = units * left * size
        order = np.argsort(-((loadings / units) ** 2).sum(0), kind="stable")
        loadings = loadings[:, order]
        largest = np.take_along_axis(loadings, np.abs(loadings).argmax(0)[None], 0)
        return {**theta, "loadings": loadings * np.where(largest < 0, -1.0, 1.0)}

    def n_parameters(self, theta):
        """Return the number of free parameters: rotations of z do not count."""
        p, d = theta["loadings"].shape
        count = p * d - d * (d - 1) // 2 + p * bool(self.fit_intercept)
        return count + np.size(theta.get("noise_variance", ()))

    def rotation_free(self, X, posterior):
        """Tell whether a rotation of z leaves the bound as it is."""
        return posterior == "full" or (self._kind.has_noise and not np.isnan(X).any())

    def scores(self, theta, X, Z):
        """Return the gradient of log p(x, z; theta) in theta, (S, n, P)."""
        return complete_scores(self, theta, X, Z)

    def information(self, theta, X, Z, weights):
        """Return minus the Hessian of E log p(x, z; theta) in theta, (P, P)."""
        return complete_information(self, theta, X, Z, weights)

    def closed_information(self, theta, X, weights):
        """Return the information of log p(X) where it is a closed form, else None."""
        if not self._kind.has_noise or np.isnan(X).any():
            return None
        return expected_information(theta, weights.sum())

    def constraint_jacobian(self, theta):
        """Return the gradients of what settles the rotation: W' D W diagonal, b if not fitted."""
        W, names = theta["loadings"], list(theta)
        d, noise = W.shape[1], np.broadcast_to(theta.get("noise_variance", 1.0), len(W))
        rows = []
        for a in range(d):
            for b in range(a + 1, d):
                gradient = {name: np.zeros(np.shape(theta[name])) for name in names}
                gradient["loadings"][:, a] = W[:, b] / noise
                gradient["loadings"][:, b] = W[:, a] / noise
                if np.ndim(theta.get("noise_variance", 1.0)):
                    gradient["noise_variance"] = -W[:, a] * W[:, b] / noise**2
                rows.append(np.concatenate([gradient[name].ravel() for name in names]))
        return np.array(rows + self._frozen(theta)).reshape(
            -1, sum(np.size(theta[k]) for k in names)
        )

    def tangents(self, theta):
        """Return the directions in which theta can move without changing p(x), one a row."""
        W, names = theta["loadings"], list(theta)
        rows = []
        for a in range(W.shape[1]):
            for b in range(a + 1, W.shape[1]):
                turn = {name: np.zeros(np.shape(theta[name])) for name in names}
                turn["loadings"][:, a], turn["loadings"][:, b] = -W[:, b], W[:, a]
                rows.append(np.concatenate([turn[name].ravel() for name in names]))
        return np.array(rows + self._frozen(theta)).reshape(
            -1, sum(np.size(theta[k]) for k in names)
        )

    def _frozen(self, theta):
        if self.fit_intercept:
            return []
        first = sum(np.size(theta[name]) for name in list(theta)[: list(theta).index("intercepts")])
        size = sum(np.size(value) for value in theta.values())
        return list(np.eye(size)[first : first + len(theta["intercepts"])])

    def mean(self, Z, theta):
        """Return E[x | z], (n, p)."""
        return self._kind.mean(theta["intercepts"] + Z @ theta["loadings"].T)

    def sample(self, n_samples, theta, rng):
        """Draw (x, z) from the joint."""
        Z = rng.standard_normal((n_samples, self.n_latents))
        eta = theta["intercepts"] + Z @ theta["loadings"].T
        return self._kind.draw(eta, theta.get("noise_variance", 1.0), rng), Z

    def warnings(self, theta, X) -> list[str]:
        """Return what a user should know about these parameters."""
        if self.likelihood == "bernoulli":
            return [
                RUNAWAY.format(column=j, loading=np.abs(theta["loadings"][j]).max())
                for j in np.flatnonzero(np.abs(theta["loadings"]).max(1) > LARGE_LOADING)
            ]
        if not self._kind.has_noise:
            return []
        noise = np.broadcast_to(theta["noise_variance"], X.shape[1])
        at_floor = noise <= noise_floor(X, np.ones(len(X))) * 1.5
        return [HEYWOOD.format(column=j) for j in np.flatnonzero(at_floor)]


def noise_floor(X: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the smallest noise variance of each column, (p,)."""
    share = weights[:, None] * ~np.isnan(X)
    total = share.sum(0)
    values = np.nan_to_num(X - np.nanmean(X, axis=0))
    variance = (share * values**2).sum(0) / total
    variance -= ((share * values).sum(0) / total) ** 2
    positive = variance[variance > 0]
    return NOISE_FLOOR * np.where(variance > 0, variance, positive.mean() if positive.size else 1.0)


def residual_axes(covariance: np.ndarray, n_latents: int) -> np.ndarray:
    """Return W, (p, d): principal axes of what noise of equal variance leaves of a covariance."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    rest = values[n_latents:].mean() if len(values) > n_latents else 0.0
    size = np.maximum(values[:n_latents] - rest, 0.05 * np.maximum(values[:n_latents], 1e-12))
    return vectors[:, :n_latents] * np.sqrt(size)
