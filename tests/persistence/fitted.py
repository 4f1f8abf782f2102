"""Small fitted estimators whose files are tested: the one table to which each class adds its own.

`benchmarks/fuzz_files.py` mutates the files of the same estimators.
"""

import warnings
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from sklearn.datasets import load_iris
from torch import nn

from skelbo import (
    MCEM,
    EMGaussianMixture,
    EMHiddenMarkovModel,
    EMMixture,
    GANEstimator,
    GaussianMLE,
    VAEEstimator,
    VariationalEM,
    VQVAEEstimator,
)
from skelbo.models import DecoderModel, FactorModel
from skelbo.persistence.estimator_file import packed
from tests.likelihoods.test_new_likelihood import Geometric
from tests.own_models import Counts

X = load_iris().data[::3].copy()
HOLES = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
ANSWERS = np.greater(X, np.median(X, axis=0)) + 0.0
CODES = np.clip(np.round(X - X.min(axis=0)), 0, 3).astype(np.float32)
MIXED_KINDS = ["gaussian", "poisson", "categorical", "bernoulli"]
MIXED = np.column_stack([HOLES[:, 0], np.round(HOLES[:, 1]), CODES[:, 2], ANSWERS[:, 3]])
NET = {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0, "n_importance_samples": 20}


@dataclass
class Subject:
    """An estimator, the rows of its fit, and what `from_file` is given of the user's own.

    With `streamed` it is fitted by `partial_fit`.
    """

    estimator: Any
    X: np.ndarray
    given: dict[str, Any] = field(default_factory=dict)
    streamed: bool = False


def stream():
    return np.random.RandomState(3)


SUBJECTS = {
    "gaussian, full": Subject(GaussianMLE(), X),
    "gaussian, diag, holes": Subject(GaussianMLE("diag"), HOLES),
    "gaussian, spherical, float32": Subject(GaussianMLE("spherical"), X.astype(np.float32)),
    "mixture, full": Subject(EMGaussianMixture(2, random_state=stream()), X),
    "mixture, tied, holes": Subject(
        EMGaussianMixture(2, covariance_type="tied", random_state=0, max_iter=5), HOLES
    ),
    "mixture, diag, float32": Subject(
        EMGaussianMixture(2, covariance_type="diag", random_state=0), X.astype(np.float32)
    ),
    "mixture, tied_spherical, given": Subject(
        EMGaussianMixture(
            2,
            covariance_type="tied_spherical",
            means_init=X[:2],
            weights_init=[0.5, 0.5],
            precisions_init=1.0,
            max_iter=0,
            random_state=0,
        ),
        X,
    ),
    "mixture, factor": Subject(
        EMGaussianMixture(2, covariance_type="factor", n_factors=1, random_state=0), X
    ),
    "mixture, stream": Subject(EMGaussianMixture(2, random_state=stream()), X, streamed=True),
    "mixed, all kinds, holes": Subject(
        EMMixture(2, likelihood=MIXED_KINDS, random_state=0, n_init=2), MIXED
    ),
    "mixed, codes, float32": Subject(
        EMMixture(2, likelihood="categorical", random_state=stream()), CODES
    ),
    "mixed, gaussian": Subject(EMMixture(2, covariance_type="tied", random_state=0), X),
    "mixed, stream": Subject(
        EMMixture(2, likelihood=MIXED_KINDS, random_state=0, n_init=1), MIXED, streamed=True
    ),
    "mixed, own": Subject(
        EMMixture(2, likelihood=Geometric(), random_state=0, n_init=2),
        np.round(X),
        {"likelihood": Geometric()},
    ),
    "hidden markov, full": Subject(EMHiddenMarkovModel(2, random_state=stream()), X),
    "hidden markov, all kinds, holes": Subject(
        EMHiddenMarkovModel(2, likelihood=MIXED_KINDS, random_state=0), MIXED
    ),
    "hidden markov, codes, float32": Subject(
        EMHiddenMarkovModel(2, likelihood="categorical", random_state=0, max_iter=3), CODES
    ),
    "hidden markov, given": Subject(
        EMHiddenMarkovModel(
            2,
            likelihood="bernoulli",
            startprob_init=[1.0, 0.0],
            transmat_init=[[0.9, 0.1], [0.0, 1.0]],
            probabilities_init=np.array([[0.1] * 4, [0.9] * 4]),
            max_iter=0,
            random_state=0,
        ),
        ANSWERS,
    ),
    "variational, binary": Subject(VariationalEM(2, random_state=0), HOLES),
    "variational, factor": Subject(
        VariationalEM(model=FactorModel(1), random_state=0), X.astype(np.float32)
    ),
    "variational, decoder": Subject(
        VariationalEM(model=DecoderModel(1, hidden_layer_sizes=(3,)), max_iter=3, random_state=0),
        X,
    ),
    "variational, own": Subject(
        VariationalEM(model=Counts(1), max_iter=3, random_state=0), np.round(X), {"model": Counts}
    ),
    "mcem, gaussian": Subject(MCEM(1, model="gaussian", random_state=0), X),
    "mcem, bernoulli": Subject(
        MCEM(1, model="bernoulli", max_iter=1, n_samples=64, random_state=stream()), ANSWERS
    ),
    "vae, gaussian, holes": Subject(VAEEstimator(1, **NET), HOLES),
    "vae, codes": Subject(VAEEstimator(1, likelihood="categorical", optimizer="sgd", **NET), CODES),
    "vae, own": Subject(
        VAEEstimator(1, decoder=nn.Linear, **{**NET, "random_state": stream()}),
        X,
        {"decoder": nn.Linear},
    ),
    "gan, holes": Subject(GANEstimator(1, critic_layer_sizes=(3,), **NET), HOLES),
    "gan, isotropic, float32": Subject(
        GANEstimator(2, noise="isotropic", divergence="kl", **NET), X.astype(np.float32)
    ),
    "vae, point": Subject(VAEEstimator(1, posterior="point", **NET), X),
    "vqvae, hard, holes": Subject(VQVAEEstimator(2, n_codes=4, **NET), HOLES),
    "vqvae, soft": Subject(
        VQVAEEstimator(2, n_codes=4, assignment="soft", prior="independent", **NET), X
    ),
    "vae, stream": Subject(VAEEstimator(1, **NET), X, streamed=True),
}


@cache
def file_of(name: str) -> bytes:
    """Return the file of the fitted estimator with this name."""
    subject = SUBJECTS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits of a few iterations
        method = subject.estimator.partial_fit if subject.streamed else subject.estimator.fit
        return packed(method(subject.X))
