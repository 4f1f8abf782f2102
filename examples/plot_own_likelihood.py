r"""
A likelihood of your own: counts that vary more than Poisson
============================================================

Catches of insects vary more from night to night than a Poisson law around a smooth rate allows. A
negative binomial law with :math:`\eta = \log E[x]` has the variance :math:`\mu + \mu^2 / r`. It is
one subclass of :class:`skelbo.likelihoods.Likelihood`, and it serves factor models, decoders and
the auto-encoder alike.
"""

# %%
# The likelihood
# --------------
#
# .. math:: \log p(x \mid \eta) = x \eta - (x + r) \log(r + e^\eta)
#     + r \log r + \log \Gamma(x + r) - \log \Gamma(r) - \log x!
#
# ``log_kernel`` holds what depends on the predictor, ``log_base`` the rest: every constant, since
# scores are compared across estimators. The kernel is concave in the predictor, as factor models
# ask. Expectations under a Gaussian predictor are found by quadrature.

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from scipy.special import gammaln

from skelbo import VariationalEM
from skelbo.likelihoods import Likelihood
from skelbo.likelihoods.arrays import namespace
from skelbo.models import FactorModel


class NegativeBinomial(Likelihood):
    name, expects = "negative binomial", "counts 0, 1, 2, ...; round the column"

    def __init__(self, size=1.0):
        self.size = size  # r: the variance is mu + mu^2 / r

    def supports(self, values):
        return (values >= 0) & (values == np.floor(values))

    def log_kernel(self, x, eta, noise=1.0):
        xp = namespace(eta)
        return x * eta - (x + self.size) * xp.log(self.size + xp.exp(eta))

    def derivatives(self, x, eta, noise=1.0):  # optional: torch finds them, but more slowly
        mu, r = np.exp(eta), self.size
        value = x * eta - (x + r) * np.log(r + mu)
        return value, r * (x - mu) / (r + mu), (x + r) * r * mu / (r + mu) ** 2

    def log_base(self, x):
        x, r = np.asarray(x, dtype=float), self.size
        return r * np.log(r) + gammaln(x + r) - gammaln(r) - gammaln(x + 1)

    def mean(self, eta):
        return namespace(eta).exp(eta)

    def sample(self, eta, noise=1.0, rng=None):
        return rng.poisson(rng.gamma(self.size, np.exp(eta) / self.size)).astype(float)

    def offset(self, level, margin=1e-3):
        return namespace(level).log(level + margin)

    # Three more serve mixtures, whose components have parameters in the place of a predictor.
    def sufficient_statistics(self, x):
        return np.stack([~np.isnan(x), np.nan_to_num(x)])

    def maximize(self, statistics):
        return statistics[1:] / statistics[:1]

    def natural_parameters(self, parameters):
        share = parameters[0] / (parameters[0] + self.size)
        return np.stack([self.size * np.log1p(-share), np.log(share)])


# %%
# Factors of seventeen species
# ----------------------------
#
# The dispersion r is a hyperparameter: log p(X) is comparable across its values, and across
# likelihoods.

path = Path(__file__).parent / "data" / "trichoptera_counts.csv"
counts = pd.read_csv(path)
scores = {}
for n_latents in (1, 2):
    for size in (0.5, 1.0, 2.0, 4.0, None):
        likelihood = "poisson" if size is None else NegativeBinomial(size)
        model = FactorModel(n_latents, likelihood=likelihood)
        fit = VariationalEM(model=model, posterior="full", tol=1e-4).fit(counts)
        scores[n_latents, size] = fit.bic(counts)
    best = min((0.5, 1.0, 2.0, 4.0), key=lambda size: scores[n_latents, size])
    print(
        f"{n_latents} factors: BIC {scores[n_latents, None]:.1f} with Poisson counts, "
        f"{scores[n_latents, best]:.1f} with r = {best:.1f}"
    )

# %%
# What to conclude
# ----------------
#
# What Poisson factors explain by further latents is spread that belongs to the counts: one factor
# of a law that has this spread is ahead of two of a law that has not.

figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
for n_latents in (1, 2):
    sizes = [0.5, 1.0, 2.0, 4.0]
    line = ax.plot(
        sizes, [scores[n_latents, size] for size in sizes], "o-", label=f"{n_latents} factors"
    )
    ax.axhline(scores[n_latents, None], color=line[0].get_color(), ls=":")
ax.set(xscale="log", xlabel="r (dotted: Poisson)", ylabel="BIC, lower is better")
ax.legend()
