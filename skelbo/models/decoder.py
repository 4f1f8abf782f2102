"""A neural decoder: the model of a variational auto-encoder, without its encoder."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from skelbo.data.column_moments import ColumnMoments
from skelbo.data.counts import is_count
from skelbo.degenerate_fit import NoiseFloorWarning
from skelbo.likelihoods import Likelihood, as_likelihood
from skelbo.likelihoods.noise_floor import noise_floor
from skelbo.models.model import LatentVariableModel

# Share of the mean variance of the columns. It is larger than that of models with a closed form:
# below it a row's posterior is narrower than the curvature of the network lets a Gaussian be.
FLOOR_SHARE = 1e-3


class DecoderModel(LatentVariableModel):
    r"""A neural network f from latents to data.

    .. math:: z \sim N(0, I), \quad x_j \sim p(x_j \mid f_j(z))

    Parameters
    ----------
    n_latents : int, default=2
        Number of latents.
    decoder : torch.nn.Module, optional
        From (..., n_latents) to (..., n_features); never trained in place. By default a
        perceptron with tanh units.
    hidden_layer_sizes : tuple of int, default=(100,)
        Of the default decoder.
    likelihood : {"gaussian", "bernoulli", "poisson"} or Likelihood, default="gaussian"
        Distribution of a cell given the output of the network: a mean, log-odds or log-rate.

    Notes
    -----
    Parameters: the network's own, by their names (``0.weight``, ``0.bias``, ...), and
    ``noise_variance`` (a scalar, Gaussian likelihood only), kept above 1e-3 of the mean variance
    of the columns. The weights of a network are not identified: do not read anything into their
    standard errors; beyond 200 parameters there are none.

    References
    ----------
    Ding (2020), eq. 4; Mattei and Frellsen (2018) for the bound of the noise variance.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo import VariationalEM
    >>> from skelbo.models import DecoderModel
    >>> t = np.linspace(-2, 2, 40)
    >>> X = np.column_stack([t, t**2])
    >>> curve = VariationalEM(
    ...     model=DecoderModel(1, hidden_layer_sizes=(5,)), tol=1e-2, random_state=0
    ... ).fit(X)
    >>> curve.transform(X).shape
    (40, 1)
    """

    def __init__(
        self, n_latents=2, *, decoder=None, hidden_layer_sizes=(100,), likelihood="gaussian"
    ):
        self.n_latents = n_latents
        self.decoder = decoder
        self.hidden_layer_sizes = hidden_layer_sizes
        self.likelihood = likelihood

    @property
    def constraints(self) -> dict[str, str]:  # type: ignore[override]
        """Domains of the parameters."""
        return {"noise_variance": "positive"} if self.likelihood == "gaussian" else {}

    @property
    def unit_powers(self) -> dict[str, int]:  # type: ignore[override]
        """Powers of a common unit of Gaussian columns: the last layer of a built-in network."""
        if self.decoder is not None or not self.column_likelihood.has_noise:
            return {}
        last = len(self._widths)
        return {f"{last}.weight": 1, f"{last}.bias": 1, "noise_variance": 2}

    @property
    def column_likelihood(self) -> Likelihood:
        """The likelihood of every column."""
        return as_likelihood(self.likelihood)

    def check(self, X):
        """Raise an error if the model or X cannot be used.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows, NaN where missing.

        Raises
        ------
        ValueError
            If the likelihood is not known, or a cell has no density under it.
        """
        if self.decoder is not None and not isinstance(self.decoder, torch.nn.Module):
            raise ValueError(f"decoder={self.decoder!r}, expected a torch.nn.Module or None.")
        self.column_likelihood.check(X)

    def check_fit(self, X):
        """Raise ValueError if X has counts that are too large for float64 in a fit.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows, NaN where missing.

        Raises
        ------
        ValueError
            With the column, the value and a remedy.
        """
        self.column_likelihood.check_fit(X)

    def parameter_shapes(self, n_features):
        """Return the shapes of the weights, and of the noise variance where there is one.

        Parameters
        ----------
        n_features : int
            Number of columns.

        Returns
        -------
        dict of str to tuple of int

        Raises
        ------
        ValueError
            If a hidden layer has no valid width.

        Examples
        --------
        >>> from skelbo.models import DecoderModel
        >>> model = DecoderModel(2, hidden_layer_sizes=(5,), likelihood="poisson")
        >>> model.parameter_shapes(3)
        {'0.weight': (5, 2), '0.bias': (5,), '1.weight': (3, 5), '1.bias': (3,)}
        """
        widths = self._widths
        if self.decoder is not None:
            shapes = {name: tuple(v.shape) for name, v in self.decoder.named_parameters()}
        else:
            shapes = {}
            for i, (inner, outer) in enumerate(pairwise([self.n_latents, *widths, n_features])):
                shapes[f"{i}.weight"], shapes[f"{i}.bias"] = (outer, inner), (outer,)
        if self.column_likelihood.has_noise:
            shapes["noise_variance"] = ()
        return shapes

    def initialize(self, X, rng):
        """Return random weights; the last layer is in the units of the data.

        Parameters
        ----------
        X : Tensor of shape (n_samples, n_features)
            Rows, NaN where missing.
        rng : numpy.random.RandomState
            Source of randomness.

        Returns
        -------
        dict of str to Tensor
            Weights and, for the Gaussian likelihood, the noise variance.

        Examples
        --------
        >>> import numpy as np, torch
        >>> from skelbo.models import DecoderModel
        >>> X = torch.ones(4, 3, dtype=torch.float64)
        >>> theta = DecoderModel(2, hidden_layer_sizes=(5,)).initialize(X, np.random.RandomState(0))
        >>> list(theta)
        ['0.weight', '0.bias', '1.weight', '1.bias', 'noise_variance']
        """
        likelihood = self.column_likelihood
        moments = ColumnMoments.of_table(X.numpy(force=True))
        level = likelihood.offset(torch.as_tensor(moments.mean, device=X.device))
        spread = torch.ones_like(level)
        if likelihood.has_noise:
            spread = torch.as_tensor(moments.positive_variance, device=X.device).sqrt()
        if self.decoder is not None:
            theta = {k: v.detach().clone() for k, v in self.decoder.named_parameters()}
        else:
            theta = self._random_weights(level, spread, rng)
        if likelihood.has_noise:
            theta["noise_variance"] = (spread**2).mean()
        return theta

    @property
    def _widths(self):
        """Widths of the hidden layers."""
        sizes = self.hidden_layer_sizes
        if not np.iterable(sizes) or not all(map(is_count, sizes)):
            raise ValueError(
                f"hidden_layer_sizes={sizes!r}, expected a tuple of integers of at least 1."
            )
        return tuple(sizes)

    def _random_weights(self, level, spread, rng):
        sizes = [self.n_latents, *self._widths, len(level)]
        theta = {}
        for i, (inner, outer) in enumerate(pairwise(sizes)):
            weight = rng.standard_normal((outer, inner)) / np.sqrt(inner)
            theta[f"{i}.weight"] = torch.tensor(weight)
            theta[f"{i}.bias"] = torch.tensor(0.1 * rng.standard_normal(outer))
        theta[f"{i}.weight"] = 0.5 * spread[:, None] * theta[f"{i}.weight"]
        theta[f"{i}.bias"] = level
        return theta

    def _about_the_level(self, X, theta):
        """Return Gaussian rows less the last bias, and weights without it.

        Far from zero the difference keeps digits that the network's output would lose.
        """
        if self.decoder is not None or not self.column_likelihood.has_noise:
            return X, theta
        name = f"{len(self._widths)}.bias"
        return X - theta[name], {**theta, name: torch.zeros_like(theta[name])}

    def _predictor(self, Z, theta):
        if self.decoder is not None:
            weights = {k: v for k, v in theta.items() if k != "noise_variance"}
            return torch.func.functional_call(self.decoder, weights, (Z,))
        last = len(self._widths)
        for i in range(last + 1):
            Z = Z @ theta[f"{i}.weight"].T + theta[f"{i}.bias"]
            Z = Z if i == last else torch.tanh(Z)
        return Z

    def log_likelihood(self, X, Z, theta):
        """Return log p(x | z; theta) over the observed cells.

        Parameters
        ----------
        X : Tensor of shape (n_samples, n_features)
            Rows, NaN where missing.
        Z : Tensor of shape (n_draws, n_samples, n_latents)
            Latents.
        theta : dict of str to Tensor
            Weights and noise variance.

        Returns
        -------
        Tensor of shape (n_draws, n_samples)
            In nats.

        Examples
        --------
        >>> import numpy as np, torch
        >>> from skelbo.models import DecoderModel
        >>> model = DecoderModel(2, hidden_layer_sizes=(5,))
        >>> X, Z = torch.ones(4, 3, dtype=torch.float64), torch.zeros(1, 4, 2, dtype=torch.float64)
        >>> theta = model.initialize(X, np.random.RandomState(0))
        >>> model.log_likelihood(X, Z, theta).shape
        torch.Size([1, 4])
        """
        mask = None
        X, theta = self._about_the_level(X, theta)
        missing = torch.isnan(X)
        if missing.any():
            mask, X = (~missing).to(X.dtype), torch.where(missing, 0.0, X)
        eta = self._predictor(Z, theta)
        noise = theta["noise_variance"].expand(X.shape[1]) if "noise_variance" in theta else 1.0
        return self.column_likelihood.row_log_prob(X, eta, noise, mask)

    def mean(self, Z, theta):
        """Return E[x | z].

        Parameters
        ----------
        Z : Tensor of shape (..., n_latents)
            Latents.
        theta : dict of str to Tensor
            Weights.

        Returns
        -------
        Tensor of shape (..., n_features)
            In the units of the data.

        Examples
        --------
        >>> import numpy as np, torch
        >>> from skelbo.models import DecoderModel
        >>> model = DecoderModel(2, hidden_layer_sizes=(5,), likelihood="poisson")
        >>> X = torch.ones(4, 3, dtype=torch.float64)
        >>> theta = model.initialize(X, np.random.RandomState(0))
        >>> bool((model.mean(torch.zeros(7, 2, dtype=torch.float64), theta) > 0).all())
        True
        """
        return self.column_likelihood.mean(self._predictor(Z, theta))

    def sample(self, n_samples, theta, rng):
        """Draw rows with their latents.

        Parameters
        ----------
        n_samples : int
            Number of rows.
        theta : dict of str to Tensor
            Weights and noise variance.
        rng : numpy.random.RandomState
            Source of randomness.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows.
        Z : ndarray of shape (n_samples, n_latents)
            Latents.

        Examples
        --------
        >>> import numpy as np, torch
        >>> from skelbo.models import DecoderModel
        >>> model, rng = DecoderModel(2, likelihood="bernoulli"), np.random.RandomState(0)
        >>> theta = model.initialize(torch.ones(4, 3, dtype=torch.float64), rng)
        >>> X, Z = model.sample(5, theta, rng)
        >>> X.shape, Z.shape
        ((5, 3), (5, 2))
        """
        Z = rng.standard_normal((n_samples, self.n_latents))
        return self.sample_given(torch.tensor(Z), theta, rng), Z

    def sample_given(self, Z, theta, rng):
        """Draw rows given their latents.

        Parameters
        ----------
        Z : Tensor of shape (n_samples, n_latents)
            Latents.
        theta : dict of str to Tensor
            Weights and noise variance.
        rng : numpy.random.RandomState
            Source of randomness.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows.
        """
        with torch.no_grad():
            eta = self._predictor(Z, theta).cpu().numpy()
        noise = float(theta.get("noise_variance", 1.0))
        return self.column_likelihood.sample(eta, noise, rng)

    def lower_limits(self, X, weights):
        """Return the smallest values of parameters: a decoder's likelihood is unbounded.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows, NaN where missing.
        weights : ndarray of shape (n_samples,)
            Frequency weights.

        Returns
        -------
        dict of str to float
            Of the noise variance, in squared units of the data; empty where there is none.
        """
        if not self.column_likelihood.has_noise:
            return {}
        floor = noise_floor(X, weights, FLOOR_SHARE)
        return {"noise_variance": float(floor.mean())}

    def warnings(self, theta, X, weights):
        """Return messages about parameters at their limits.

        Parameters
        ----------
        theta : dict of str to ndarray
            Fitted parameters.
        X : ndarray of shape (n_samples, n_features)
            Rows, NaN where missing.
        weights : ndarray of shape (n_samples,)
            Frequency weights.

        Returns
        -------
        list of NoiseFloorWarning
            With cause and remedy.
        """
        limit = self.lower_limits(X, weights).get("noise_variance", 0.0)
        if limit and theta["noise_variance"] <= 1.01 * limit:
            return [
                NoiseFloorWarning(
                    f"the noise variance reached its floor, {limit:.3g} (1e-3 of the mean variance "
                    "of the columns): the decoder reproduces the data; use a smaller decoder or "
                    "fewer latents."
                )
            ]
        return []
