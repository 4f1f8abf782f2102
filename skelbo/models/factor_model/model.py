r"""Factor models: a linear predictor eta = b + W z with standard normal z, one column at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from skelbo.likelihoods import Likelihood, as_likelihood
from skelbo.likelihoods.noise_floor import noise_floor
from skelbo.models.derivatives import complete_information, complete_scores
from skelbo.models.factor_model.gaussian_profile import (
    GaussianProfile,
    expected_information,
    second_moments,
)
from skelbo.models.factor_model.initialization import factor_start
from skelbo.models.factor_model.joint import FactorJoint
from skelbo.models.factor_model.rotation import axes_gradients, principal_axes, turns
from skelbo.models.heywood import HEYWOOD
from skelbo.models.interface import Model
from skelbo.models.model import LatentVariableModel
from skelbo.models.regression import maximize_at_points, maximize_columns

# Newton steps of a theta step on shared points, where they cost next to nothing.
POINT_STEPS = 4
# Log-odds that change by this much per standard deviation of a latent: the item is separable.
LARGE_LOADING = 6.0
# And by this much: it is not worth going on.
ENDLESS_LOADING = 12.0
RUNAWAY = (
    "the loadings of column {column} ran away (|loading| = {loading:.3g}): the column is "
    "separable, its likelihood has no maximum; remove the column, use fewer latents or collect "
    "more rows."
)
ONE_VALUE = (
    "column {column} is {value:g} in every row: its intercept runs away, its likelihood has no "
    "maximum; remove the column."
)


class FactorModel(Model, LatentVariableModel):
    r"""Factor analysis for real numbers, yes/no answers or counts.

    .. math:: \eta = b + W z, \quad z \sim N(0, I), \quad x_j \sim p(x_j \mid \eta_j)

    Parameters
    ----------
    n_latents : int, default=2
        Number of factors, at most that of the features.
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
    ``noise_variance``, (p,) or a scalar.

    Identifiability: p(x) does not change when z is rotated or a factor changes its sign. After a
    fit the factors are principal axes (:math:`W^T D W` diagonal, D the inverse noise variances, or
    the identity where there are none), in decreasing order, and the largest loading of each is
    positive; standard errors are those under this convention. A mean-field q does depend on the
    rotation (except where the likelihood is Gaussian and no cell is missing): there the fit turns
    the factors to where q loses least, and only their order and signs are settled afterwards.

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
    rotatable = True

    # -------------------------------------------------------------- contract

    @property
    def column_likelihood(self) -> Likelihood:
        """The likelihood of every column."""
        return as_likelihood(self.likelihood)

    @property
    def constraints(self) -> dict[str, str]:  # type: ignore[override]
        """Domains of the parameters."""
        return {"noise_variance": "positive"} if self.column_likelihood.has_noise else {}

    def check(self, X: np.ndarray) -> None:
        """Raise ValueError if the model or X cannot be used."""
        likelihood = self.column_likelihood
        if self.noise not in ("diag", "isotropic"):
            raise ValueError(f"noise={self.noise!r}, expected 'diag' or 'isotropic'.")
        if self.n_latents > X.shape[1]:
            raise ValueError(
                f"n_latents={self.n_latents} exceeds n_features={X.shape[1]}; use fewer latents "
                "(n_components)."
            )
        likelihood.check(X)

    def joint(self, X: np.ndarray, theta: dict[str, Any]) -> FactorJoint:
        """Return log p(x, z; theta) of these rows as a function of z."""
        missing = np.isnan(X)
        observed = None if not missing.any() else (~missing).astype(np.float64)
        values = X if observed is None else np.where(missing, 0.0, X)
        base = np.broadcast_to(self.column_likelihood.log_base(values), X.shape)
        base = base.sum(1) if observed is None else (base * observed).sum(1)
        noise = np.broadcast_to(theta.get("noise_variance", 1.0), X.shape[1])
        return FactorJoint(
            self.column_likelihood,
            theta["loadings"],
            theta["intercepts"],
            noise,
            values,
            observed,
            base,
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
        return factor_start(self, X, weights, rng, number)

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
        floor = noise_floor(X, weights.sum(0)) if self.column_likelihood.has_noise else None
        theta = maximize_columns(self, theta, X, weights, mean, covariance, floor, n_steps)
        return self._absorb_prior(theta, weights, mean, covariance) if expand else theta

    def maximize_at(self, theta, points, mass, totals, counts):
        """Raise E log p(x, z; theta) where all rows have their latents at the same points.

        Parameters
        ----------
        theta : dict
            Parameters to start from.
        points : ndarray of shape (n_points, n_latents)
        mass : ndarray of shape (n_points,)
            Expected weight of the rows at each point.
        totals, counts : ndarray of shape (n_points, n_features)
            Expected sums of their known cells, and number of them.
        """
        theta = maximize_at_points(self, theta, points, totals, counts, POINT_STEPS)
        return self._absorb_prior(theta, mass[None], points[None], None)

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
        if not self.column_likelihood.has_noise or np.isnan(X).any():
            return None
        share = weights / weights.sum()
        centre = share @ X
        covariance = second_moments(X, share, centre if self.fit_intercept else 0.0 * centre)
        intercepts = centre if self.fit_intercept else np.zeros(X.shape[1])
        floor = noise_floor(X, weights)
        isotropic = self.noise == "isotropic"
        return GaussianProfile(covariance, intercepts, self.n_latents, floor, isotropic)

    # ------------------------------------------------------------- after fit

    def identify(self, theta, *, rotate=True):
        """Return theta with rotation (if `rotate`), order and signs of the factors settled."""
        return principal_axes(theta, rotate=rotate)

    def rotate(self, theta, rotation):
        """Return theta for latents rotation @ z, (d, d): the same p(x)."""
        return {**theta, "loadings": theta["loadings"] @ rotation.T}

    def lower_limits(self, X, weights):
        """Return the floor of the noise variance."""
        if not self.column_likelihood.has_noise:
            return {}
        floor = noise_floor(X, weights)
        return {"noise_variance": floor if self.noise == "diag" else np.asarray(floor.mean())}

    def n_parameters(self, theta):
        """Return the number of free parameters: rotations of z do not count."""
        p, d = theta["loadings"].shape
        count = p * d - d * (d - 1) // 2 + p * bool(self.fit_intercept)
        return count + np.size(theta.get("noise_variance", ()))

    def is_rotation_invariant(self, X, posterior):
        """Return whether a rotation of z leaves the bound as it is."""
        gaussian = self.column_likelihood.has_noise and not np.isnan(X).any()
        return posterior in ("full", "exact") or gaussian

    def scores(self, theta, X, Z):
        """Return the gradient of log p(x, z; theta) in theta, (S, n, P)."""
        return complete_scores(self, theta, X, Z)

    def information(self, theta, X, Z, weights):
        """Return minus the Hessian of E log p(x, z; theta) in theta, (P, P)."""
        return complete_information(self, theta, X, Z, weights)

    def expected_information(self, theta, X, weights):
        """Return the information of log p(X) where it is a closed form, else None."""
        if not self.column_likelihood.has_noise or np.isnan(X).any():
            return None
        return expected_information(theta, weights.sum())

    def constraint_jacobian(self, theta):
        """Return the gradients of what settles the rotation: W' D W diagonal, b if not fitted."""
        return axes_gradients(theta, fit_intercept=self.fit_intercept)

    def invariant_directions(self, theta):
        """Return the directions in which theta can move without changing p(x), one a row."""
        return turns(theta, fit_intercept=self.fit_intercept)

    def mean(self, Z, theta):
        """Return E[x | z], (n, p)."""
        return self.column_likelihood.mean(theta["intercepts"] + Z @ theta["loadings"].T)

    def sample(self, n_samples, theta, rng):
        """Draw (x, z) from the joint."""
        Z = rng.standard_normal((n_samples, self.n_latents))
        eta = theta["intercepts"] + Z @ theta["loadings"].T
        return self.column_likelihood.sample(eta, theta.get("noise_variance", 1.0), rng), Z

    def diverges(self, theta) -> bool:
        """Return whether some column looks separable, so that a fit should stop."""
        largest = np.abs(theta["loadings"]).max()
        return self.column_likelihood.separable and largest > ENDLESS_LOADING

    def warnings(self, theta, X, weights) -> list[str]:
        """Return what a user should know about these parameters."""
        if not self.column_likelihood.has_noise:
            low, high = np.nanmin(X, axis=0), np.nanmax(X, axis=0)
            with np.errstate(divide="ignore"):
                limits = self.column_likelihood.offset(low, 0.0)
            at_end = (low == high) & ~np.isfinite(limits)
            found = [ONE_VALUE.format(column=j, value=low[j]) for j in np.flatnonzero(at_end)]
            size = np.abs(theta["loadings"]).max(1)
            runs = (size > LARGE_LOADING) & ~at_end & self.column_likelihood.separable
            return found + [RUNAWAY.format(column=j, loading=size[j]) for j in np.flatnonzero(runs)]
        noise = np.broadcast_to(theta["noise_variance"], X.shape[1])
        at_floor = noise <= noise_floor(X, weights) * 1.5
        return [HEYWOOD.format(column=j) for j in np.flatnonzero(at_floor)]
