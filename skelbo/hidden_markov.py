"""Hidden Markov model by EM: labels that form a chain; the E-step is forward-backward."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from skelbo.data.column_moments import ColumnMoments
from skelbo.data.fingerprint import table_digest
from skelbo.data.precision import cast_if_representable
from skelbo.data.random_stream import random_stream
from skelbo.data.rows import Rows
from skelbo.data.sequences import Runs
from skelbo.em.engine import EMEngine, Start
from skelbo.em.loop import Ascent, AscentError
from skelbo.em.progress import Progress
from skelbo.gaussian.regularization import (
    SINGULAR,
    SingularCovarianceWarning,
    column_units,
)
from skelbo.gaussian.structures import STRUCTURES
from skelbo.likelihoods import Likelihood
from skelbo.mixins.emission_parameters import EmissionParameters
from skelbo.mixins.sequence_estimator import SequenceEstimator
from skelbo.mixture.chain.fitted_chain import ChainAnswers, FittedChain
from skelbo.mixture.chain.hidden_markov_theta import HiddenMarkov
from skelbo.mixture.chain.markov_chain import MarkovChain
from skelbo.mixture.chain.sequence_rows import SequenceRows
from skelbo.mixture.chain.starts import hidden_markov_starts
from skelbo.mixture.chain.user_parameters import UserModel, probabilities
from skelbo.mixture.emission_attributes import (
    emission_arrays,
    emissions_differ,
    emissions_of,
)
from skelbo.mixture.emission_layout import EmissionLayout
from skelbo.mixture.initialization import STARTS
from skelbo.persistence import (
    Array,
    Nullable,
    Number,
    Optional,
    RandomStream,
    Sequence,
    Text,
)
from skelbo.transaction import fit_method

COVARIANCE_TYPES = {name for name in STRUCTURES if name != "factor"}
INITIAL = (
    "startprob_init",
    "transmat_init",
    "means_init",
    "precisions_init",
    "rates_init",
    "probabilities_init",
)


class EMHiddenMarkovModel(EmissionParameters, SequenceEstimator):
    r"""Hidden Markov model, fitted by EM (Baum-Welch).

    .. math:: p(x_{1:T}, z_{1:T}; \theta)
        = s_{z_1} \prod_{t=2}^T A_{z_{t-1} z_t} \prod_{t=1}^T p(x_t \mid z_t)

    A mixture whose labels depend on the label before: EM again, the E-step is forward-backward.
    Emissions are those of :class:`EMMixture`: a block of Gaussian columns, yes/no columns, counts
    and categories, with missing cells. Sequences are contiguous runs of rows, separated by
    `groups` in every method, or by `group_column`; without both, all rows are one sequence.

    Parameters
    ----------
    n_components : int, default=2
        Number of states.
    likelihood : {"gaussian", "bernoulli", "poisson", "categorical", "auto"}, Likelihood, or \
            list of these, default="gaussian"
        Distribution of the columns given the state, one for all or one for each. ``"auto"``: 0/1
        is bernoulli, a few integer codes from 0 are categorical, everything else is gaussian;
        counts must be named.
    covariance_type : {"full", "tied", "diag", "spherical", "tied_diag", "tied_spherical"}, \
            default="full"
        Covariance of the Gaussian columns, as in :class:`EMGaussianMixture`.
    group_column : str or int, optional
        Name or position of the column of X that holds the id of each row's sequence. It is no
        feature. In a cross-validation or a pipeline this needs nothing else, while `groups` must
        be routed to every method (metadata routing).
    tol : "auto" or float, default="auto"
        ``"auto"`` stops when, by geometric extrapolation, less than 1e-7 nats per row are left to
        climb. A number stops when one iteration climbs less than it (nats per row).
    reg_covar : "auto" or float, default="auto"
        Of the Gaussian columns; see :class:`EMGaussianMixture`.
    max_iter : int, default=1000
        Largest number of iterations per start; 0 gives the start itself: with everything given, a
        model that can be scored.
    n_init : int, default=1
        Number of starts; the one with the highest bound is kept. With ``init_params="kmeans"`` the
        second and later ones begin from random rows.
    init_params : {"kmeans", "k-means++", "random_from_data", "random"}, default="kmeans"
        How a start finds its first states, in columns of variance one, codes as indicators; its
        transitions are those of these states.
    startprob_init : array-like of shape (n_components,), optional
        First probabilities of the first state. Zeros stay zero.
    transmat_init : array-like of shape (n_components, n_components), optional
        First probabilities of transitions, rows adding up to one. Zeros stay zero.
    means_init : array-like of shape (n_components, n_gaussian_columns), optional
        First means of the Gaussian columns.
    precisions_init : array-like, optional
        First precisions of the Gaussian columns, in the shape of `precisions_`.
    rates_init : array-like of shape (n_components, n_poisson_columns), optional
        First rates of columns of counts; of one column also a vector.
    probabilities_init : array-like of shape (n_components, n_bernoulli_columns) or list, optional
        First probabilities of 1 in yes/no columns. Where there are columns of codes, a list with
        one array for each yes/no (n_components,) or categorical (n_components, n_codes) column.
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
    startprob_ : ndarray of shape (n_components,)
        Probabilities of the first state of a sequence.
    transmat_ : ndarray of shape (n_components, n_components)
        Probabilities of transitions, from rows to columns. The row of a state that is never left
        stays as it began.
    means_ : ndarray of shape (n_components, n_features)
        E[x | state]; NaN in categorical columns. States are in ascending order of the first column
        (of the probability of its highest code), ties of the next; in the order of the user where
        `startprob_init` or `transmat_init` is given.
    covariances_, precisions_, precisions_cholesky_ : ndarray
        Of the Gaussian columns, where there are any, as in :class:`EMMixture`.
    rates_ : ndarray of shape (n_components, n_poisson)
        Rates of the columns of counts, where there are any.
    probabilities_ : ndarray of shape (n_components, n_bernoulli)
        Probabilities of 1 in the yes/no columns, where there are any.
    category_probabilities_ : list of ndarray of shape (n_components, n_codes)
        Probabilities of the codes of each categorical column, where there are any.
    likelihood_ : ndarray of object, shape (n_features,)
        Name of the likelihood of each column.
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
        Number of free parameters; zeros of `startprob_init` and `transmat_init` are not counted.
    n_features_in_ : int
        Number of features, without the column of ids.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X had any.

    See Also
    --------
    EMMixture : The same without memory.

    Notes
    -----
    A weight is that of a whole sequence: 2 is the sequence twice, 0 the sequence absent. A
    cross-validation that cuts out the middle of a sequence joins its ends: split by
    :class:`sklearn.model_selection.GroupKFold` or ``TimeSeriesSplit``.

    Likelihoods are scaled in each row, so that nothing underflows; a sequence whose likely paths
    transitions of probability zero forbid is done in logarithms. Long tables pass in blocks, with
    memory that does not grow with them; where numba is installed (``skelbo[fast]``) the recursions
    are compiled, without it they run over many segments of the sequences at once.

    References
    ----------
    Baum, Petrie, Soules and Weiss (1970), *A Maximization Technique Occurring in the Statistical
    Analysis of Probabilistic Functions of Markov Chains*. Rabiner (1989), *A Tutorial on Hidden
    Markov Models*. Zucchini, MacDonald and Langrock (2016), *Hidden Markov Models for Time Series*.
    Ding (2020), *The Road from MLE to EM to VAE: A Brief Tutorial*, eq. 2 and 3.

    Examples
    --------
    Two sequences of counts that switch between a low and a high rate:

    >>> import numpy as np
    >>> from skelbo import EMHiddenMarkovModel
    >>> X = np.array([[1], [0], [2], [9], [11], [1], [8], [12], [10], [0], [1], [1]])
    >>> groups = ["a"] * 6 + ["b"] * 6
    >>> model = EMHiddenMarkovModel(2, likelihood="poisson", random_state=0)
    >>> model.fit_predict(X, groups=groups)
    array([0, 0, 0, 1, 1, 0, 1, 1, 1, 0, 0, 0])
    >>> model.rates_.round(1).ravel()
    array([ 0.9, 10. ])
    >>> model.transmat_.round(2)
    array([[0.8, 0.2],
           [0.4, 0.6]])
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "likelihood": [str, Likelihood, "array-like"],
        "covariance_type": [StrOptions(COVARIANCE_TYPES)],
        "group_column": [str, Integral, None],
        "tol": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "reg_covar": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "init_params": [StrOptions(set(STARTS))],
        "startprob_init": ["array-like", None],
        "transmat_init": ["array-like", None],
        "means_init": ["array-like", None],
        "precisions_init": ["array-like", Interval(Real, 0, None, closed="neither"), None],
        "rates_init": ["array-like", None],
        "probabilities_init": ["array-like", None],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "acceleration": [StrOptions({"auto", "anderson"}), None],
    }

    def __init__(
        self,
        n_components=2,
        *,
        likelihood="gaussian",
        covariance_type="full",
        group_column=None,
        tol="auto",
        reg_covar="auto",
        max_iter=1000,
        n_init=1,
        init_params="kmeans",
        startprob_init=None,
        transmat_init=None,
        means_init=None,
        precisions_init=None,
        rates_init=None,
        probabilities_init=None,
        random_state=None,
        warm_start=False,
        verbose=0,
        acceleration="auto",
    ):
        self.n_components = n_components
        self.likelihood = likelihood
        self.covariance_type = covariance_type
        self.group_column = group_column
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.startprob_init = startprob_init
        self.transmat_init = transmat_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.rates_init = rates_init
        self.probabilities_init = probabilities_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.acceleration = acceleration

    random_state_: np.random.RandomState | None = None  # continued by `sample`

    # -------------------------------------------------------------------- fit

    @fit_method
    def fit(self, X, y=None, sample_weight=None, groups=None):
        """Fit the model to sequences.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of all sequences below each other, in the order of time, possibly with missing
            cells (NaN) or wholly missing time points, which are integrated out. A list of arrays
            is joined by `skelbo.sequences`.
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), optional
            Frequency weights of the sequences, equal within each: weight 2 is the sequence twice,
            weight 0 is the sequence absent.
        groups : array-like of shape (n_samples,), optional
            Id of the sequence of each row, a number or a string; the rows of a sequence stand
            below each other.

        Returns
        -------
        self : EMHiddenMarkovModel
            The fitted model.

        Raises
        ------
        ValueError
            If the data cannot be used (a list of arrays, an id that returns, weights that differ
            within a sequence, a cell without a density), or if every start fails.
        """
        table, runs, weights = self._read_fit(X, sample_weight, groups)
        warm = self.warm_start and "transmat_" in vars(self)
        layout, columns = self._columns(table, runs, weights, warm)
        origin = layout.origin(columns)
        rows = SequenceRows(
            table, runs, weights, origin, self.n_components, layout.cells(self.n_components)
        )
        engine = EMEngine(
            rows,
            layout.regularization(self.reg_covar, columns, table.dtype),
            column_units(columns.positive_variance, columns.rounding_variance(table.dtype)),
            tol=self.tol,
            max_iter=self.max_iter,
            acceleration=self.acceleration,
            continued=warm,
        )
        rng = random_stream(self.random_state)
        starts = [self._theta().about(origin)] if warm else self._starts(engine, layout, rng)
        n_starts = 1 if warm else self.n_init
        progress = Progress(self, table, n_starts, self.max_iter, self.verbose)
        progress.protect(
            lambda: [table_digest(table, weights), table_digest(runs.bounds[:, None])],
            rng,
            starts if warm else None,
            (layout,),
        )
        with rows.own_threads():
            restarts = engine.fit(starts, progress)
        best = self._ordered(restarts.best)
        self._publish(best, rows, layout)
        self.failed_starts_, self.random_state_ = restarts.failures, rng
        self._warn_if_not_converged(best, self.max_iter, self.tol)
        progress.end()
        return self

    def _columns(self, table, runs: Runs, weights, warm: bool):
        """Return the likelihoods of the columns, and their moments."""
        if len(table) < self.n_components:
            raise ValueError(
                f"Expected n_samples >= n_components but got n_components = {self.n_components}, "
                f"n_samples = {len(table)}; use fewer components or more data."
            )
        per_row = None if weights is None else runs.repeated(weights)
        everything = Rows(table, per_row)
        if not warm:
            layout = EmissionLayout.of_rows(everything, self.likelihood, self.covariance_type)
            return layout, ColumnMoments.of_rows(everything)
        if self._layout.n_features != table.shape[1]:
            raise ValueError(
                f"X with {table.shape[1]} features does not fit the model fitted before, which has "
                f"{self._layout.n_features}; set warm_start=False to begin anew."
            )
        self._layout.check(table)
        return self._layout, ColumnMoments.of_rows(everything)

    def _starts(self, engine: EMEngine, layout: EmissionLayout, rng) -> Iterator[Start]:
        """Return the starts of the ascents; those of which the user gave all must be possible."""
        given = {name: getattr(self, name) for name in INITIAL}
        user = UserModel.checked(self.n_components, layout, given)
        if user.is_complete(layout):
            bound, _ = engine.evaluate(user.whole(layout, engine.rows.origin))
            if not np.isfinite(bound):
                raise AscentError(
                    "X has probability zero under the parameters given by startprob_init, "
                    "transmat_init, rates_init or probabilities_init, expected a start from which "
                    "every row is possible; give small probabilities in place of zeros."
                )
        return hidden_markov_starts(
            engine.rows,
            layout,
            user,
            engine.regularization,
            n_starts=self.n_init,
            init_params=self.init_params,
            rng=rng,
            units=engine.units,
        )

    def _ordered(self, ascent: Ascent) -> Ascent:
        """Return an ascent with its states in the order in which they are published."""
        if self.startprob_init is not None or self.transmat_init is not None:
            return ascent
        keys = ascent.theta.emissions.levels()
        return replace(ascent, theta=ascent.theta.permuted(np.lexsort(keys.T[::-1])))

    def _publish(self, ascent: Ascent, rows: SequenceRows, layout: EmissionLayout) -> None:
        """Set the fitted attributes; the bound is that of the parameters as they are rounded.

        Rows are then read about the centre of these, as for a score: the origin rounds rows, too.
        """
        theta, dtype = ascent.theta, rows.X.dtype
        arrays = emission_arrays(theta.emissions, np.ones(self.n_components), rows.origin, dtype)
        rounded = emissions_of(layout, self.covariance_type, arrays, {})
        startprob = cast_if_representable(theta.chain.startprob, dtype)
        transmat = cast_if_representable(theta.chain.transmat, dtype)
        chain = MarkovChain(*(_normalized(array) for array in (startprob, transmat)))
        if dtype != np.float64 or emissions_differ(rounded.about(rows.origin), theta.emissions):
            fitted = FittedChain(HiddenMarkov(chain, rounded))
            ascent = ascent.with_bound(fitted.theta.e_step(rows.about(fitted.origin))[0])
        self._publish_emissions(arrays, layout)
        self.startprob_, self.transmat_ = startprob, transmat
        self._publish_ascent(ascent)
        self._warn_if_singular(theta)

    def _warn_if_singular(self, theta: HiddenMarkov) -> None:
        """Warn of covariances that had to be altered."""
        floored = np.flatnonzero(theta.emissions.floored)
        if floored.size:
            what = f"state {floored[0]}" if len(floored) == 1 else f"{len(floored)} states"
            warnings.warn(SINGULAR.format(what=what), SingularCovarianceWarning, stacklevel=4)

    def _shaping_parameters(self):
        return "n_components", "likelihood", "covariance_type", "group_column"

    # ------------------------------------------------------------------ files

    _resumes_fits = True

    def _file_attributes(self):
        K = self.n_components
        failure = Sequence((Number(integer=True, low=0), Text()), kind=tuple)
        return {
            **super()._file_attributes(),
            "startprob_": Array((K,), low=0.0, high=1.0),
            "transmat_": Array((K, K), low=0.0, high=1.0),
            "failed_starts_": Optional(Sequence(failure)),
            "random_state_": Optional(Nullable(RandomStream())),
        }

    def _set_file_state(self, state):
        super()._set_file_state(state)
        self._theta()  # ValueError where the arrays are no model

    # -------------------------------------------------------------- after fit

    def _theta(self) -> HiddenMarkov:
        """Return theta about zero, from the public arrays as they are now."""
        K = self.n_components
        chain = MarkovChain(
            probabilities(self.startprob_, (K,), "startprob_"),
            probabilities(self.transmat_, (K, K), "transmat_"),
        )
        return HiddenMarkov(chain, self._published_emissions(self._layout))

    def _answers(self, X: np.ndarray, runs: Runs) -> ChainAnswers:
        return FittedChain(self._theta()).on(X, runs)

    def _check_cells(self, X: np.ndarray) -> None:
        self._layout.check(X)

    @property
    def n_parameters_(self):
        """Number of free parameters: first states, transitions, and those of the emissions."""
        self._check_fitted()
        K = self.n_components
        zeros = sum(
            np.count_nonzero(np.asarray(given) == 0)
            for given in (self.startprob_init, self.transmat_init)
            if given is not None
        )
        return K - 1 + K * (K - 1) - zeros + self._theta().emissions.n_parameters

    @property
    def _n_features_out(self):
        return self.means_.shape[0]

    def _reconstruct(self, Z):
        return self._theta().emissions.average(Z).astype(Z.dtype)

    def _draw_runs(self, runs: Runs, random_state: Any) -> tuple[np.ndarray, np.ndarray]:
        """Draw sequences of these lengths."""
        rng = self.random_state_ if random_state is None else None
        rng = rng or random_stream(self.random_state if random_state is None else random_state)
        X, states = FittedChain(self._theta()).draw(runs, rng)
        return X.astype(self.means_.dtype), states


def _normalized(probabilities: np.ndarray) -> np.ndarray:
    """Return probabilities in float64 that add up to one along the last axis."""
    array = probabilities.astype(np.float64)
    return array / array.sum(axis=-1, keepdims=True)
