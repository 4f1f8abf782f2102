"""A likelihood that one file adds serves factor models, decoders, the VAE and mixtures."""

import numpy as np

from skelbo.likelihoods import Likelihood
from skelbo.likelihoods.arrays import namespace, softplus, torch_of


class Geometric(Likelihood):
    """Number of failures before the first success, with log-odds -eta of a success."""

    name = "geometric"
    expects = "0, 1, 2, ...; round the column"

    def supports(self, values):
        return (values >= 0) & (values == np.floor(values))

    def log_kernel(self, x, eta, noise=1.0):
        return -x * softplus(-eta) - softplus(eta)

    def mean(self, eta):
        return namespace(eta).exp(eta)

    def sample(self, eta, noise=1.0, rng=None):
        torch = torch_of(eta)
        if torch is None:
            return rng.geometric(1 / (1 + np.exp(eta))) - 1.0
        return torch.empty_like(eta).geometric_(torch.sigmoid(-eta), generator=rng) - 1.0

    def offset(self, level, margin=1e-3):
        return namespace(level).log(level + margin)

    def sufficient_statistics(self, x):
        missing = np.isnan(x)
        return np.stack([~missing, np.where(missing, 0.0, x)])

    def maximize(self, statistics):
        return statistics[1:] / statistics[:1]

    def natural_parameters(self, parameters):
        (mean,) = parameters
        return np.stack([-np.log1p(mean), np.log(mean) - np.log1p(mean)])
