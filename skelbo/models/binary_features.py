r"""Binary latent features: every row is a sum of the features that it has, plus noise."""

from __future__ import annotations

import numpy as np
from scipy import special

from skelbo.data.column_moments import ColumnMoments
from skelbo.likelihoods import LIKELIHOODS
from skelbo.likelihoods.gaussian import LOG_2PI
from skelbo.models.binary_feature_joint import (
    BinaryFeatureJoint,
    QuadraticFeatureJoint,
    ResidualFeatureJoint,
)
from skelbo.models.boundary_warnings import heywood_warnings
from skelbo.models.factor_model.rotation import intercept_directions
from skelbo.models.linear_model import LinearModel
from skelbo.models.regression import maximize_columns

# Distance of the probabilities of features from 0 and 1, in rows: there a feature is dead.
SMALLEST_COUNT = 1e-3
# Rounding of a quadratic form, in nats, from which on residuals are taken instead.
LARGEST_ROUNDING = 1e-7
# Cells (states x rows x latents) up to which the theta step is given all states then.
MAX_CELLS = 2**24
# Probabilities of features that an annealed chain may still revive.
REVIVABLE = (0.02, 0.98)


class BinaryFeatureModel(LinearModel):
    r"""Overlapping clusters: x = W z + b + noise, with independent binary features z.

    .. math:: z_k \sim \mathrm{Bernoulli}(\pi_k), \quad x \mid z \sim N(W z + b, \Psi)

    Parameters
    ----------
    n_latents : int, default=2
        Number of latent features. It may exceed the number of columns: two columns can show the
        sums of three features.
    noise : {"diag", "isotropic"}, default="diag"
        Noise variance of each column, or one for all: only the first follows the units of columns.
    fit_intercept : bool, default=True
        Whether b is fitted; else it is zero.

    Notes
    -----
    Parameters ``loadings (p, d)``, ``intercepts (p,)``, ``noise_variance`` (scalar or (p,)) and
    ``probabilities (d,)``.

    Identifiability: features can change places, and so can a feature and its absence: z_k ->
    1 - z_k, w_k -> -w_k, b -> b + w_k. After a fit with intercept every feature is the rarer of
    the two (at most 1/2), and features come in decreasing probability.

    References
    ----------
    Ding (2020), eq. 3; Ghahramani and Jordan (1997) for the mean-field equations.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo import VariationalEM
    >>> rng = np.random.default_rng(0)
    >>> Z = rng.random((200, 2)) < [0.4, 0.2]
    >>> X = Z @ [[3.0, 0.0, 3.0], [0.0, 4.0, 4.0]] + 0.1 * rng.standard_normal((200, 3))
    >>> model = VariationalEM(2, random_state=0).fit(X)
    >>> bool(np.all(model.transform(X).round() == Z))
    True
    """

    latent = "binary"
    closed_form = True
    likelihood = "gaussian"
    constraints = {"noise_variance": "positive", "probabilities": "unit_interval"}

    def __init__(self, n_latents=2, *, noise="diag", fit_intercept=True):
        self.n_latents = n_latents
        self.noise = noise
        self.fit_intercept = fit_intercept

    @property
    def column_likelihood(self):
        """The Gaussian likelihood."""
        return LIKELIHOODS[self.likelihood]

    def check(self, X):
        """Raise an error if the hyperparameters cannot be used.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows, NaN where missing.

        Raises
        ------
        ValueError
            If a hyperparameter is out of its range.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo.models import BinaryFeatureModel
        >>> BinaryFeatureModel(3, noise="diag").check(np.zeros((5, 2)))
        """
        if self.noise not in ("diag", "isotropic"):
            raise ValueError(f"noise={self.noise!r}, expected 'isotropic' or 'diag'.")
        if not isinstance(self.fit_intercept, (bool, np.bool_)):
            raise ValueError(f"fit_intercept={self.fit_intercept!r}, expected True or False.")

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
        >>> from skelbo.models import BinaryFeatureModel
        >>> BinaryFeatureModel(2).parameter_shapes(5)["loadings"]
        (5, 2)
        """
        return {
            "loadings": (n_features, self.n_latents),
            "intercepts": (n_features,),
            "noise_variance": (n_features,) if self.noise == "diag" else (),
            "probabilities": (self.n_latents,),
        }

    def joint(self, X, theta) -> BinaryFeatureJoint:
        """Return log p(x, z; theta) of these rows as a function of z."""
        missing = np.isnan(X)
        known = ~missing if missing.any() else np.ones((1, X.shape[1]), dtype=bool)
        W, noise = theta["loadings"], np.broadcast_to(theta["noise_variance"], X.shape[1])
        residual = np.where(missing, 0.0, X - theta["intercepts"])
        log_odds = special.logit(theta["probabilities"])
        normalizer = known @ (np.log(noise) + LOG_2PI)
        if self._cancels(theta):
            constant = np.broadcast_to(-0.5 * normalizer, len(X))
            return ResidualFeatureJoint(log_odds, constant, residual, W, known / noise)
        constant = -0.5 * ((residual**2 / noise).sum(1) + normalizer)
        products = (W[:, :, None] * W[:, None, :]).reshape(len(W), -1)
        gram = ((known / noise) @ products).reshape(-1, W.shape[1], W.shape[1])
        return QuadraticFeatureJoint(log_odds, constant, (residual / noise) @ W, gram)

    def _cancels(self, theta) -> bool:
        """Return whether moments of z, and a quadratic form in them, lose digits of log p(x)."""
        squares = np.abs(theta["loadings"]).sum(1) ** 2 / theta["noise_variance"]
        return float(np.finfo(np.float64).eps * squares.sum()) > LARGEST_ROUNDING

    def start(self, X, weights, rng, number):
        """Return the parameters of a start: differences between random rows as features."""
        moments = ColumnMoments.of_table(X, weights)
        mean, variance, d = moments.mean, moments.positive_variance, self.n_latents
        chosen = rng.choice(len(X), (d, 2), p=weights / weights.sum())
        filled = np.where(np.isnan(X), mean, X)
        loadings = (filled[chosen[:, 0]] - filled[chosen[:, 1]]).T
        loadings = loadings + 0.1 * np.sqrt(variance)[:, None] * rng.standard_normal(loadings.shape)
        intercepts = mean - 0.5 * loadings.sum(1) if self.fit_intercept else 0 * mean
        noise = variance if self.noise == "diag" else np.asarray(variance.mean())
        return {
            "loadings": loadings,
            "intercepts": intercepts,
            "noise_variance": noise,
            "probabilities": np.full(d, 0.5),
        }

    def relaxation(self):
        """Return the model with an intercept.

        There a feature and its absence are the same up to b, so that a chain can exchange them;
        without an intercept it would have to pass through worse models.
        """
        return BinaryFeatureModel(self.n_latents, noise=self.noise)

    def restrict(self, theta):
        """Return theta without intercepts, features exchanged to bring them near 0 before."""
        if self.fit_intercept:
            return theta
        W, b, pi = theta["loadings"], theta["intercepts"], theta["probabilities"]
        flip = nearest_flips(W, b, np.broadcast_to(theta["noise_variance"], len(W)))
        W, pi = np.where(flip, -W, W), np.where(flip, 1 - pi, pi)
        return {**theta, "loadings": W, "intercepts": 0 * b, "probabilities": pi}

    def away_from_boundary(self, theta):
        """Return theta with the probabilities of features moved away from 0 and 1."""
        return {**theta, "probabilities": np.clip(theta["probabilities"], *REVIVABLE)}

    def maximize(self, theta, X, weights, mean, covariance=None, *, n_steps=2, expand=False):
        """Maximise the expected log-joint in closed form."""
        theta = maximize_columns(self, theta, X, weights, mean, covariance, 1)
        total = weights.sum()
        shares = (weights[..., None] * mean).sum((0, 1)) / total
        return {**theta, "probabilities": np.clip(shares, *_probability_limits(total))}

    def moments_suffice(self, theta, n_rows):
        """Return whether no digits of log p(x) are lost in moments of z."""
        return not self._cancels(theta) or 2**self.n_latents * n_rows * self.n_latents > MAX_CELLS

    def limits(self, X, weights):
        """Return the floor of the noise variance and the range of the probabilities."""
        return {**super().limits(X, weights), "probabilities": _probability_limits(weights.sum())}

    def identify(self, theta, *, rotate=True):
        """Return theta with features the rarer of their two sides, most common first."""
        W, b, pi = theta["loadings"], theta["intercepts"], theta["probabilities"]
        if self.fit_intercept:
            flip = pi > 0.5
            b = b + W[:, flip].sum(1)
            W, pi = np.where(flip, -W, W), np.where(flip, 1 - pi, pi)
        order = np.argsort(-pi, kind="stable")
        return {**theta, "loadings": W[:, order], "intercepts": b, "probabilities": pi[order]}

    def constraint_jacobian(self, theta):
        """Return the gradients of what is not fitted: b, if there is no intercept."""
        directions = intercept_directions(theta)
        return directions[:0] if self.fit_intercept else directions

    def n_parameters(self, theta):
        """Return the number of free parameters."""
        p, d = theta["loadings"].shape
        return p * d + d + p * bool(self.fit_intercept) + np.size(theta["noise_variance"])

    def draw_latents(self, n_samples, theta, rng):
        """Draw z from the prior, (n_samples, n_latents)."""
        return (rng.random_sample((n_samples, self.n_latents)) < theta["probabilities"]).astype(
            np.float64
        )

    def warnings(self, theta, X, weights):
        """Return messages about parameters at the edge of their domain."""
        limit = self.lower_limits(X, weights)["noise_variance"]
        noise = np.broadcast_to(theta["noise_variance"], X.shape[1])
        return heywood_warnings(noise, limit)[:1]


def _probability_limits(total: float) -> tuple[float, float]:
    """Return the smallest and largest probability of a feature among so many rows."""
    edge = SMALLEST_COUNT / max(total, 1.0)  # weights of any size have the same range
    return edge, 1 - edge


def nearest_flips(loadings, intercepts, noise):
    """Return the features, (d,) of bool, whose loadings bring the intercepts near 0 if added.

    Features are exchanged for their absence one or two at a time, as long as that helps.
    """
    units = np.sqrt(noise)
    W, b, d = loadings / units[:, None], intercepts / units, loadings.shape[1]
    single = np.eye(d, dtype=bool)
    changes = np.unique((single[:, None] | single).reshape(-1, d), axis=0)
    flip, size = np.zeros(d, dtype=bool), b @ b
    while True:
        sizes = ((b + (flip ^ changes) @ W.T) ** 2).sum(1)
        if not sizes.min() < size * (1 - 1e-12):
            return flip
        flip, size = flip ^ changes[sizes.argmin()], sizes.min()
