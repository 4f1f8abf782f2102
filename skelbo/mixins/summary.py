"""Summary of a fit: estimates with standard errors and intervals, fit statistics, warnings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from scipy import special

from skelbo.printed_table import PrintedTable, data_frame, number

# Quantile of the standard normal for intervals of 95 %.
Z95 = 1.959963984540054
COLUMNS = ("parameter", "estimate", "std_error", "low", "high", "note")
AT_EDGE, NOT_DETERMINED = "at the edge of its domain", "not determined by the rows"
# Parameters that are printed; a dataframe has all.
MAX_PRINTED = 60
# Domains of parameters by their names; all others are real numbers.
DOMAINS = {
    "rates": "positive",
    "noise_variance": "positive",
    "noise_variances": "positive",
    "weights": "unit_interval",
    "startprob": "unit_interval",
    "transmat": "unit_interval",
    "probabilities": "unit_interval",
    "category_probabilities": "unit_interval",
}
MATRICES = ("covariance", "covariances")
# Axis of a parameter along which columns of X lie, and their names; None if there is no such axis.
ColumnAxis = tuple[int, Sequence[str] | None]


@dataclass(frozen=True)
class Summary:
    """Estimates and statistics of a fit, as a table.

    Attributes
    ----------
    title : str
        The estimator.
    parameters : dict of str to list
        Columns ``parameter estimate std_error low high note``, one entry for each number.
        Intervals are of 95 %, symmetric for real numbers, for positive ones in logarithms and for
        probabilities in log-odds. NaN where there is no error: `note` has the reason.
    statistics : dict of str to float or str
        Statistics of the fit; in nats unless their names have another unit.
    warnings : list of str
        What to look at before the numbers are used.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo import GaussianMLE
    >>> summary = GaussianMLE("diag").fit(np.array([[0.0], [2.0], [4.0]])).summary()
    >>> print(summary)
    GaussianMLE(covariance_type='diag')
    <BLANKLINE>
    parameter      estimate  std_error     low   high
    mean[0]               2     0.9428  0.1521  3.848
    covariance[0]     2.667      2.177  0.5382  13.21
    <BLANKLINE>
    log-likelihood per row  -1.909
    parameters              2
    iterations              1
    converged               True
    >>> summary.to_frame()["parameter"].tolist()
    ['mean[0]', 'covariance[0]']
    """

    title: str
    parameters: dict[str, list]
    statistics: dict[str, Any]
    warnings: list[str]

    def to_frame(self):
        """Return the parameters as a dataframe.

        Returns
        -------
        pandas.DataFrame
            One row for each number.
        """
        return data_frame(self.parameters)

    def _printed(self) -> PrintedTable:
        columns = {
            name: [value if isinstance(value, str) else number(value) for value in shown]
            for name, shown in ((k, v[:MAX_PRINTED]) for k, v in self.parameters.items())
        }
        for name in COLUMNS[2:]:
            if not any(columns[name]):
                del columns[name]
        return PrintedTable(columns, frozenset({"parameter", "note"}))

    @property
    def _rest(self) -> list[str]:
        hidden = len(self.parameters["parameter"]) - MAX_PRINTED
        return [f"... and {hidden} more: to_frame() has all"] if hidden > 0 else []

    def _statistics(self) -> list[tuple[str, str]]:
        return [(name, _text(value)) for name, value in self.statistics.items()]

    def __str__(self) -> str:
        lines = [self.title, ""]
        if self.parameters["parameter"]:
            lines += [str(self._printed()), *self._rest, ""]
        width = max(map(len, self.statistics), default=0)
        lines += [f"{name.ljust(width)}  {value}" for name, value in self._statistics()]
        lines += [f"warning: {message}" for message in self.warnings]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        table = self._printed().to_html() if self.parameters["parameter"] else ""
        parts = [f"<p><code>{escape(self.title)}</code></p>", table]
        parts += [f"<p>{escape(line)}</p>" for line in self._rest]
        rows = (f"<tr><th>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in self._statistics())
        parts.append(f"<table>{''.join(rows)}</table>")
        parts += [f"<p><b>warning:</b> {escape(message)}</p>" for message in self.warnings]
        return "".join(parts)


class Summarized:
    """The method `summary` of an estimator.

    A subclass names its parameters in `_summary_estimates`; one with ``standard_errors_`` gives
    these under the same names.
    """

    lower_bound_: float
    n_iter_: int
    converged_: bool
    n_parameters_: Any
    # Fitted attributes that are parameters, where no subclass has a better list.
    _summary_attributes: tuple[str, ...] = ()

    def _summary_estimates(self) -> dict[str, Any]:
        """Return arrays of parameters by their names."""
        names = (name for name in self._summary_attributes if hasattr(self, name))
        return {name.rstrip("_"): getattr(self, name) for name in names}

    @property
    def _bound_is_exact(self) -> bool:
        """True if `lower_bound_` is the mean of log p(x)."""
        return False

    def _summary_errors(self) -> dict[str, Any] | None:
        """Return standard errors under the names of the estimates; None if there are none."""
        return None

    def _summary_statistics(self) -> dict[str, Any]:
        """Return the statistics of the fit by the labels that are printed."""
        name = "log-likelihood per row" if self._bound_is_exact else "lower bound per row"
        return {
            name: self.lower_bound_,
            "parameters": self.n_parameters_,
            "iterations": self.n_iter_,
            "converged": self.converged_,
        }

    def _summary_criteria(self) -> tuple[str, ...]:
        """Return the names of the information criteria that there are."""
        return "aic", "bic"

    def _summary_is_symmetric(self, name: str) -> bool:
        """Return whether a parameter is an array of full covariance matrices."""
        return False

    def _summary_axis(self, name: str) -> ColumnAxis:
        """Return the axis of a parameter that are columns of X, and their names; else None."""
        return -1, None

    def _summary_tables(self, name: str, n_tables: int) -> list[tuple[str, ColumnAxis | None]]:
        """Return a label for each table of a parameter that is a list, and its axis of columns."""
        labels = self._summary_axis(name)[1] or [str(place) for place in range(n_tables)]
        return [(label, None) for label in labels]

    def _summary_domain(self, name: str) -> str:
        """Return the domain of a parameter: real, positive, unit_interval or simplex."""
        return DOMAINS.get(name.partition("[")[0], "real")

    def summary(self, X=None, sample_weight=None, **params):
        """Summarise the fit: estimates, standard errors, 95 % intervals, statistics, warnings.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), optional
            Rows for statistics that need some: AIC, BIC and (of mixtures) ICL.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Their frequency weights.
        **params : dict
            Further arguments of `score`, such as ``groups`` of sequences.

        Returns
        -------
        summary : Summary
            Prints as text, in a notebook as HTML; ``to_frame()`` is a dataframe.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import EMGaussianMixture
        >>> X = np.array([[0.0], [0.2], [0.1], [5.0], [5.3]])
        >>> summary = EMGaussianMixture(2, random_state=0).fit(X).summary(X)
        >>> [round(value, 2) for value in summary.parameters["estimate"][:2]]
        [0.6, 0.4]
        >>> sorted(set(summary.statistics) & {"AIC", "BIC", "ICL"})
        ['AIC', 'BIC', 'ICL']
        """
        self._check_fitted()  # type: ignore[attr-defined]
        return summarize(self, X, sample_weight, params)


def summarize(estimator: Summarized, X: Any, sample_weight: Any, params: dict[str, Any]) -> Summary:
    """Return the summary of a fitted estimator."""
    notes = _notes(estimator)
    estimates, errors = estimator._summary_estimates(), None
    try:
        errors = estimator._summary_errors()
    except (AttributeError, ValueError) as error:
        notes.append(f"no standard errors: {error}")
    columns: dict[str, list] = {name: [] for name in COLUMNS}
    for name, values in estimates.items():
        for cells in _entries(estimator, name, values, None if errors is None else errors[name]):
            for column, value in zip(columns.values(), cells, strict=True):
                column.append(value)
    for kind in (AT_EDGE, NOT_DETERMINED):
        count = columns["note"].count(kind)
        if count:
            notes.append(f"{count} parameter{'s' * (count > 1)} {kind}: no standard error.")
    statistics = _fit_statistics(estimator, X, sample_weight=sample_weight, **params)
    return Summary(" ".join(repr(estimator).split()), columns, statistics, notes)


def _notes(estimator: Summarized) -> list[str]:
    """Return the warnings about a fit."""
    notes = []
    if not estimator.converged_:
        notes.append("the fit did not converge; raise max_iter or look at the data.")
    failures = vars(estimator).get("failed_starts_")
    if failures:
        notes.append(f"{len(failures)} starts failed; the first: {failures[0][1]}")
    return notes


def _fit_statistics(estimator: Any, X: Any, **params: Any) -> dict[str, Any]:
    """Return the statistics of a fit, and of rows where there are any."""
    statistics = estimator._summary_statistics()
    if X is not None:
        statistics["log p(x) per row"] = estimator.score(X, **params)
        for criterion in estimator._summary_criteria():
            statistics[criterion.upper()] = getattr(estimator, criterion)(X, **params)
    return statistics


def _entries(estimator: Any, name: str, values: Any, errors: Any) -> Iterator[tuple]:
    """Yield the cells of the table for each number of a parameter."""
    if isinstance(values, list):  # one table for each column, or each likelihood
        found = [None] * len(values) if errors is None else errors
        labels = estimator._summary_tables(name, len(values))
        for (label, columns), table, error in zip(labels, values, found, strict=True):
            yield from _array_entries(estimator, f"{name}[{label}]", table, error, columns)
        return
    yield from _array_entries(estimator, name, values, errors, estimator._summary_axis(name))


def _array_entries(estimator, name, values, errors, columns) -> Iterator[tuple]:
    values = np.asarray(values, dtype=np.float64)
    axis, names = columns or (-1, None)
    errors = np.full(values.shape, np.nan) if errors is None else np.asarray(errors)
    matrix, own = estimator._summary_is_symmetric(name), estimator._summary_domain(name)
    for index in np.ndindex(values.shape):
        below = matrix and index[-1] < index[-2]
        if np.isnan(values[index]) or (matrix and index[-1] > index[-2]):
            continue
        labels = list(map(str, index))
        if names is not None and values.ndim:
            for place in (-2, -1) if matrix else (axis,):
                labels[place] = names[index[place]]
        domain = "positive" if name in MATRICES and not below else own
        label = ", ".join(labels)
        cells = _cells(values[index], float(errors[index]), domain)
        yield (f"{name}[{label}]" if label else name, *cells)


def _cells(value: float, error: float, domain: str) -> tuple:
    """Return estimate, standard error, interval and note."""
    if np.isinf(error) or error == 0:
        return value, np.nan, np.nan, np.nan, AT_EDGE if error == 0 else NOT_DETERMINED
    if np.isnan(error):
        return value, np.nan, np.nan, np.nan, ""
    low, high = interval(value, error, domain)
    return float(value), float(error), low, high, ""


def interval(value: float, error: float, domain: str = "real") -> tuple[float, float]:
    """Return an interval of 95 % within the domain of a parameter.

    Parameters
    ----------
    value, error : float
        Estimate and standard error.
    domain : {"real", "positive", "unit_interval", "simplex"}
        Positive numbers have their interval in logarithms, probabilities in log-odds.
    """
    if domain == "positive" and value > 0:
        reach = np.exp(min(Z95 * error / value, 700.0))
        return float(value / reach), float(value * reach)
    if domain in ("unit_interval", "simplex") and 0 < value < 1:
        reach = Z95 * error / (value * (1 - value))
        centre = special.logit(value)
        return float(special.expit(centre - reach)), float(special.expit(centre + reach))
    return float(value - Z95 * error), float(value + Z95 * error)


def _text(value: Any) -> str:
    if isinstance(value, bool | np.bool_ | str):
        return str(value)
    if isinstance(value, int | np.integer):
        return str(int(value))
    return f"{float(value):.2f}" if abs(value) >= 1000 else f"{float(value):.4g}"


def feature_names(estimator: Any) -> list[str]:
    """Return the names of the columns of the fit, their positions if they have none."""
    if "feature_names_in_" in vars(estimator):
        return [str(name) for name in estimator.feature_names_in_]
    return [str(j) for j in range(estimator.n_features_in_)]
