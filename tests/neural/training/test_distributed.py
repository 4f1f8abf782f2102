"""Several processes train what one process trains."""

import os
import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from torch import distributed, multiprocessing, nn

from skelbo import ELBOMonitor, VAEEstimator

IRIS = load_iris().data[:149]
HOLES = np.where(np.random.default_rng(0).random(IRIS.shape) < 0.2, np.nan, IRIS)
WEIGHTS = np.arange(149) % 3
# 149 rows in batches of 20: shares of 10 and 9; 41 in batches of 1: one process has no row.
# Batches of 5 make epochs of 300 / 12 steps, so that the training may end after some 12 epochs.
CASES = {
    "uneven": (IRIS, {"max_iter": 10}),
    "no row": (IRIS[:41], {"batch_size": 1, "max_iter": 2}),
    "held out": (HOLES, {"early_stopping": True, "beta": 2.0, "lr": 3e-2, "batch_size": 5}),
    "iwae": (HOLES, {"objective": "iwae", "gradient": "dreg", "n_samples": 3, "max_iter": 5}),
}


def small(**params):
    defaults = {
        "hidden_layer_sizes": (8,),
        "max_iter": 100,
        "early_stopping": False,
        "batch_size": 20,
        "lr": 1e-2,
        "random_state": 0,
        "n_importance_samples": 100,
    }
    return VAEEstimator(2, **{**defaults, **params})


class Careless(nn.Module):
    """Drops inputs by chance, and has a parameter that it does not use."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.layers = nn.Sequential(nn.Dropout(0.2), nn.Linear(n_inputs, n_outputs))
        self.unused = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        return self.layers(x)


def fits():
    """Run the script of every process."""
    answers = {}
    for name, (X, params) in CASES.items():
        weights = WEIGHTS[: len(X)] if name in ("held out", "no row") else None
        model = small(**params).fit(X, sample_weight=weights)
        answers[name] = model.lower_bounds_, model.validation_lower_bounds_, model.score_samples(X)
    passes = small().partial_fit(IRIS).partial_fit(IRIS[:50])
    answers["passes"] = passes.lower_bounds_, [], passes.score_samples(IRIS)
    return answers


def together(rank, size, folder):
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", FutureWarning)
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size
    )
    answers = fits()
    alike = {
        "fresh seed": small(random_state=None, max_iter=2).fit(IRIS),
        "own network": small(encoder=Careless, max_iter=5).fit(IRIS),
        # Only one process is asked to stop: all do.
        "stopped": small(max_iter=9)
        .set_callbacks(ELBOMonitor(patience=1, min_climb=np.inf if rank else -np.inf))
        .fit(IRIS),
    }
    answers |= {k: (m.lower_bounds_, [], m.score_samples(IRIS)) for k, m in alike.items()}
    with open(os.path.join(folder, f"answers{rank}"), "wb") as file:
        pickle.dump(answers, file)
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_give_the_bound_of_one(tmp_path):
    multiprocessing.spawn(together, (2, str(tmp_path)), nprocs=2)
    first, second = (pickle.loads((tmp_path / f"answers{r}").read_bytes()) for r in (0, 1))
    assert len(first["stopped"][0]) == 2
    for name in first:
        for one, other in zip(first[name], second[name], strict=True):
            assert np.array_equal(one, other), name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = fits()
    for name in alone:
        for one, other in zip(first[name], alone[name], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6, err_msg=name)
    assert len(alone["held out"][0]) < 100  # a stop that was decided together
