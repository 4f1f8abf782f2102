r"""Binary latent features: every row is a sum of the features that it has, plus noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from skelbo.likelihoods import LIKELIHOODS
from skelbo.likelihoods.gaussian import LOG_2PI
from skelbo.likelihoods.noise_floor import noise_floor
from skelbo.models.derivatives import complete_information, complete_scores
from skelbo.models.factor_model.rotation import intercept_directions
from skelbo.models.heywood import HEYWOOD
from skelbo.models.interface import Model
from skelbo.models.model import LatentVariableModel
from skelbo.models.regression import maximize_columns

# Probabilities of features stay this far (in rows) from 0 and 1, where a feature is dead.
SMALLEST_COUNT = 1e-3
# Probabilities of features that an annealed chain may still revive.
REVIVABLE = (0.02, 0.98)


@dataclass(frozen=True)
class BinaryFeatureJoint:
    r"""log p(x, z; theta) of some rows: quadratic in z.

    .. math:: \log p(x, z) = c_i + a_i^T z - \tfrac12 z^T G z + \sum_k z_k\, o_k

    Attributes
    ----------
    linear : ndarray of shape (n_rows, n_latents)
        a.
    gram : ndarray of shape (n_rows or 1, n_latents, n_latents)
        G.
    constant : ndarray of shape (n_rows,)
        c: log p(x | z = 0).
    log_odds : ndarray of shape (n_latents,)
        o of the prior.
    """

    linear: np.ndarray
    gram: np.ndarray
    constant: np.ndarray
    log_odds: np.ndarray

    latent = "binary"

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, n_latents)."""
        return self.linear.shape

    def take(self, rows) -> BinaryFeatureJoint:
        """Return the joint of some of the rows."""
        gram = self.gram if len(self.gram) == 1 else self.gram[rows]
        return replace(self, linear=self.linear[rows], gram=gram, constant=self.constant[rows])

    def prior_mean(self) -> np.ndarray:
        """Return p(z_k = 1), (d,)."""
        return special.expit(self.log_odds)

    def conditional_logit(self, Z, k):
        """Return log p(x, z_k=1, rest) - log p(x, z_k=0, rest), (..., n), averaged if Z is.

        The log-joint has no squares of a z_k (z_k^2 = z_k), so that the mean over independent
        z_l, l != k, is its value at their means: the same formula serves Gibbs and mean field.
        """
        own = self.gram[:, k, k]
        others = (Z * self.gram[:, k]).sum(-1) - Z[..., k] * own
        return self.log_odds[k] + self.linear[:, k] - 0.5 * own - others

    def log_likelihood(self, Z):
        """Return log p(x | z), (S, n), for Z of shape (S, n, d) or (S, 1, d)."""
        if len(self.gram) == 1:
            quadratic = ((Z @ self.gram[0]) * Z).sum(-1)
        else:
            full = np.broadcast_to(Z, (len(Z), *self.shape))
            quadratic = (
                np.matmul(full.transpose(1, 0, 2), self.gram).transpose(1, 0, 2) * full
            ).sum(-1)
        shared = Z.shape[1] == 1
        linear = Z[:, 0] @ self.linear.T if shared else (Z * self.linear).sum(-1)
        return self.constant + linear - 0.5 * quadratic

    def log_prior(self, Z):
        """Return log p(z), (S, n) or (S, 1)."""
        return Z @ self.log_odds - np.logaddexp(0, self.log_odds).sum()

    def log_joint(self, Z):
        """Return log p(x, z), (S, n)."""
        return self.log_likelihood(Z) + self.log_prior(Z)

    def expected(self, mean):
        """Return E log p(x|z) and E log p(x,z), (n,), for independent z with this mean."""
        spread = mean * (1 - mean)
        own = np.einsum("nkk->nk", self.gram)
        reconstruction = self.log_likelihood(mean[None])[0] - 0.5 * (spread * own).sum(-1)
        return reconstruction, reconstruction + self.log_prior(mean[None])[0]


