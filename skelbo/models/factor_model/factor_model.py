r"""Factor models: a linear predictor eta = b + W z of every column, with standard normal z."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skelbo.data.column_moments import column_moments
from skelbo.likelihoods import Likelihood, as_likelihood
from skelbo.likelihoods.noise_floor import noise_floor
from skelbo.models.boundary_warnings import heywood_warnings, separation_warnings
from skelbo.models.complete_derivatives import mixed_information
from skelbo.models.factor_model.gaussian_information import (
    expected_information,
    observed_information,
)
from skelbo.models.factor_model.gaussian_profile import GaussianProfile, second_moments
from skelbo.models.factor_model.initialization import factor_start
from skelbo.models.factor_model.joint import FactorJoint
from skelbo.models.factor_model.prior_absorption import absorb_prior
from skelbo.models.factor_model.rotation import (
    principal_axes,
    principal_axes_gradients,
    rotation_directions,
)
from skelbo.models.linear_model import LinearModel
from skelbo.models.regression import maximize_at_points, maximize_columns

# Newton steps of a theta step on shared points, where they cost next to nothing.
POINT_STEPS = 4
# Loading, in log-odds, beyond which a separable item ends the fit.
DIVERGED_LOADING = 12.0


class FactorModel(LinearModel):
    r"""Factor analysis of real numbers, yes/no answers or counts.

    .. math:: \eta = b + W z, \quad z \sim N(0, I), \quad x_j \sim p(x_j \mid \eta_j)

    Parameters
    ----------
    n_latents : int, default=2
        Number of factors, at most that of the features.
    likelihood : {"gaussian", "bernoulli", "poisson"} or Likelihood, default="gaussian"
        Factor analysis (probabilistic PCA with isotropic noise); latent-trait model (2PL of item
        response theory with one latent); Poisson-lognormal PCA; or a likelihood of your own with
        a log-density that is concave in its predictor.
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
    positive; standard errors are those under this convention. The bound of a mean-field q depends
    on the rotation (unless the likelihood is Gaussian and no cell is missing): there the fit
    chooses the rotation of the largest bound, and the convention settles order and signs alone.

    Noise variances are kept above 1e-6 of the columns' variances (Heywood cases).

    References
    ----------
    Ding (2020), eq. 2 and 3, for the bound. Tipping and Bishop (1999) for probabilistic PCA; Bock
    and Aitkin (1981) for latent traits; Chiquet, Mariadassou and Robin (2018) for
    Poisson-lognormal PCA.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skelbo import VariationalEM
    >>> from skelbo.models import FactorModel
    >>> ppca = VariationalEM(model=FactorModel(2, noise="isotropic")).fit(load_iris().data)
    >>> round(150 * ppca.score(load_iris().data), 3)
    -404.963
    """

    expandable = True
    rotatable = True

    def __init__(self, n_latents=2, *, likelihood="gaussian", noise="diag", fit_intercept=True):
        self.n_latents = n_latents
        self.likelihood = likelihood
        self.noise = noise
        self.fit_intercept = fit_intercept

    @property
    def column_likelihood(self) -> Likelihood:
        """The likelihood of every column."""
        return as_likelihood(self.likelihood)

    @property
    def gaussian_posterior(self) -> bool:  # type: ignore[override]
        """True if p(z | x) is a Gaussian."""
        return self.column_likelihood.has_noise

    @property
    def constraints(self) -> dict[str, str]:  # type: ignore[override]
        """Domains of the parameters."""
        return {"noise_variance": "positive"} if self.column_likelihood.has_noise else {}

    def _has_closed_form(self, X) -> bool:
        """Return whether the covariance of the rows is sufficient: Gaussian and complete."""
        return self.column_likelihood.has_noise and not np.isnan(X).any()

    def parameter_shapes(self, n_features):
        """Return the shapes of the parameters.

        Parameters
        ----------
        n_features : int
            Number of columns.

        Returns
        -------
        dict of str to tuple of int

        Examples
        --------
        >>> from skelbo.models import FactorModel
        >>> FactorModel(2, likelihood="poisson").parameter_shapes(5)
        {'loadings': (5, 2), 'intercepts': (5,)}
        """
        shapes = {"loadings": (n_features, self.n_latents), "intercepts": (n_features,)}
        if self.column_likelihood.has_noise:
            shapes["noise_variance"] = (n_features,) if self.noise == "diag" else ()
        return shapes

    # ----------------------------------------------------- density and starts

    def check(self, X: np.ndarray) -> None:
        """Raise an error if the hyperparameters or X cannot be used.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows, NaN where missing.

        Raises
        ------
        ValueError
            If a hyperparameter is out of its range, or a cell has no density.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo.models import FactorModel
        >>> FactorModel(1, likelihood="poisson").check(np.array([[0.0, 3.0], [2.0, np.nan]]))
        """
        likelihood = self.column_likelihood
        if self.noise not in ("diag", "isotropic"):
            raise ValueError(f"noise={self.noise!r}, expected 'diag' or 'isotropic'.")
        if not isinstance(self.fit_intercept, (bool, np.bool_)):
            raise ValueError(f"fit_intercept={self.fit_intercept!r}, expected True or False.")
        if self.n_latents > X.shape[1]:
            raise ValueError(
                f"n_latents={self.n_latents} exceeds n_features={X.shape[1]}; use fewer latents "
                "(n_components)."
            )
        likelihood.check(X)

    def check_fit(self, X):
        """Raise ValueError if X has counts that are too large for float64 in a fit.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows, NaN where missing.

        Raises
        ------
        ValueError
            With the column, the value and a remedy.
        """
        self.column_likelihood.check_fit(X)

    def start(self, X, weights, rng, number):
        """Return the parameters of a start: principal axes, perturbed from the second on."""
        return factor_start(self, X, weights, rng, number)

    def joint(self, X: np.ndarray, theta: dict[str, Any]) -> FactorJoint:
        """Return log p(x, z; theta) of rows (n, p) as a function of z."""
        loadings, intercepts = theta["loadings"], theta["intercepts"]
        likelihood = self.column_likelihood
        if likelihood.has_noise:  # far from zero x - b keeps digits that b + W z would lose
            X, intercepts = X - intercepts, np.zeros(X.shape[1])
        missing = np.isnan(X)
        observed = None if not missing.any() else (~missing).astype(np.float64)
        values = X if observed is None else np.where(missing, 0.0, X)
        base = np.broadcast_to(likelihood.log_base(values), X.shape)
        base = base.sum(1) if observed is None else (base * observed).sum(1)
        noise = np.broadcast_to(theta.get("noise_variance", 1.0), X.shape[1])
        return FactorJoint(likelihood, loadings, intercepts, noise, values, observed, base)

    # ------------------------------------------------------------- theta step

    def maximize(self, theta, X, weights, mean, covariance=None, *, n_steps=2, expand=False):
        """Raise the expected log-joint; one step is exact for the Gaussian likelihood."""
        theta = maximize_columns(self, theta, X, weights, mean, covariance, n_steps)
        if not expand:
            return theta
        return absorb_prior(theta, weights, mean, covariance, fit_intercept=self.fit_intercept)

    def maximize_at(self, theta, points, mass, totals, counts):
        """Raise the expected log-joint where all rows share points of z."""
        theta = maximize_at_points(self, theta, points, totals, counts, POINT_STEPS)
        return absorb_prior(theta, mass[None], points[None], None, fit_intercept=self.fit_intercept)

    def profile(self, X, weights):
        """Return the profile likelihood of the noise variances where it exists, else None."""
        if not self._has_closed_form(X):
            return None
        return GaussianProfile.of_rows(
            X,
            weights,
            self.n_latents,
            isotropic=self.noise == "isotropic",
            fit_intercept=self.fit_intercept,
        )

    def diverges(self, theta) -> bool:
        """Return whether some column looks separable, so that a fit should stop."""
        largest = np.abs(theta["loadings"]).max()
        return self.column_likelihood.separable and largest > DIVERGED_LOADING

    # ------------------------------------------------- rotations, derivatives

    def identify(self, theta, *, rotate=True):
        """Return theta with rotation (if `rotate`), order and signs of the factors settled."""
        return principal_axes(theta, rotate=rotate)

    def rotate(self, theta, rotation):
        """Return theta for latents rotation @ z, (d, d): the same p(x)."""
        return {**theta, "loadings": theta["loadings"] @ rotation.T}

    def is_rotation_invariant(self, X, posterior):
        """Return whether a rotation of z leaves the bound as it is."""
        return posterior in ("full", "exact") or self._has_closed_form(X)

    def expected_information(self, theta, X, weights):
        """Return the information of log p(X) where it is a closed form, else None."""
        return expected_information(theta, weights.sum()) if self._has_closed_form(X) else None

    def observed_information(self, theta, X, weights):
        """Return the information of log p(X) in these rows where it is a closed form, else None."""
        if not self._has_closed_form(X):
            return None
        share, mean = weights / weights.sum(), column_moments(X, weights).mean
        return observed_information(theta, weights.sum(), mean, second_moments(X, share, mean))

    def mixed_information(self, theta, X, Z, shares):
        """Return E of minus the derivatives of log p(x, z) in theta and z, and twice in z."""
        return mixed_information(self, theta, X, Z, shares)

    def constraint_jacobian(self, theta):
        """Return the gradients of W' D W off its diagonal and, if it is not fitted, of b."""
        return principal_axes_gradients(theta, fit_intercept=self.fit_intercept)

    def invariant_directions(self, theta):
        """Return the directions of rotations of z and, if it is not fitted, of b."""
        return rotation_directions(theta, fit_intercept=self.fit_intercept)

    # ---------------------------------------------------------------- answers

    def n_parameters(self, theta):
        """Return the number of free parameters: rotations of z do not count."""
        p, d = theta["loadings"].shape
        count = p * d - d * (d - 1) // 2 + p * bool(self.fit_intercept)
        return count + np.size(theta.get("noise_variance", ()))

    def draw_latents(self, n_samples, theta, rng):
        """Draw z from the prior, (n_samples, n_latents)."""
        return rng.standard_normal((n_samples, self.n_latents))

    def warnings(self, theta, X, weights) -> Sequence[str | Warning]:
        """Return messages about parameters at the edge of their domain."""
        if not self.column_likelihood.has_noise:
            return separation_warnings(self.column_likelihood, theta["loadings"], X)
        noise = np.broadcast_to(theta["noise_variance"], X.shape[1])
        return heywood_warnings(noise, noise_floor(X, weights))
