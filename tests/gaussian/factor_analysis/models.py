"""Factor analysers as the tests of this folder make them."""

import numpy as np

from skelbo import EMGaussianMixture
from skelbo.gaussian.components import Components
from skelbo.gaussian.factor_analysis.covariance import FactorCovariance
from skelbo.mixture.mixture import Mixture

K, P, Q, N = 3, 6, 2, 80


def make(seed=0, noise=1.0):
    """Return rows about zero and a mixture with loadings of order one."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, P)) @ rng.standard_normal((P, P))
    factor = FactorCovariance(
        rng.standard_normal((K, P, Q)),
        noise * (0.5 + rng.random((K, P))),
        np.zeros(K, dtype=bool),
    )
    return X, Mixture(rng.dirichlet(np.ones(K)), Components(rng.standard_normal((K, P)), factor))


def with_holes(X, share=0.3):
    X = X.copy()
    X[np.random.default_rng(1).random(X.shape) < share] = np.nan
    return X


def fit(X, n_components=1, **options):
    options = {"random_state": 0, "max_iter": 1000, **options}
    return EMGaussianMixture(n_components, covariance_type="factor", **options).fit(X)
