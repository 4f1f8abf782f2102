"""Small VAEs for the tests of the wing."""

import torch

from skelbo import VAEEstimator


def small(n_components=2, **params):
    """Return a VAE that fits in a blink."""
    defaults = {
        "hidden_layer_sizes": (8,),
        "max_iter": 5,
        "early_stopping": False,
        "random_state": 0,
        "n_importance_samples": 200,
    }
    return VAEEstimator(n_components, **{**defaults, **params})


def weights(model):
    """Return the parameters of both networks as one vector."""
    return torch.cat([p.detach().ravel() for p in model.net_.module_.parameters()])