class BinaryFeatureModel(Model, LatentVariableModel):
    r"""Overlapping clusters: x = W z + b + noise, each z_k on or off by itself.

    .. math:: z_k \sim \mathrm{Bernoulli}(\pi_k), \quad x \mid z \sim N(W z + b, \Psi)

    Parameters
    ----------
    n_latents : int, default=2
        Number of latent features. It may exceed the number of columns: two columns can show the
        sums of three features.
    noise : {"isotropic", "diag"}, default="isotropic"
        One noise variance, or one for each column.
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
    column_likelihood = LIKELIHOODS["gaussian"]
    constraints = {"noise_variance": "positive", "probabilities": "unit_interval"}

    def __init__(self, n_latents=2, *, noise="isotropic", fit_intercept=True):
        self.n_latents = n_latents
        self.noise = noise
        self.fit_intercept = fit_intercept

    def check(self, X):
        """Raise ValueError if the model cannot be used."""
        if self.noise not in ("diag", "isotropic"):
            raise ValueError(f"noise={self.noise!r}, expected 'isotropic' or 'diag'.")

    def joint(self, X, theta):
        """Return log p(x, z; theta) of these rows as a function of z."""
        missing = np.isnan(X)
        W, p = theta["loadings"], X.shape[1]
        noise = np.broadcast_to(theta["noise_variance"], p)
        residual = np.where(missing, 0.0, X - theta["intercepts"])
        cells = residual**2 / noise + np.log(noise) + LOG_2PI
        if missing.any():
            cells *= ~missing
            products = (W[:, :, None] * W[:, None, :]).reshape(p, -1)
            gram = ((~missing / noise) @ products).reshape(-1, W.shape[1], W.shape[1])
        else:
            gram = ((W.T / noise) @ W)[None]
        log_odds = special.logit(theta["probabilities"])
        return BinaryFeatureJoint((residual / noise) @ W, gram, -0.5 * cells.sum(1), log_odds)

    def log_likelihood(self, X, Z, theta):
        """Return log p(x | z; theta), (n_draws, n_samples), in nats; NumPy arrays."""
        return self.joint(np.asarray(X), theta).log_likelihood(np.asarray(Z))

    def initialize(self, X, rng):
        """Return random features of the size of the data."""
        return self.start(np.asarray(X), np.ones(len(X)), rng, 0)

    def start(self, X, weights, rng, number):
        """Return the parameters of a start: differences between rows as features."""
        floor = noise_floor(X, weights)
        total = (weights[:, None] * ~np.isnan(X)).sum(0)
        mean = (weights[:, None] * np.nan_to_num(X)).sum(0) / total
        variance = floor / 1e-6
        d = self.n_latents
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

    def lower_limits(self, X, weights):
        """Return the floor of the noise variance."""
        floor = noise_floor(X, weights)
        return {"noise_variance": floor if self.noise == "diag" else np.asarray(floor.mean())}

    def away_from_boundary(self, theta):
        """Return theta with probabilities from which a dead feature can come back."""
        return {**theta, "probabilities": np.clip(theta["probabilities"], *REVIVABLE)}

    def maximize(self, theta, X, weights, mean, covariance=None, *, n_steps=2, expand=False):
        """Maximise E log p(x, z; theta) in closed form; see `FactorModel.maximize`."""
        floor = noise_floor(X, weights.sum(0))
        theta = maximize_columns(self, theta, X, weights, mean, covariance, floor, 1)
        total = weights.sum()
        counts = (weights[..., None] * mean).sum((0, 1))
        edge = min(SMALLEST_COUNT, 0.25 * total)
        return {**theta, "probabilities": np.clip(counts, edge, total - edge) / total}

    def identify(self, theta, *, rotate=True):
        """Return theta with features the rarer of their two sides, most common first."""
        W, b, pi = theta["loadings"], theta["intercepts"], theta["probabilities"]
        if self.fit_intercept:
            flip = pi > 0.5
            b = b + W[:, flip].sum(1)
            W, pi = np.where(flip, -W, W), np.where(flip, 1 - pi, pi)
        order = np.argsort(-pi, kind="stable")
        return {**theta, "loadings": W[:, order], "intercepts": b, "probabilities": pi[order]}

    def scores(self, theta, X, Z):
        """Return the gradient of log p(x, z; theta) in theta, (S, n, P)."""
        return complete_scores(self, theta, X, Z)

    def information(self, theta, X, Z, weights):
        """Return minus the Hessian of E log p(x, z; theta) in theta, (P, P)."""
        return complete_information(self, theta, X, Z, weights)

    def constraint_jacobian(self, theta):
        """Return the gradients of what is not fitted: b, if there is no intercept."""
        directions = intercept_directions(theta)
        return directions[:0] if self.fit_intercept else directions

    def n_parameters(self, theta):
        """Return the number of free parameters."""
        p, d = theta["loadings"].shape
        return p * d + d + p * bool(self.fit_intercept) + np.size(theta["noise_variance"])

    def mean(self, Z, theta):
        """Return E[x | z], (n, p)."""
        return theta["intercepts"] + Z @ theta["loadings"].T

    def sample(self, n_samples, theta, rng):
        """Draw (x, z) from the joint."""
        Z = (rng.random_sample((n_samples, self.n_latents)) < theta["probabilities"]).astype(float)
        return self.column_likelihood.sample(self.mean(Z, theta), theta["noise_variance"], rng), Z

    def warnings(self, theta, X, weights):
        """Return what a user should know about these parameters."""
        noise = np.broadcast_to(theta["noise_variance"], X.shape[1])
        at_floor = noise <= 1.5 * self.lower_limits(X, weights)["noise_variance"]
        return [HEYWOOD.format(column=j) for j in np.flatnonzero(at_floor)[:1]]
