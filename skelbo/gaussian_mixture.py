"""Gaussian mixture by EM: a hidden label with a tractable posterior; EM maximises the ELBO."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from numbers import Integral, Real
from types import MappingProxyType

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from skelbo.data.column_moments import ColumnMoments
from skelbo.data.row_source import RowSource
from skelbo.data.rows import Rows
from skelbo.em.engine import EMEngine, Start
from skelbo.em.loop import Ascent
from skelbo.gaussian.covariance import CovarianceStructure
from skelbo.gaussian.published_matrices import (
    fingerprint,
)
from skelbo.gaussian.regularization import regularization
from skelbo.gaussian.structures import STRUCTURES
from skelbo.mixins.mixture_estimator import MixtureEstimator
from skelbo.mixture.attributes import (
    COVARIANCE_ARRAYS,
    FactorMatrices,
    density_arrays,
    differs,
    mixture_of,
    predictor_of,
    public_arrays,
)
from skelbo.mixture.file_fields import (
    covariance_fields,
    fingerprints_field,
    moments_field,
    stepwise_field,
)
from skelbo.mixture.fitted_mixture import FittedMixture
from skelbo.mixture.initialization import STARTS, UserParameters, mixture_starts
from skelbo.mixture.mixture import Mixture
from skelbo.mixture.mixture_engine import mixture_engine
from skelbo.mixture.prediction import Predictor
from skelbo.persistence import Array, Optional


class EMGaussianMixture(MixtureEstimator):
    r"""Mixture of Gaussians, fitted by EM.

    .. math:: p(x; \theta) = \sum_k \pi_k\, N(x; \mu_k, \Sigma_k)

    The names, shapes and meanings are those of :class:`sklearn.mixture.GaussianMixture`, so that
    changing the import is enough. On top of it: sample weights, missing cells (NaN),
    `transform`, the terms of the bound, seven covariance types, acceleration, callbacks, starts
    that do not fail, and a default stopping rule that reaches the mode.

    Parameters
    ----------
    n_components : int, default=1
        Number of Gaussians.
    covariance_type : {"full", "tied", "diag", "spherical", "tied_diag", "tied_spherical", \
            "factor"}, default="full"
        What is shared: nothing, the matrix, off-diagonal zeros, one variance for all columns, and
        the latter two shared by all components. ``"factor"`` is between diag and full, for tables
        of many columns: few factors and noise, a mixture of factor analysers.
    tol : "auto" or float, default="auto"
        ``"auto"`` stops when, by geometric extrapolation, less than 1e-7 nats per row are left to
        climb. A number stops when one iteration climbs less than it (nats per row).
    reg_covar : "auto" or float, default="auto"
        ``"auto"`` keeps variances above 1e-10 of the columns' own and changes nothing else; a
        start that needs this is passed over for one that does not. A number is added to every
        variance; a start fails where covariances are still singular, or within the rounding of the
        columns: in the precision of X, in which means are published.
    max_iter : int, default=1000
        Largest number of iterations per start; 0 gives the start itself.
    n_init : int, default=1
        Number of starts; the one with the highest bound is kept. A start that fails is skipped.
        With ``init_params="kmeans"`` the second and later starts, which k-means would lead to the
        same mode, are replaced by short runs: 15 for each start from random rows, after which the
        best exchange components, or give up one for another elsewhere, up to eight times; of the
        best, a fifth of `n_init` are continued. On a sample of a long table, or with missing
        cells: up to 25 from random rows alone, and a third are continued.
    init_params : {"kmeans", "k-means++", "random_from_data", "random"}, default="kmeans"
        How a start finds its first responsibilities, in columns of unit variance (of equal units
        if the covariance type has one variance for all columns).
    weights_init : array-like of shape (n_components,), optional
        First weights.
    means_init : array-like of shape (n_components, n_features), optional
        First means.
    precisions_init : array-like, optional
        First precisions, in the shape of `precisions_`.
    random_state : int, RandomState or None, default=None
        Source of randomness for starts and `sample`.
    warm_start : bool, default=False
        Begin from the last fit.
    verbose : int, default=0
        1 prints starts and every `verbose_interval`-th iteration, 2 also times.
        For a progress bar: ``set_callbacks(ProgressBar())``, from `sklearn.callback`.
    verbose_interval : int, default=10
        See `verbose`.
    solver : {"em", "gem", "gradient"}, default="em"
        ``"em"``: closed-form M-step. ``"gem"``: one guarded gradient step instead (generalized
        EM). ``"gradient"``: L-BFGS on log p(X; theta) by automatic differentiation (needs torch;
        holds all rows in memory).
    acceleration : {"auto", "anderson", None}, default="auto"
        Anderson acceleration with a monotone fallback. ``"auto"`` leaves the first 5 iterations
        to plain EM, or 10 if `tol` is a number, which mostly asks for less than the mode.
    device : str or None, default=None
        Torch device, such as ``"cuda"``, for the passes over the rows in `fit`; in float64. Rows
        are moved once if they fit. Rows with missing cells, M-steps, `partial_fit` and all that
        comes after the fit stay with NumPy. None is NumPy (for ``solver="gradient"``, the CPU).
    n_factors : int, default=2
        Factors per component for ``covariance_type="factor"``, not used by the others: 0 is diag,
        ``n_features - 1`` is full, and more than that change nothing and are left out.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Probabilities of the components.
    means_ : ndarray of shape (n_components, n_features)
        Means.
    covariances_, precisions_, precisions_cholesky_ : ndarray
        Covariances, their inverses P, and upper triangular U with P = U U^T. Shape (n_components,
        n_features, n_features) if full, (n_features, n_features) if tied, (n_components,
        n_features) if diag, (n_components,) if spherical, (n_features,) if tied_diag, a scalar if
        tied_spherical. If factor, as if full; they are computed when read, not stored.
    loadings_ : ndarray of shape (n_components, n_features, n_factors)
        Only if factor: the covariance is ``loadings_ @ loadings_.T + diag(noise_variances_)``,
        component by component. The loadings are free to be rotated.
    noise_variances_ : ndarray of shape (n_components, n_features)
        Only if factor. One that runs to zero (a Heywood case) stops at 1e-10 of its column's
        variance, if ``reg_covar="auto"``. In float64 where float32 cannot hold them.
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
        Number of free parameters.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X had any.

    See Also
    --------
    GaussianMLE : One Gaussian, in closed form.

    Notes
    -----
    Passes over the rows use the threads that BLAS may use, with the same bits for any number of
    them, and memory that does not grow with the rows. Until the fit ends BLAS itself keeps to
    one, in the whole process. Long passes are compiled where numba is installed (extra
    ``skelbo[fast]``), which changes last digits only. X may also be a `numpy.memmap` of any size,
    or a Dask array or dataframe (extra ``skelbo[dask]``).

    References
    ----------
    Ding (2020), *The Road from MLE to EM to VAE: A Brief Tutorial*, eq. 2 and 3. Neal and Hinton
    (1998), *A View of the EM Algorithm that Justifies Incremental, Sparse, and Other Variants*.
    Ghahramani and Hinton (1996), *The EM Algorithm for Mixtures of Factor Analyzers*; Liu, Rubin
    and Wu (1998), *Parameter Expansion to Accelerate EM*.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo import EMGaussianMixture
    >>> X = np.array([[1.0, 2.0], [1.2, np.nan], [0.9, 1.8], [8.0, 8.1], [8.2, 7.7], [7.9, 8.0]])
    >>> model = EMGaussianMixture(2, covariance_type="tied_diag", random_state=0).fit(X)
    >>> labels = model.predict(X)
    >>> bool(labels[0] == labels[1] != labels[3])
    True
    >>> model.transform(X).round(2).sum(axis=1)
    array([1., 1., 1., 1., 1., 1.])
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "covariance_type": [StrOptions(STRUCTURES.keys())],
        "tol": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "reg_covar": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "init_params": [StrOptions(set(STARTS))],
        "weights_init": ["array-like", None],
        "means_init": ["array-like", None],
        "precisions_init": [
            "array-like",
            np.ndarray,
            Interval(Real, 0, None, closed="neither"),
            None,
        ],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "verbose_interval": [Interval(Integral, 1, None, closed="left")],
        "solver": [StrOptions({"em", "gem", "gradient"})],
        "acceleration": [StrOptions({"auto", "anderson"}), None],
        "device": [str, None],
        "n_factors": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(
        self,
        n_components=1,
        *,
        covariance_type="full",
        tol="auto",
        reg_covar="auto",
        max_iter=1000,
        n_init=1,
        init_params="kmeans",
        weights_init=None,
        means_init=None,
        precisions_init=None,
        random_state=None,
        warm_start=False,
        verbose=0,
        verbose_interval=10,
        solver="em",
        acceleration="auto",
        device=None,
        n_factors=2,
    ):
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.solver = solver
        self.acceleration = acceleration
        self.device = device
        self.n_factors = n_factors

    covariances_, precisions_, precisions_cholesky_ = (FactorMatrices() for _ in range(3))

    _fingerprints: Mapping[str, int] = MappingProxyType({})  # of the arrays that a fit published
    _finds_infinity = True

    # -------------------------------------------------------------------- fit

    def _engine(self, rows: RowSource, columns: ColumnMoments, *, continued: bool) -> EMEngine:
        """Return the engine of a fit to these rows."""
        return mixture_engine(
            rows,
            columns,
            self._structure(rows.n_features),
            self.n_components,
            reg_covar=self.reg_covar,
            solver=self.solver,
            device=self.device,
            acceleration=self.acceleration,
            tol=self.tol,
            max_iter=self.max_iter,
            continued=continued,
        )

    def _starts(self, engine: EMEngine, n_starts: int, rng) -> Iterator[Start]:
        """Return the starts of the ascents."""
        kind, K, p = self.covariance_type, self.n_components, engine.rows.n_features
        init = self.weights_init, self.means_init, self.precisions_init
        return mixture_starts(
            engine.rows,
            self._structure(p),
            K,
            UserParameters.checked(kind, K, p, *init),
            engine.regularization,
            n_starts=n_starts,
            init_params=self.init_params,
            rng=rng,
            units=engine.units,
        )

    def _centred(self, rows: RowSource) -> tuple[RowSource, ColumnMoments]:
        """Check what the options ask of the rows; return these about their centre."""
        self._check_enough_rows(rows.n_present)
        self._check_options(rows)
        columns = ColumnMoments.of_rows(rows)
        return rows.about(columns.mean), columns

    def _check_options(self, rows: RowSource) -> None:
        """Refuse options that do not go together."""
        kind, dask = self.covariance_type, not isinstance(rows, Rows)
        other_solver = self.solver not in STRUCTURES[kind].solvers
        elsewhere = "a Dask collection, not held here"
        refusals = [
            ("solver", other_solver, f"covariance_type={kind!r}; use solver='em'"),
            ("solver", dask and self.solver == "gradient", f"{elsewhere}; use solver='em'"),
            ("device", dask and self.device is not None, f"{elsewhere}; leave device=None"),
        ]
        for name, refused, other in refusals:
            if refused:
                raise ValueError(f"{name}={getattr(self, name)!r} does not fit {other}.")

    def _column_parameters(self):
        factors = "loadings_" in vars(self)
        return ("loadings", "noise_variances") if factors else ("covariances",)

    def _shaping_parameters(self):
        names = "n_components", "covariance_type"
        return (*names, "n_factors") if self.covariance_type == "factor" else names

    def _regularization(self, columns, dtype):
        variances = columns.positive_variance
        return regularization(self.reg_covar, variances, columns.rounding_variance(dtype))

    def _cells(self, n_features):
        return self._structure(n_features).row_cells(self.n_components, n_features)

    def _structure(self, n_features: int) -> CovarianceStructure:
        return STRUCTURES[self.covariance_type].configured(n_features, self.n_factors)

    def _publish(self, ascent: Ascent, rows: RowSource, e_step: Callable) -> None:
        """Set the fitted attributes; the bound is that of the parameters as they are rounded."""
        theta = ascent.theta
        arrays = public_arrays(theta, rows.origin, rows.dtype)
        names = "weights_", "means_", *theta.components.covariance.structure.state_names
        state = (arrays[name] for name in names)
        rounded = mixture_of(self.covariance_type, *state).about(rows.origin)
        if differs(rounded, theta):
            ascent = ascent.with_bound(e_step(rounded)[0])
        for name in COVARIANCE_ARRAYS:
            self.__dict__.pop(name, None)  # of a fit with another covariance_type
        self.__dict__.update(arrays)
        self._fingerprints = {name: fingerprint(arrays[name]) for name in arrays}
        self._publish_ascent(ascent)
        self._warn_if_singular(theta)

    # ------------------------------------------------------------------ files

    def _file_attributes(self):
        K, p = self.n_components, self.n_features_in_
        structure = self._structure(p)
        return {
            **super()._file_attributes(),
            "means_": Array((K, p)),
            **covariance_fields(structure, K, p),
            "_fingerprints": Optional(
                fingerprints_field(["weights_", "means_", *sorted(COVARIANCE_ARRAYS)])
            ),
            "_stepwise": Optional(stepwise_field(moments_field(structure, K, p), K, p)),
        }

    # -------------------------------------------------------------- after fit

    def _density_arrays(self) -> tuple[str, list[np.ndarray]]:
        """Return a covariance type and its public arrays; see `density_arrays`."""
        return density_arrays(self.covariance_type, vars(self), self._fingerprints)

    def _theta(self, origin: np.ndarray) -> Mixture:
        """Return theta about an origin, from the public arrays."""
        self._check_width(len(origin))
        kind, arrays = self._density_arrays()
        if kind != self.covariance_type:
            raise ValueError(
                f"A fit with covariance_type={self.covariance_type!r} cannot go on from matrices "
                f"that were set by hand; set {' and '.join(self._structure(2).state_names)}, or "
                "delete the matrices."
            )
        return mixture_of(kind, *arrays).about(origin)

    def _predictor(self) -> Predictor:
        """Return the predictor of the public arrays as they are now."""
        kind, arrays = self._density_arrays()
        return predictor_of(kind, *arrays)

    def _fitted(self) -> FittedMixture:
        kind, arrays = self._density_arrays()
        return FittedMixture(mixture_of(kind, *arrays))

    @property
    def n_parameters_(self):
        """Number of free parameters: weights, means and covariances."""
        self._check_fitted()
        K, p = self.means_.shape
        return K - 1 + K * p + self._structure(p).n_parameters(K, p)

    def _n_parameters(self) -> int:
        """Return the number of free parameters, by the name that scikit-learn's tests call."""
        return self.n_parameters_
