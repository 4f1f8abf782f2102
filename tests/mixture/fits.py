"""Mixtures and engines as the tests of this wing make them."""

import warnings

import numpy as np

from skelbo import EMGaussianMixture
from skelbo.data.column_moments import ColumnMoments
from skelbo.data.rows import Rows
from skelbo.gaussian.structures import STRUCTURES
from skelbo.mixture.attributes import mixture_of
from skelbo.mixture.mixture_engine import mixture_engine


def clouds(n, p, K, seed=0):
    """Return n rows of K clouds."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 4, (K, p))
    return centres[rng.integers(K, size=n)] + rng.standard_normal((n, p))


def fitted(X, K, kind, n_iter=3, **options):
    """Return a mixture after a few plain iterations."""
    model = EMGaussianMixture(K, covariance_type=kind, max_iter=n_iter, tol=0.0, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.set_params(acceleration=None, **options).fit(X)


def theta_of(model, origin=None):
    """Return the mixture of an estimator's public arrays about an origin, and that origin."""
    if origin is None:
        origin = np.average(model.means_, 0, model.weights_)
    names = "weights_", "means_", *STRUCTURES[model.covariance_type].state_names
    arrays = (getattr(model, name) for name in names)
    return mixture_of(model.covariance_type, *arrays).about(origin), origin


def engine_of(X, K, kind, weights=None, **options):
    """Return the engine of a fit of K Gaussians to a table."""
    structure = STRUCTURES[kind].configured(X.shape[1], 2)
    rows = Rows(X, weights, None, *structure.row_cells(K, X.shape[1]))
    columns = ColumnMoments.of_rows(rows)
    defaults = {"tol": "auto", "max_iter": 100, "reg_covar": "auto", "solver": "em", "device": None}
    rows = rows.about(columns.mean)
    return mixture_engine(rows, columns, structure, K, **{**defaults, **options})
