"""Choice among fits by an information criterion, or by log-likelihood held out."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid
from sklearn.utils import get_tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.parallel import Parallel, delayed

from skelbo.data.sharing import sharing
from skelbo.meta.candidate import Candidate, Task, results_table, run_candidate
from skelbo.meta.delegation import DelegatedMethods
from skelbo.transaction import meta_fit_method

CRITERIA = ("bic", "aic", "icl", "held_out")


class CriterionSearch(DelegatedMethods):
    r"""Search over a grid of parameters, each fitted to all rows, by an information criterion.

    One fit for each candidate, where cross-validation needs one for each fold besides. Mixtures
    that are fitted in one process share their starts. All methods of the chosen estimator
    (`predict`, `transform`, `score_samples`, ...) are methods of the search.

    Parameters
    ----------
    estimator : estimator object
        With ``fit`` and the method that `criterion` names, such as all of skelbo.
    param_grid : dict of str to list, or list of such dicts
        Values of parameters, as in :class:`sklearn.model_selection.GridSearchCV`.
    criterion : {"bic", "aic", "icl", "held_out"}, default="bic"
        ``"bic"``, ``"aic"``, ``"icl"``: the estimator's method of that name, lower is better.
        ``"held_out"``: mean log-likelihood in nats per row of 5 folds of shuffled rows, higher is
        better. Equal rows (all rows of a group, if ``groups`` are passed to `fit`) are in one fold.
    n_init : int or None, default=None
        Starts of each candidate: its parameter ``n_init``; None leaves it as it is.
    n_jobs : int or None, default=None
        Number of processes; None is 1, -1 all cores.
    refit : bool, default=True
        Whether to keep the chosen fit, for ``"held_out"`` fitted to all rows, as `best_estimator_`.
    verbose : int, default=0
        1 prints each candidate.
        For a progress bar: ``set_callbacks(ProgressBar())``, from `sklearn.callback`.

    Attributes
    ----------
    results_ : dict of str to ndarray or list
        One entry for each candidate; ``pandas.DataFrame(results_)`` is a table. ``params``,
        ``param_*``, ``criterion``, ``rank`` (1 is chosen; degenerate and failed fits rank last),
        ``n_parameters``, ``lower_bound`` (nats per row), ``converged``, ``degenerate`` (a variance
        at its floor), ``fit_time`` (seconds), ``error`` (its message, "" if there was none).
    best_estimator_ : estimator object
        The chosen fit, if `refit`.
    best_params_ : dict
        Its parameters.
    best_index_ : int
        Its place in `results_`.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X had any.

    See Also
    --------
    skelbo.compare : Comparison of estimators on held-out rows, with standard errors.

    Notes
    -----
    A likelihood that grows without bound as a variance vanishes has no criterion worth comparing:
    degenerate fits are chosen only where all are, with a warning.

    References
    ----------
    Fraley and Raftery (2002), *Model-Based Clustering, Discriminant Analysis, and Density
    Estimation*. Biernacki, Celeux and Govaert (2000) for ICL.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo import EMGaussianMixture
    >>> from skelbo.meta import CriterionSearch
    >>> X = np.random.default_rng(0).standard_normal((60, 2))
    >>> X[:30] += 8
    >>> grid = {"n_components": [1, 2, 3], "covariance_type": ["full", "tied"]}
    >>> search = CriterionSearch(EMGaussianMixture(random_state=0), grid).fit(X)
    >>> search.best_params_
    {'covariance_type': 'tied', 'n_components': 2}
    >>> search.predict(X).shape
    (60,)
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit"])],
        "param_grid": [dict, list, tuple],
        "criterion": [StrOptions(set(CRITERIA))],
        "n_init": [Interval(Integral, 1, None, closed="left"), None],
        "n_jobs": [Integral, None],
        "refit": ["boolean"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator,
        param_grid,
        *,
        criterion="bic",
        n_init=None,
        n_jobs=None,
        refit=True,
        verbose=0,
    ):
        self.estimator = estimator
        self.param_grid = param_grid
        self.criterion = criterion
        self.n_init = n_init
        self.n_jobs = n_jobs
        self.refit = refit
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags, inner = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.estimator_type = inner.estimator_type
        tags.transformer_tags = inner.transformer_tags
        return tags

    @meta_fit_method
    def fit(self, X, y=None, sample_weight=None, **params):
        """Fit all candidates and choose one.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, with missing cells (NaN) where the estimator takes them.
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Frequency weights, for the fits and the criterion: weight 2 is the row twice, weight 0
            is the row absent.
        **params : dict
            Metadata for the ``fit`` of the estimator; ``groups`` also shape the folds.

        Returns
        -------
        self : CriterionSearch
            The fitted search.

        Raises
        ------
        ValueError
            If the grid is empty, the estimator lacks what the criterion needs, all candidates fail
            or no criterion is finite.
        """
        X = self._check_table(X, reset=True)
        grid = self._candidates()
        base = self._base_estimator()
        weights, params = self._fit_parameters(X, sample_weight, params)
        task = Task(self.criterion, X, weights, params)
        context = self._init_callback_context(max_subtasks=len(grid) + self._refits)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        contexts = [context.subcontext(task_name="fit-candidate") for _ in grid]
        models = (clone(base).set_params(**clone(values, safe=False)) for values in grid)
        with sharing():
            candidates = Parallel(n_jobs=self.n_jobs, verbose=10 * self.verbose)(
                delayed(run_candidate)(model, task, self, place)
                for model, place in zip(models, contexts, strict=True)
            )
        self._publish(grid, candidates)
        if self._refits:
            model = clone(base).set_params(**clone(self.best_params_, safe=False))
            self.best_estimator_ = self._fit_within(
                context, "refit-best-candidate", model, X, None, params
            )
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    @property
    def _refits(self) -> bool:
        return self.refit and self.criterion == "held_out"

    def _candidates(self) -> list[dict]:
        """Return the parameters of all candidates."""
        grid = list(ParameterGrid(self.param_grid)) if len(self.param_grid) else []
        if not grid:
            raise ValueError(
                f"param_grid={self.param_grid!r} has no candidates, expected names of parameters "
                "with lists of values; to fit the estimator as it is, call its own fit."
            )
        return grid

    def _base_estimator(self) -> Any:
        """Return the estimator with `n_init`; ValueError if it lacks what is asked of it."""
        base, name = clone(self.estimator), type(self.estimator).__name__
        method = "score" if self.criterion == "held_out" else self.criterion
        if not hasattr(base, method):
            raise ValueError(
                f"criterion={self.criterion!r} needs {name}.{method}, which it does not have; use "
                "another criterion, or an estimator that has the method (of a pipeline, put the "
                "search into its last step)."
            )
        if self.n_init is not None:
            if "n_init" not in base.get_params(deep=False):
                raise ValueError(
                    f"n_init={self.n_init} needs a parameter n_init of {name}, which it does not "
                    "have; leave n_init=None."
                )
            base.set_params(n_init=self.n_init)
        return base

    def _publish(self, grid: list[dict], candidates: list[Candidate]) -> None:
        """Set the fitted attributes, and warn."""
        failed = [candidate.error for candidate in candidates if candidate.error]
        if len(failed) == len(candidates):
            raise ValueError(f"all {len(failed)} candidates failed; the first with: {failed[0]}")
        values = np.array([candidate.criterion for candidate in candidates])
        if not np.isfinite(values).any():
            raise ValueError(
                f"no candidate has a finite criterion={self.criterion!r}, got "
                f"{sorted(set(values.tolist()), key=str)}; look for rows of density zero "
                "(score_samples), or use another criterion."
            )
        lower = values if self.criterion != "held_out" else -values
        usable = np.isfinite(values)
        degenerate = np.array([candidate.degenerate for candidate in candidates])
        order = np.lexsort((np.where(usable, lower, np.inf), degenerate, ~usable))
        rank = np.empty(len(order), dtype=np.int32)
        rank[order] = np.arange(1, len(order) + 1)
        best = candidates[order[0]]
        self.results_ = results_table(grid, candidates, rank)
        self.best_index_, self.best_params_ = int(order[0]), grid[order[0]]
        if "best_estimator_" in vars(self):  # of an earlier fit
            del self.best_estimator_
        if self.refit and best.model is not None:
            self.best_estimator_ = best.model
        for warning in best.warnings:
            warnings.warn(warning, stacklevel=4)

    @available_if(lambda self: hasattr(self.estimator, "transform"))
    def fit_transform(self, X, y=None, sample_weight=None, **params):
        """Fit all candidates, and return ``transform(X)`` of the chosen one.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Frequency weights.
        **params : dict
            As for `fit`.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_latents)
            Latents.
        """
        return self.fit(X, y, sample_weight=sample_weight, **params)._chosen().transform(X)
