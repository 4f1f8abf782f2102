"""Mixture of columns of any kind by EM: latent classes, profiles, and Gaussians."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from skelbo.data.column_moments import ColumnMoments
from skelbo.data.row_source import RowSource
from skelbo.em.engine import EMEngine, Start
from skelbo.em.loop import Ascent
from skelbo.gaussian.structures import STRUCTURES
from skelbo.likelihoods import Likelihood
from skelbo.mixins.emission_parameters import EmissionParameters
from skelbo.mixins.mixture_estimator import MixtureEstimator, RowPredictor
from skelbo.mixture.attributes import density_arrays, mixing_weights, predictor_of
from skelbo.mixture.emission_attributes import (
    emission_arrays,
    emissions_differ,
    emissions_of,
)
from skelbo.mixture.emission_engine import emission_engine
from skelbo.mixture.emission_layout import EmissionLayout
from skelbo.mixture.emission_starts import emission_starts
from skelbo.mixture.emissions import Emissions
from skelbo.mixture.fitted_mixture import FittedMixture
from skelbo.mixture.initialization import STARTS, UserParameters, mixture_starts
from skelbo.mixture.mixture import Mixture
from skelbo.mixture.mixture_engine import mixture_engine
from skelbo.persistence import Number

COVARIANCE_TYPES = [name for name in STRUCTURES if name != "factor"]


class EMMixture(EmissionParameters, MixtureEstimator):
    r"""Mixture of columns of any kind, fitted by EM: latent class or latent profile analysis.

    .. math:: p(x; \theta)
        = \sum_k \pi_k\, N(x_G; \mu_k, \Sigma_k) \prod_{j \notin G} p_j(x_j \mid k)

    Given the component, Gaussian columns G form one block with a covariance, and all other columns
    (yes/no, counts, categories) are independent. Missing cells (NaN) are integrated out. One
    Gaussian block alone is :class:`EMGaussianMixture`, to the last digit.

    Parameters
    ----------
    n_components : int, default=1
        Number of components: of latent classes.
    likelihood : {"auto", "gaussian", "bernoulli", "poisson", "categorical"}, Likelihood, or \
            list of these, default="auto"
        Distribution of the columns given the component, one for all or one for each.
        ``"auto"``: 0/1 is bernoulli, a few integer codes from 0 are categorical, everything else is
        gaussian; counts must be named. A `skelbo.likelihoods.Likelihood` of one's own is accepted.
    covariance_type : {"full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"}, \
            default="full"
        Covariance of the Gaussian columns, as in :class:`EMGaussianMixture`.
    tol : "auto" or float, default="auto"
        ``"auto"`` stops when, by geometric extrapolation, less than 1e-7 nats per row are left to
        climb. A number stops when one iteration climbs less than it (nats per row).
    reg_covar : "auto" or float, default="auto"
        Of the Gaussian columns; see :class:`EMGaussianMixture`. Other columns are not regularized.
    max_iter : int, default=1000
        Largest number of iterations per start; 0 gives the start itself.
    n_init : int, default=10
        Number of starts; the one with the highest bound is kept. With ``init_params="kmeans"`` the
        second and later ones are replaced by many short runs from random rows (on a sample of a
        long table), the best third of `n_init` of which at most are continued.
    init_params : {"kmeans", "k-means++", "random_from_data", "random"}, default="kmeans"
        How a start finds its first responsibilities, in columns of variance one, codes as
        indicators.
    random_state : int, RandomState or None, default=None
        Source of randomness for starts and `sample`.
    warm_start : bool, default=False
        Begin from the last fit, with its likelihoods.
    verbose : int, default=0
        1 prints starts and every tenth iteration, 2 also times.
        For a progress bar: ``set_callbacks(ProgressBar())``, from `sklearn.callback`.
    acceleration : {"auto", "anderson", None}, default="auto"
        Anderson acceleration with a monotone fallback; see :class:`EMGaussianMixture`.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Probabilities of the components, descending.
    means_ : ndarray of shape (n_components, n_features)
        E[x | component]; NaN in categorical columns.
    covariances_, precisions_, precisions_cholesky_ : ndarray
        Of the Gaussian columns, in their order, where there are any; shapes as those of
        :class:`EMGaussianMixture`.
    rates_ : ndarray of shape (n_components, n_poisson)
        Rates of the Poisson columns, where there are any.
    probabilities_ : ndarray of shape (n_components, n_bernoulli)
        Probabilities of 1 in the Bernoulli columns, where there are any; 0 and 1 are answers.
    category_probabilities_ : list of ndarray of shape (n_components, n_codes)
        Probabilities of the codes 0, 1, ... of each categorical column, where there are any.
    other_parameters_ : list of ndarray of shape (n_parameters, n_components, n_columns)
        Parameters of likelihoods of one's own, where there are any.
    likelihood_ : ndarray of object, shape (n_features,)
        Name of the likelihood of each column.
    entropy_r2_ : float
        Share of the entropy of uniform labels that the rows of the fit leave out: 1 where all
        labels are certain, 0 where rows carry no information about them.
    lower_bound_ : float
        Mean log-likelihood per row of the training data, in nats, at the fitted parameters.
    lower_bounds_ : list of float
        The same after each iteration of the best start.
    n_iter_ : int
        Number of iterations of the best start.
    converged_ : bool
        Whether the best start met the stopping rule.
    failed_starts_ : list of (int, str)
        Number and cause of each start that was skipped.
    n_parameters_ : int
        Number of free parameters; a categorical column has one less than codes.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X had any.

    See Also
    --------
    EMGaussianMixture : Gaussian columns alone, with more options.

    Notes
    -----
    A row that contradicts a probability of 0 or 1, or a rate of 0, in every component has a score
    of -inf. A code above those of the fit is an error that names the column.

    A table of codes and counts mostly repeats few rows: these are found once, and EM passes over
    the distinct ones. X may also be a `numpy.memmap` of any size, or a Dask collection.

    References
    ----------
    Ding (2020), *The Road from MLE to EM to VAE: A Brief Tutorial*, eq. 2 and 3. Goodman (1974),
    *Exploratory Latent Structure Analysis Using Both Identifiable and Unidentifiable Models*.
    Wedel and Kamakura (2000), *Market Segmentation*, eq. 6.14 (entropy).

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo import EMMixture
    >>> patterns = np.array([[1, 1, 2], [1, 1, 0], [0, 0, 1], [0, 1, 1], [np.nan, 0, 1]])
    >>> model = EMMixture(2, likelihood="categorical", random_state=0)
    >>> model = model.fit(patterns, sample_weight=[40, 20, 30, 5, 5])
    >>> model.weights_.round(2)
    array([0.6, 0.4])
    >>> model.category_probabilities_[2].round(2)
    array([[0.33, 0.  , 0.67],
           [0.  , 1.  , 0.  ]])
    >>> model.predict([[1, 1, np.nan], [0, np.nan, 1]])
    array([0, 1])
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "likelihood": [str, Likelihood, "array-like"],
        "covariance_type": [StrOptions(set(COVARIANCE_TYPES))],
        "tol": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "reg_covar": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "init_params": [StrOptions(set(STARTS))],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "acceleration": [StrOptions({"auto", "anderson"}), None],
    }

    def __init__(
        self,
        n_components=1,
        *,
        likelihood="auto",
        covariance_type="full",
        tol="auto",
        reg_covar="auto",
        max_iter=1000,
        n_init=10,
        init_params="kmeans",
        random_state=None,
        warm_start=False,
        verbose=0,
        acceleration="auto",
    ):
        self.n_components = n_components
        self.likelihood = likelihood
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.acceleration = acceleration

    verbose_interval = 10
    _next_layout: EmissionLayout | None = None  # of a fit that is going on

    # -------------------------------------------------------------------- fit

    def _centred(self, rows):
        n_rows = max(rows.n_present, rows.total_weight)
        self._check_enough_rows(n_rows)
        if self._goes_on:
            self._check_width(rows.n_features)
            layout = self._layout
            rows.total(layout.check_block)
        else:
            layout = EmissionLayout.of_rows(rows, self.likelihood, self.covariance_type)
        self._next_layout = layout
        columns = ColumnMoments.of_rows(rows)
        cells = () if layout.is_gaussian else layout.cells(self.n_components)
        return rows.about(layout.origin(columns), *cells), columns

    @property
    def _is_start(self):
        return self._next_layout is None or self._next_layout.agrees_with(self._layout)

    def _about_origin(self, rows, columns):
        rows.total(self._layout.check_block)
        return rows.about(self._layout.origin(columns), *self._layout.cells(self.n_components))

    @property
    def _goes_on(self) -> bool:
        """True if the likelihoods are those of an earlier fit."""
        return self._is_fitted and self.warm_start

    def _engine(self, rows: RowSource, columns: ColumnMoments, *, continued: bool) -> EMEngine:
        layout, K = self._next_layout, self.n_components
        assert layout is not None
        options: dict[str, Any] = {
            "acceleration": self.acceleration,
            "tol": self.tol,
            "max_iter": self.max_iter,
            "continued": continued,
            "reg_covar": self.reg_covar,
        }
        if layout.structure is None or layout.table is not None:
            return emission_engine(rows, columns, layout, K, **options)
        return mixture_engine(
            rows, columns, layout.structure, K, solver="em", device=None, **options
        )

    def _starts(self, engine: EMEngine, n_starts: int, rng) -> Iterator[Start]:
        layout, K = self._next_layout, self.n_components
        assert layout is not None
        options: dict[str, Any] = {
            "n_starts": n_starts,
            "init_params": self.init_params,
            "rng": rng,
        }
        if layout.structure is None or layout.table is not None:
            return emission_starts(engine, layout, K, **options)
        user, rule = UserParameters(None, None, None), engine.regularization
        options["units"] = engine.units
        return mixture_starts(engine.rows, layout.structure, K, user, rule, **options)

    def _regularization(self, columns, dtype):
        return self._layout.regularization(self.reg_covar, columns, dtype)

    def _shaping_parameters(self):
        return "n_components", "likelihood", "covariance_type"

    def _cells(self, n_features):
        return STRUCTURES[self.covariance_type].row_cells(self.n_components, n_features)

    def _ordered(self, ascent):
        theta = ascent.theta
        order = np.argsort(-theta.weights, kind="stable")
        ordered = Mixture(theta.weights[order], theta.components.take(order))
        return replace(ascent, theta=ordered, statistics=ascent.statistics.take(order))

    def _publish(self, ascent: Ascent, rows: RowSource, e_step: Callable) -> None:
        theta, layout = ascent.theta, self._next_layout or self._layout
        emissions = self._emissions(layout, theta)
        arrays = emission_arrays(emissions, theta.weights, rows.origin, rows.dtype)
        rounded = emissions_of(layout, self.covariance_type, arrays, {})
        weights = theta.weights.astype(rows.dtype)
        if emissions_differ(rounded.about(rows.origin), emissions) or weights.dtype != np.float64:
            share = weights.astype(np.float64) / weights.sum(dtype=np.float64)
            rounded_theta = Mixture(share, self._components(rounded)).about(rows.origin)
            ascent = ascent.with_bound(e_step(rounded_theta)[0])
        self._publish_emissions(arrays, layout)
        self.__dict__.pop("_next_layout", None)
        self.weights_, self.entropy_r2_ = weights, self._entropy_r2(theta, rows)
        self._publish_ascent(ascent)
        self._warn_if_singular(theta)

    def _entropy_r2(self, theta: Mixture, rows: RowSource) -> float:
        """Return one less the mean entropy of the labels, as a share of the largest."""
        if self.n_components == 1:
            return 1.0
        entropy = rows.total(theta.total_entropy) / rows.total_weight
        return float(1 - entropy / np.log(self.n_components))

    def _summary_statistics(self):
        statistics = super()._summary_statistics()
        places = list(statistics.items())
        return dict([*places[:2], ("entropy R2", self.entropy_r2_), *places[2:]])

    # ------------------------------------------------------------------ files

    def _fit_constants(self):
        return (self._next_layout,)

    def _file_attributes(self):
        return {**super()._file_attributes(), "entropy_r2_": Number()}

    # -------------------------------------------------------------- after fit

    @staticmethod
    def _emissions(layout: EmissionLayout, theta: Mixture) -> Emissions:
        """Return the components of theta as emissions."""
        gaussian = layout.is_gaussian
        return Emissions(layout, theta.components) if gaussian else theta.components

    @staticmethod
    def _components(emissions: Emissions) -> Any:
        """Return the Gaussians where emissions are nothing else."""
        return emissions.gaussian if emissions.layout.is_gaussian else emissions

    def _mixture(self) -> Mixture:
        """Return theta about zero, from the public arrays."""
        emissions = self._published_emissions(self._next_layout or self._layout)
        return Mixture(mixing_weights(self.weights_), self._components(emissions))

    def _theta(self, origin):
        self._check_width(len(origin))
        return self._mixture().about(origin)

    def _predictor(self) -> RowPredictor:
        if not self._layout.is_gaussian:
            return self._fitted()
        arrays = density_arrays(self.covariance_type, vars(self), self._fingerprints)[1]
        return predictor_of(self.covariance_type, *arrays)

    def _fitted(self):
        return FittedMixture(self._mixture())

    @property
    def n_parameters_(self):
        """Number of free parameters: weights, and those of the columns in each component."""
        self._check_fitted()
        emissions = self._emissions(self._layout, self._mixture())
        return self.n_components - 1 + emissions.n_parameters

    def _reconstruct(self, Z):
        emissions = self._emissions(self._layout, self._mixture())
        return emissions.average(Z).astype(Z.dtype)
