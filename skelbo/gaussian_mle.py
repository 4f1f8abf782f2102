"""Maximum likelihood for one Gaussian: in closed form, or by EM where cells are missing."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from numbers import Integral, Real
from types import MappingProxyType

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from skelbo.data.column_moments import ColumnMoments
from skelbo.data.precision import cast
from skelbo.data.random_stream import random_stream
from skelbo.data.row_source import RowSource
from skelbo.data.rows import Block
from skelbo.elbo import ElboTerms
from skelbo.em.engine import EMEngine
from skelbo.em.loop import Ascent
from skelbo.em.progress import Progress
from skelbo.gaussian.components import Components
from skelbo.gaussian.exponential_family import SAFE_TERMS
from skelbo.gaussian.fitted_gaussian import FittedGaussian
from skelbo.gaussian.moments import Moments, Scatter
from skelbo.gaussian.published_matrices import (
    MATRIX,
    fingerprint,
    precision_roots,
    published_means,
)
from skelbo.gaussian.regularization import (
    SINGULAR,
    Regularization,
    SingularCovarianceWarning,
    column_units,
    regularization,
)
from skelbo.gaussian.structures import STRUCTURES
from skelbo.mixins.latent_variable_estimator import LatentVariableEstimator
from skelbo.mixins.standard_errors import FitRows, StandardErrors
from skelbo.mixins.summary import feature_names
from skelbo.mixture.file_fields import column_moments_field, fingerprints_field, moments_field
from skelbo.mixture.mixture import Mixture
from skelbo.persistence import Array, Nullable
from skelbo.transaction import fit_method


class GaussianMLE(StandardErrors, LatentVariableEstimator):
    r"""One Gaussian, fitted by maximum likelihood.

    .. math:: x = \mu + L z, \quad z \sim N(0, I), \quad \Sigma = L L^T

    Complete data are fitted in closed form, in one pass. Missing cells (NaN, missing at random)
    are fitted by EM on the likelihood of the observed cells.

    Parameters
    ----------
    covariance_type : {"full", "diag", "spherical"}, default="full"
        Structure of the covariance.
    reg_covar : "auto" or float, default="auto"
        ``"auto"`` changes nothing unless the covariance is numerically singular; then its
        eigenvalues, in units of the columns' variances, are kept above 1e-10, with a warning. A
        number is added to every variance; a covariance that is still singular, or within the
        rounding of the columns, is an error.
    tol : "auto" or float, default="auto"
        Only used with missing cells. ``"auto"`` stops when less than 1e-7 nats per row are left
        to climb; a number stops when an iteration climbs less.
    max_iter : int, default=1000
        Only used with missing cells.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,)
        Mean.
    covariance_, precision_ : ndarray
        Shape (n_features, n_features) if full, (n_features,) if diag, a scalar if spherical.
    precision_cholesky_ : ndarray
        U, upper triangular, with precision = U U^T; of the same shape.
    lower_bound_ : float
        Mean log-likelihood per row, in nats, at the fitted parameters.
    lower_bounds_ : list of float
        The same after each iteration.
    n_iter_ : int
        Number of iterations; 1 for complete data.
    converged_ : bool
        Whether the maximum was reached.
    n_parameters_ : int
        Number of free parameters.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X had any.

    See Also
    --------
    EMGaussianMixture : Several Gaussians; with one component it is this model.

    References
    ----------
    Ding (2020), *The Road from MLE to EM to VAE: A Brief Tutorial*. Little and Rubin
    (2019), *Statistical Analysis with Missing Data*, section 11.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo import GaussianMLE
    >>> X = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 4.0], [7.0, 9.0]])
    >>> model = GaussianMLE().fit(X)
    >>> model.mean_.round(2)
    array([4.  , 4.64])
    >>> model.impute(X)[1].round(2)
    array([3.  , 3.57])
    """

    _parameter_constraints: dict = {
        "covariance_type": [StrOptions({"full", "diag", "spherical"})],
        "reg_covar": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "tol": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

    _resumes_fits = True
    # Of the rows so far, for `partial_fit`; None where cells were missing.
    _moments: Moments | None
    _columns: ColumnMoments
    _fingerprints: Mapping[str, int] = MappingProxyType({})  # of the matrices of the fit
    _origin: np.ndarray

    def __init__(self, covariance_type="full", *, reg_covar="auto", tol="auto", max_iter=1000):
        self.covariance_type = covariance_type
        self.reg_covar = reg_covar
        self.tol = tol
        self.max_iter = max_iter

    @fit_method
    def fit(self, X, y=None, sample_weight=None):
        """Fit the Gaussian to the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN). A Dask array or dataframe is computed
            anew in each pass (three for complete rows): pass ``X.persist()`` where there is memory
            for it.
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), optional
            Frequency weights: weight 2 is the row twice, weight 0 is the row absent.

        Returns
        -------
        self : GaussianMLE
            The fitted estimator.

        Raises
        ------
        ValueError
            If X has infinite cells, a column without observed cells or beyond the range of
            float64, fewer than two rows, or a covariance that stays singular with a numeric
            `reg_covar`. The estimator then stays as it was.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import GaussianMLE
        >>> model = GaussianMLE("diag").fit([[0.0], [2.0], [10.0]], sample_weight=[2, 2, 0])
        >>> model.mean_, model.covariance_
        (array([1.]), array([1.]))
        """
        rows = self._read_rows(X, sample_weight)
        progress = Progress(self, rows.X, n_starts=1, max_iter=self.max_iter)
        columns = ColumnMoments.of_rows(rows)
        rows = rows.about(columns.mean)
        moments = None
        if columns.complete:
            moments = self._total_moments(rows)
            ascent = self._maximum(moments, columns, rows.dtype)
            progress.begin_start(0)
            progress.iteration(1, ascent.lower_bound, ascent.theta)
            progress.end_start()
        else:
            ascent = self._climb(rows, columns, progress)
        self._publish(ascent, rows, columns, moments)
        self._warn_if_not_converged(ascent, self.max_iter, self.tol)
        progress.end()
        self._data = FitRows.of_rows(rows)
        return self

    @fit_method
    def partial_fit(self, X, y=None, sample_weight=None):
        """Update the fit by more rows: the result is that of one fit to all rows so far.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Complete rows: with missing cells the likelihood has no additive statistics. At least
            two at first, later any number.
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), optional
            Frequency weights.

        Returns
        -------
        self : GaussianMLE
            The updated estimator; `lower_bound_` is that of all rows so far.

        Raises
        ------
        ValueError
            If there are missing cells, here or in the fit before, or if X cannot be used; see
            `fit`. The estimator then stays as it was.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import GaussianMLE
        >>> X = np.array([[1.0, 2.0], [3.0, 5.0], [5.0, 4.0], [7.0, 9.0]])
        >>> model = GaussianMLE().partial_fit(X[:3]).partial_fit(X[3:])
        >>> bool(np.allclose(model.covariance_, GaussianMLE().fit(X).covariance_))
        True
        """
        first = "mean_" not in vars(self)
        rows = self._read_rows(X, sample_weight, reset=first)
        columns = ColumnMoments.of_rows(rows)
        if not (columns.complete and (first or self._columns.complete)):
            raise ValueError(
                "partial_fit got missing cells (NaN), expected complete rows (in fits before "
                "it, too); use fit, which needs several passes over incomplete rows."
            )
        rows = rows.about(columns.mean if first else self._origin)
        moments = self._total_moments(rows)
        if not first and self._moments is not None:
            columns, moments = self._columns + columns, self._moments + moments
        ascent = self._maximum(moments, columns, rows.dtype)
        self._publish(ascent, rows, columns, moments, whole=first)
        self._data = None
        return self

    def _total_moments(self, rows: RowSource) -> Moments:
        return rows.total(_block_moments, STRUCTURES[self.covariance_type].scatter)

    def _maximum(self, moments: Moments, columns: ColumnMoments, dtype: np.dtype) -> Ascent:
        """Maximise log p(X; theta) in closed form."""
        structure = STRUCTURES[self.covariance_type]
        theta = Mixture.from_moments(structure, moments, self._rule(columns, dtype))
        bound = theta.components.expected_log_prob(moments) / moments.weight[0]
        return Ascent(theta, bound, (bound,), True)

    def _climb(self, rows: RowSource, columns: ColumnMoments, progress: Progress) -> Ascent:
        """Maximise the likelihood of the observed cells by EM: the missing ones are hidden."""
        structure, p = STRUCTURES[self.covariance_type], rows.n_features
        rule = self._rule(columns, rows.dtype)
        units = column_units(columns.positive_variance, columns.rounding_variance(rows.dtype))
        kind = structure.scatter
        scatter = np.diag(columns.variance) if kind.dense else columns.variance
        independent = Moments(kind, np.ones(1), np.zeros((1, p)), scatter[None])
        start = Mixture.from_moments(structure, independent, rule)
        engine = EMEngine(rows, rule, units, self.tol, self.max_iter)
        engine.protect(progress)
        with rows.own_threads():
            return engine.fit([lambda: start], progress).best

    def _rule(self, columns: ColumnMoments, dtype: np.dtype) -> Regularization:
        variances = columns.positive_variance
        return regularization(self.reg_covar, variances, columns.rounding_variance(dtype))

    def _publish(
        self,
        ascent: Ascent,
        rows: RowSource,
        columns: ColumnMoments,
        moments: Moments | None,
        whole: bool = True,
    ) -> None:
        """Set the fitted attributes, all at once, and warn of a singular covariance.

        `whole` is False where `rows` are only the last of those that were fitted.
        """
        components, dtype = ascent.theta.components, rows.dtype
        arrays = components.covariance.public_arrays()
        mean = (components.means[0] + rows.origin).astype(dtype)
        precision_cholesky = cast(arrays["precisions_cholesky_"][0], dtype)
        # The bound is that of the parameters as they are rounded.
        covariance = components.covariance.structure.from_public_arrays(
            [precision_cholesky], 1, len(mean)
        )
        published = Components((mean.astype(np.float64) - rows.origin)[None], covariance)
        terms = np.asarray(arrays["precisions_"][0] * arrays["covariances_"][0])
        if moments is None or (whole and np.abs(terms).max() > SAFE_TERMS):
            # Moments of nearly collinear columns have lost the digits that rows still have.
            bound = Mixture(np.ones(1), published).e_step(rows)[0]
        else:
            bound = published.expected_log_prob(moments) / moments.weight[0]
        self.mean_, self.precision_cholesky_ = mean, precision_cholesky
        self.covariance_ = cast(arrays["covariances_"][0], dtype)
        self.precision_ = cast(arrays["precisions_"][0], dtype)
        self._fingerprints = {name: fingerprint(getattr(self, name)) for name in MATRIX}
        self._origin, self._columns, self._moments = rows.origin, columns, moments
        self._publish_ascent(ascent.with_bound(bound))
        if not ascent.theta.is_regular:
            message = SINGULAR.format(what="the data")
            warnings.warn(message, SingularCovarianceWarning, stacklevel=3)

    # ------------------------------------------------------------------ files

    def _file_attributes(self):
        p, structure = self.n_features_in_, STRUCTURES[self.covariance_type]
        shape = structure.shape(1, p)[1:]
        return {
            **super()._file_attributes(),
            "mean_": Array((p,)),
            "covariance_": Array(shape),
            "precision_": Array(shape),
            "precision_cholesky_": Array(shape),
            "_fingerprints": fingerprints_field(MATRIX),
            "_origin": Array((p,), ("float64",)),
            "_columns": column_moments_field(p),
            "_moments": Nullable(moments_field(structure, 1, p)),
        }

    def _set_file_state(self, state):
        super()._set_file_state(state)
        self._fitted()  # ValueError where the arrays are no Gaussian

    # ---------------------------------------------------------------- after fit

    def _fitted(self) -> FittedGaussian:
        """Return the Gaussian of the public attributes as they are now."""
        p, structure = len(self.mean_), STRUCTURES[self.covariance_type]
        roots = precision_roots(vars(self), self._fingerprints, structure, 1, p, MATRIX)
        covariance = structure.from_public_arrays([roots], 1, p)
        mean = published_means(self.mean_, "mean_")
        return FittedGaussian(mean, Components(np.zeros((1, p)), covariance))

    def _shaping_parameters(self):
        return ("covariance_type",)

    def _origin_and_theta(self):
        fitted = self._fitted()
        return fitted.mean, Mixture(np.ones(1), fitted.centred)

    def _public_errors(self, errors):
        covariance = errors["covariances"]
        return {"mean": errors["means"][0], "covariance": covariance[0]}

    def _estimates(self):
        return {"mean": self.mean_, "covariance": self.covariance_}

    def _component_axis(self, name):
        return None

    @property
    def _bound_is_exact(self):
        return True

    def _summary_estimates(self):
        return self._estimates()

    def _summary_is_symmetric(self, name):
        return name == "covariance" and self.covariance_type == "full"

    def _summary_axis(self, name):
        return -1, feature_names(self)

    @property
    def n_parameters_(self):
        """Number of free parameters: mean and covariance."""
        self._check_fitted()
        p = self.n_features_in_
        return p + STRUCTURES[self.covariance_type].n_parameters(1, p)

    @property
    def _n_features_out(self):
        return self.n_features_in_

    def _log_prob(self, X):
        log_prob = self._fitted().log_prob(X)
        return log_prob, np.zeros_like(log_prob)

    def _elbo_terms(self, X):
        log_prob, nothing = self._log_prob(X)
        return ElboTerms(log_prob, nothing, log_prob, nothing)

    def _posterior_mean(self, X):
        return self._fitted().latents(X)

    def _posterior_std(self, X):
        return self._fitted().latents_std(X)

    def _reconstruct(self, Z):
        return self._fitted().reconstruct(Z).astype(Z.dtype)

    def _expected_cells(self, X):
        return self._fitted().expected_cells(X)

    def _draw_cells(self, X, n_draws, rng):
        return self._fitted().draw_cells(X, n_draws, rng)

    def _draw(self, n_samples, random_state):
        Z = random_stream(random_state).standard_normal((n_samples, self.n_features_in_))
        Z = Z.astype(self.mean_.dtype)
        return self._reconstruct(Z), Z


def _block_moments(block: Block, kind: Scatter) -> Moments:
    reference = np.zeros((1, len(block.values)))
    return Moments.of_block(kind, block.values, block.weights[None], reference)
