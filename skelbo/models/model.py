r"""The contract of a model p(x, z; theta), and the checks that a model written by a user gets."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np

from skelbo.data.counts import is_count
from skelbo.models.constraints import CONSTRAINTS
from skelbo.python_parameters import PythonParameters

# Likeness of two names (`difflib`) from which on one is taken for the other misspelt.
CLOSE = 0.9


class LatentVariableModel(PythonParameters):
    r"""A model p(x, z; theta) = p(z; theta) p(x | z; theta), one latent vector per row.

    Subclass it, write `initialize` and `log_likelihood`, and pass an instance as ``model=`` to
    :class:`skelbo.VariationalEM` or :class:`skelbo.MCEM`. The object holds hyperparameters only;
    the parameters theta are a dict of arrays.

    Attributes
    ----------
    latent : {"continuous", "binary"}
        What z is made of.
    n_latents : int
        Length of z.
    constraints : dict of str to {"positive", "unit_interval", "simplex"}
        Domains of the parameters that are not free. A simplex runs along the last axis.
    unit_powers : dict of str to int
        Parameters that are proportional to a power of a common unit of all columns, and that
        power: 1 for locations and loadings, 2 for variances. With them, if p(x) follows the unit,
        a fit does so at every scale.

    Examples
    --------
    Counts whose log-rate is a common latent times a slope:

    >>> import torch
    >>> from skelbo.models import LatentVariableModel
    >>> class Rates(LatentVariableModel):
    ...     n_latents = 1
    ...
    ...     def initialize(self, X, rng):
    ...         return {"level": X.mean(0).log(), "slope": torch.ones(X.shape[1])}
    ...
    ...     def log_likelihood(self, X, Z, theta):
    ...         rate = (theta["level"] + Z * theta["slope"]).exp()
    ...         return torch.distributions.Poisson(rate).log_prob(X).sum(-1)
    >>> import numpy as np
    >>> from skelbo import VariationalEM
    >>> rng = np.random.default_rng(0)
    >>> X = rng.poisson(np.exp(1 + 0.5 * rng.standard_normal((100, 1)) * [1, 2])).astype(float)
    >>> fit = VariationalEM(1, model=Rates(), posterior="full").fit(X)
    >>> fit.params_["slope"].round(1)
    array([0.5, 1. ])
    """

    latent = "continuous"
    n_latents: int
    constraints: dict[str, str] = {}
    unit_powers: dict[str, int] = {}

    def initialize(self, X, rng):
        """Return the first parameters.

        Parameters
        ----------
        X : Tensor of shape (n_samples, n_features)
            The data, float64, as given.
        rng : numpy.random.RandomState
            Source of randomness.

        Returns
        -------
        theta : dict of str to array
            On the natural scale.
        """
        raise NotImplementedError(_missing(self, "initialize(self, X, rng)"))

    def log_likelihood(self, X, Z, theta):
        """Return log p(x | z; theta) in nats, every constant included.

        Parameters
        ----------
        X : Tensor of shape (n_samples, n_features)
            Rows. Missing cells, if any, are NaN.
        Z : Tensor of shape (n_draws, n_samples, n_latents)
            Several latent vectors for each row.
        theta : dict of str to Tensor
            Parameters.

        Returns
        -------
        log_likelihood : Tensor of shape (n_draws, n_samples)
            One number for each row and draw.

        Notes
        -----
        Subtract a location from X before anything else is subtracted: where a column is far from
        zero, a sum of the location and a function of Z has lost the digits of the latter.
        """
        raise NotImplementedError(_missing(self, "log_likelihood(self, X, Z, theta)"))

    def log_prior(self, Z, theta):
        """Return log p(z; theta): standard normal, or fair coins where z is binary.

        Parameters
        ----------
        Z : Tensor of shape (n_draws, n_samples, n_latents)
            Latents.
        theta : dict of str to Tensor
            Parameters.

        Returns
        -------
        log_prior : Tensor of shape (n_draws, n_samples)
            In nats.
        """
        if self.latent == "binary":
            return -np.log(2.0) * Z.shape[-1] + 0.0 * Z.sum(-1)
        return -0.5 * ((Z**2).sum(-1) + Z.shape[-1] * float(np.log(2 * np.pi)))

    # ------------------------------------------------------ optional methods

    def check(self, X):
        """Raise ValueError if the hyperparameters or X, a NumPy array, cannot be used.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            NaN where missing.
        """

    def check_fit(self, X):
        """Raise ValueError if X, a NumPy array, can be scored, but not fitted.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            NaN where missing.
        """

    def lower_limits(self, X, weights):
        """Return limits of parameters below which the likelihood may grow without end.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            NaN where missing.
        weights : ndarray of shape (n_samples,)
            Frequency weights.

        Returns
        -------
        lower_limits : dict of str to float or ndarray
            For some of the parameters, on the natural scale.
        """
        return {}

    def parameter_shapes(self, n_features):
        """Return the shapes of the parameters, which a file of a fit is checked against.

        Parameters
        ----------
        n_features : int
            Number of columns.

        Returns
        -------
        shapes : dict of str to tuple of int, or None
            None where they are not known: a file may then have any.
        """
        return None

    def warnings(self, theta, X, weights):
        """Return messages about fitted parameters at the edge of their domain.

        Parameters
        ----------
        theta : dict of str to ndarray
            Parameters.
        X : ndarray of shape (n_samples, n_features)
            NaN where missing.
        weights : ndarray of shape (n_samples,)
            Frequency weights.

        Returns
        -------
        list of str
            With cause and remedy; empty by default.
        """
        return []

    def mean(self, Z, theta):
        """Return E[x | z; theta], needed by `inverse_transform` and `impute`.

        Parameters
        ----------
        Z : Tensor of shape (n_samples, n_latents)
            Latents.
        theta : dict of str to Tensor
            Parameters.

        Returns
        -------
        mean : Tensor of shape (n_samples, n_features)
            In the units of X.
        """
        raise NotImplementedError(_optional(self, "mean(self, Z, theta)"))

    def sample(self, n_samples, theta, rng):
        """Draw (x, z) from the joint, needed by `sample` of the estimator.

        Parameters
        ----------
        n_samples : int
            Number of draws.
        theta : dict of str to Tensor
            Parameters.
        rng : numpy.random.RandomState
            Source of randomness.

        Returns
        -------
        X, Z : array of shape (n_samples, n_features) and (n_samples, n_latents)
            Draws.
        """
        raise NotImplementedError(_optional(self, "sample(self, n_samples, theta, rng)"))

    def sample_given(self, Z, theta, rng):
        """Draw x given z, needed by `impute` of the estimator for draws.

        Parameters
        ----------
        Z : Tensor of shape (n_samples, n_latents)
            Latents.
        theta : dict of str to Tensor
            Parameters.
        rng : numpy.random.RandomState
            Source of randomness.

        Returns
        -------
        X : array of shape (n_samples, n_features)
            One draw for each row of Z.
        """
        raise NotImplementedError(_optional(self, "sample_given(self, Z, theta, rng)"))


def check_model(model: Any) -> None:
    """Raise an error that names the attribute if a model does not keep the contract."""
    _check_spelling(model)
    name = type(model).__name__
    if model.latent not in ("continuous", "binary"):
        raise ValueError(
            f"{name}.latent is {model.latent!r}, expected 'continuous' or 'binary'; set it in the "
            "class."
        )
    n_latents = getattr(model, "n_latents", None)
    if not is_count(n_latents):
        raise ValueError(
            f"{name}.n_latents is {n_latents!r}, expected a positive integer; set it in the class "
            "or in __init__."
        )
    if not isinstance(model.constraints, Mapping):
        raise ValueError(
            f"{name}.constraints is {model.constraints!r}, expected a dict from names of "
            f"parameters to one of {list(CONSTRAINTS)}; write {{}} where none is constrained."
        )
    unknown = {k: v for k, v in model.constraints.items() if v not in CONSTRAINTS}
    if unknown:
        raise ValueError(
            f"{name}.constraints has {unknown}, expected one of {list(CONSTRAINTS)} for each name."
        )


def _check_spelling(model: Any) -> None:
    """Raise ValueError for a name of the class that is almost one with a default.

    The default would be taken: a prior, or limits of the parameters, that the user did not mean.
    """
    cls = type(model)
    for name in ("log_prior", "constraints", "latent"):
        if getattr(cls, name) is not getattr(LatentVariableModel, name):
            continue
        own = [n for c in cls.__mro__ if issubclass(c, LatentVariableModel) for n in vars(c)]
        others = [n for n in own if not hasattr(LatentVariableModel, n) and n != "n_latents"]
        for other in get_close_matches(name, others, 1, CLOSE):
            raise ValueError(
                f"{cls.__name__} defines {other!r}, which is not read, and not {name!r}, expected "
                f"{name!r}; correct the spelling, or give {other!r} a name that is less like it."
            )


def _missing(model: Any, signature: str) -> str:
    return f"{type(model).__name__} does not define {signature}, which every model needs."


def _optional(model: Any, signature: str) -> str:
    return (
        f"{type(model).__name__} does not define {signature}, which this method of the estimator "
        "needs; add it to the model."
    )
