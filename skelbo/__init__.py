"""Latent-variable models for scikit-learn users: maximum likelihood, EM, variational EM, VAE.

One bound, one unit (nats per row, in the units of the data), one interface.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# Public name -> module. Modules are imported when a name is first touched, so that `import skelbo`
# costs nothing that is not used: torch, matplotlib and dask above all.
_MODULES = {
    "Comparison": "skelbo.comparison",
    "EMGaussianMixture": "skelbo.gaussian_mixture",
    "EMHiddenMarkovModel": "skelbo.hidden_markov",
    "EMMixture": "skelbo.mixture_model",
    "ELBOMonitor": "skelbo.callbacks",
    "ElboTerms": "skelbo.elbo",
    "Forecast": "skelbo.mixture.chain.forecast",
    "GANEstimator": "skelbo.gan",
    "GaussianMLE": "skelbo.gaussian_mle",
    "HeywoodWarning": "skelbo.models.boundary_warnings",
    "ImportanceWarning": "skelbo.neural.log_marginal",
    "MCEM": "skelbo.mcem",
    "NoiseFloorWarning": "skelbo.degenerate_fit",
    "SeparationWarning": "skelbo.models.boundary_warnings",
    "SingularCovarianceWarning": "skelbo.gaussian.regularization",
    "VAEEstimator": "skelbo.vae",
    "VQVAEEstimator": "skelbo.vqvae",
    "VariationalEM": "skelbo.variational_em",
    "compare": "skelbo.comparison",
    "sequences": "skelbo.data.sequences",
}

__all__ = [
    "MCEM",
    "Comparison",
    "ELBOMonitor",
    "EMGaussianMixture",
    "EMHiddenMarkovModel",
    "EMMixture",
    "ElboTerms",
    "Forecast",
    "GANEstimator",
    "GaussianMLE",
    "HeywoodWarning",
    "ImportanceWarning",
    "NoiseFloorWarning",
    "SeparationWarning",
    "SingularCovarianceWarning",
    "VAEEstimator",
    "VQVAEEstimator",
    "VariationalEM",
    "__version__",
    "compare",
    "sequences",
]

if TYPE_CHECKING:
    from skelbo.callbacks import ELBOMonitor
    from skelbo.comparison import Comparison, compare
    from skelbo.data.sequences import sequences
    from skelbo.degenerate_fit import NoiseFloorWarning
    from skelbo.elbo import ElboTerms
    from skelbo.gan import GANEstimator
    from skelbo.gaussian.regularization import SingularCovarianceWarning
    from skelbo.gaussian_mixture import EMGaussianMixture
    from skelbo.gaussian_mle import GaussianMLE
    from skelbo.hidden_markov import EMHiddenMarkovModel
    from skelbo.mcem import MCEM
    from skelbo.mixture.chain.forecast import Forecast
    from skelbo.mixture_model import EMMixture
    from skelbo.models.boundary_warnings import HeywoodWarning, SeparationWarning
    from skelbo.neural.log_marginal import ImportanceWarning
    from skelbo.vae import VAEEstimator
    from skelbo.variational_em import VariationalEM
    from skelbo.vqvae import VQVAEEstimator


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module 'skelbo' has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)
