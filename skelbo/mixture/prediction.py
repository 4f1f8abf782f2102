r"""Prediction by a fitted mixture without copying X.

.. math:: \log \pi_k N(x; \mu_k, \Sigma_k) = \eta_k^T t(x) + h(x)

Where natural parameters lose no digits, predictions are matrix products with the table's own rows:
no copy and no transposition. Cells are not checked beforehand: a row with missing, infinite or huge
cells makes the result of its block not finite. Infinite cells are then refused, and the block is
left to `Mixture`, which handles such rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from sklearn.utils import assert_all_finite

from skelbo.data.memmap import release_pages
from skelbo.data.rows import MIN_THREADED_CELLS, Block, Rows
from skelbo.data.threads import map_in_order, n_threads
from skelbo.gaussian.components import Components
from skelbo.gaussian.exponential_family import NaturalParameters
from skelbo.gaussian.mahalanobis import mahalanobis_cells
from skelbo.gaussian.moments import triangle_size
from skelbo.mixture.log_sum_exp import exponentiate
from skelbo.mixture.mixture import Mixture

# Size of cancelling terms, in nats, up to which rows are not centred: twelve digits remain.
SAFE_UNCENTRED = 1e4
# The same, up to which float32 rows stay in float32: three to four digits of a nat remain. Products
# of different columns cancel more in rows far from the centre.
SAFE_SINGLE, SAFE_SINGLE_PRODUCTS = 3e3, 1e2
# Number of columns from which squares get a matrix product of their own.
MANY_COLUMNS = 8
# Cells of a block's temporaries, and its number of rows.
BLOCK_CELLS = 2**19
MIN_BLOCK_ROWS, MAX_BLOCK_ROWS = 256, 2**14


class PredictionForm(Protocol):
    """K weighted Gaussians in a form that takes rows of X as they are stored."""

    @property
    def cells(self) -> int:
        """Size of the temporaries that a row needs."""

    def values(self, rows: np.ndarray) -> np.ndarray:
        """Return rows (n, p) about the form's origin, in its precision."""

    def log_joint(self, values: np.ndarray) -> np.ndarray:
        """Return log p(x, z = k) - h(x), (K, n), in nats, of the values of rows."""

    def add_log_base(self, log_prob: np.ndarray, values: np.ndarray) -> None:
        """Add h(x), in nats, in place."""


@dataclass(frozen=True)
class LinearForm:
    """Natural parameters in one precision, for rows of X as they are stored.

    Attributes
    ----------
    natural : NaturalParameters
        About `origin`.
    isotropic : bool
        Whether all columns of a component share one variance.
    origin : ndarray of shape (n_features,), or None
        Subtracted from the rows; None is zero.
    """

    natural: NaturalParameters
    isotropic: bool
    origin: np.ndarray | None

    def cast(self, dtype: np.dtype) -> LinearForm:
        """Return the same in another precision."""
        natural = self.natural
        with np.errstate(over="ignore"):
            common = None if natural.common is None else natural.common.astype(dtype)
            natural = replace(natural, eta=natural.eta.astype(dtype), common=common)
            origin = None if self.origin is None else self.origin.astype(dtype)
        return LinearForm(natural, self.isotropic, origin)

    @property
    def is_representable(self) -> bool:
        """True if no parameter overflows its precision, and none of h(x) underflows."""
        eta, P = self.natural.eta, self.natural.common
        if not all(a is None or np.isfinite(a).all() for a in (eta, P, self.origin)):
            return False
        diagonal = 1.0 if P is None else P.diagonal() if P.ndim == 2 else P
        return bool(np.min(diagonal) >= np.finfo(eta.dtype).tiny)

    @property
    def _n_features(self) -> int:
        kind, n_statistics = self.natural.kind, self.natural.eta.shape[1]
        if kind.shared:
            return n_statistics - 1
        return triangle_size(n_statistics) if kind.dense else n_statistics // 2

    @property
    def _forms_statistics(self) -> bool:
        """True if t(x) is computed, rather than products with parts of eta."""
        kind = self.natural.kind
        return not kind.shared and (kind.dense or self._n_features < MANY_COLUMNS)

    @property
    def cells(self) -> int:
        """Size of the temporaries that a row needs."""
        (K, n_statistics), p = self.natural.eta.shape, self._n_features
        copied = 0 if self.origin is None else p
        if self._forms_statistics:
            return 2 * K + copied + n_statistics
        return 2 * K + copied + (0 if self.isotropic else p)

    def values(self, rows: np.ndarray) -> np.ndarray:
        """Return rows (n, p) about the origin, in this precision.

        In C order whatever their layout, on which rounding would depend otherwise.
        """
        dtype = self.natural.eta.dtype
        if self.origin is not None:
            return np.subtract(rows, self.origin, dtype=dtype, order="C")
        return np.ascontiguousarray(rows, dtype=dtype)

    def log_joint(self, values: np.ndarray) -> np.ndarray:
        """Return log p(x, z = k) - h(x), (K, n), in nats, of the rows (n, p)."""
        kind, eta, p = self.natural.kind, self.natural.eta, values.shape[1]
        if self._forms_statistics:
            return self.natural.log_joint(kind.statistics_of(values.T))
        joint = np.dot(eta[:, 1 : p + 1], values.T)
        if self.isotropic and not kind.shared:
            joint += eta[:, p + 1, None] * np.einsum("np,np->n", values, values)
        elif not kind.shared:
            joint += np.dot(eta[:, p + 1 :], np.square(values).T)
        joint += eta[:, :1]
        return joint

    def add_log_base(self, log_prob: np.ndarray, values: np.ndarray) -> None:
        """Add h(x), in nats, in place."""
        P = self.natural.common
        if P is None:
            return
        white = values @ P if P.ndim == 2 else values * P
        log_prob -= 0.5 * np.einsum("np,np->n", white, values)


@dataclass(frozen=True)
class ComponentForm:
    """Components one by one, in the precision of their means.

    Attributes
    ----------
    theta : Mixture
        About `origin`.
    origin : ndarray of shape (n_features,)
        Subtracted from the rows.
    """

    theta: Mixture
    origin: np.ndarray

    @property
    def cells(self) -> int:
        """Size of the temporaries that a row needs, understated: short blocks cost more here."""
        return 1 + mahalanobis_cells(*self.theta.components.means.shape) // 4

    def values(self, rows: np.ndarray) -> np.ndarray:
        """Return rows (n, p) about the origin."""
        dtype = self.theta.components.means.dtype
        return np.subtract(rows, self.origin, dtype=dtype, order="C")

    def log_joint(self, values: np.ndarray) -> np.ndarray:
        """Return log p(x, z = k), (K, n), in nats, of the rows (n, p)."""
        components = self.theta.components
        return components.covariance.log_joint(values.T, components.means, self.theta.log_weights)

    def add_log_base(self, log_prob: np.ndarray, values: np.ndarray) -> None:
        """Leave `log_prob` unchanged: `log_joint` is complete."""


class Predictor:
    """Densities, posteriors and labels of new rows under a mixture; immutable.

    Parameters
    ----------
    theta : Mixture
        About zero.
    """

    def __init__(self, theta: Mixture):
        self.origin = theta.components.centre(theta.weights)
        self.theta = theta.about(self.origin)
        self._form_float64 = self._form(theta)

    def _form(self, uncentred: Mixture) -> PredictionForm:
        isotropic = self.theta.components.covariance.structure.isotropic
        natural = uncentred.natural
        if natural is not None and natural.terms < SAFE_UNCENTRED:
            return LinearForm(natural, isotropic, None)
        natural = self.theta.natural
        if natural is None:
            return ComponentForm(self.theta, self.origin)
        return LinearForm(natural, isotropic, self.origin)

    @cached_property
    def _form_float32(self) -> PredictionForm:
        """The form for float32 rows: in float32 if that is precise enough."""
        dtype = np.dtype(np.float32)
        # Rows are centred in float32: by a number that float32 holds exactly.
        with np.errstate(over="ignore"):
            origin = self.origin.astype(dtype)
        if not np.isfinite(origin).all():
            return self._form_float64
        theta = self.theta.about(origin - self.origin)
        natural, components = theta.natural, theta.components
        if natural is None:
            covariance = components.covariance.as_float32(components.means, SAFE_SINGLE)
            if covariance is None:
                return self._form_float64
            components = Components(components.means.astype(dtype), covariance)
            return ComponentForm(Mixture(theta.weights, components), origin)
        products = natural.kind.dense and not natural.kind.shared
        if natural.terms >= (SAFE_SINGLE_PRODUCTS if products else SAFE_SINGLE):
            return self._form_float64
        isotropic = components.covariance.structure.isotropic
        form = LinearForm(natural, isotropic, origin.astype(np.float64)).cast(dtype)
        return form if form.is_representable else self._form_float64

    def log_prob(self, X: np.ndarray) -> np.ndarray:
        """Return log p(x; theta) of each row, (n,), in nats."""

        def answer(form, values, joint, top, out):
            total = exponentiate(joint, top)
            top += np.log(total, out=total)
            form.add_log_base(top, values)
            out[:] = top
            return bool(np.isfinite(np.add.reduce(top)))

        return self._each(X, np.empty(len(X), X.dtype), answer, self.theta.log_prob)

    def resp(self, X: np.ndarray) -> np.ndarray:
        """Return p(z = k | x; theta) of each row, (n, K)."""

        def answer(form, values, joint, top, out):
            total = exponentiate(joint, top)
            np.multiply(joint, np.reciprocal(total, out=total), out=out.T, casting="same_kind")
            return True

        result = np.empty((len(X), len(self.theta.weights)), X.dtype)
        return self._each(X, result, answer, lambda block: self.theta.resp(block).T)

    def labels(self, X: np.ndarray) -> np.ndarray:
        """Return the most probable component of each row, (n,)."""
        K = len(self.theta.weights)
        # The first of equals is found fastest as the largest of small integers.
        ranks = np.arange(K, 0, -1, dtype=np.min_scalar_type(K))[:, None]

        def answer(form, values, joint, top, out):
            best = np.maximum.reduce((joint == top) * ranks, axis=0)
            np.subtract(K, best, out=out, dtype=np.intp)
            return True

        return self._each(X, np.empty(len(X), np.intp), answer, self.theta.labels)

    def _each(
        self,
        X: np.ndarray,
        result: np.ndarray,
        answer: Callable[..., bool],
        fallback: Callable[[Block], np.ndarray],
    ) -> np.ndarray:
        """Fill `result` by blocks of rows, by `fallback` where `answer` returns False."""
        form = self._form_float32 if X.dtype == np.float32 else self._form_float64
        size = min(max(BLOCK_CELLS // form.cells, MIN_BLOCK_ROWS), MAX_BLOCK_ROWS)

        def fill(start: int) -> None:
            rows, out = np.asarray(X[start : start + size]), result[start : start + size]
            values = form.values(rows)
            joint = form.log_joint(values)
            top = np.maximum.reduce(joint, axis=0)
            finite = np.isfinite(np.add.reduce(top))
            if not (finite and answer(form, values, joint, top, out)):
                assert_all_finite(rows, allow_nan=True, input_name="X")
                cells = self.theta.components.cells
                out[:] = Rows(rows, None, self.origin, *cells).each(fallback, *out.shape[1:])
            release_pages(X, start, start + size)

        # A prediction costs half an E-step.
        cells = self.theta.components.cells[0]
        threads = n_threads() if len(X) * cells >= 2 * MIN_THREADED_CELLS else 1
        with np.errstate(over="ignore", invalid="ignore"):
            map_in_order(fill, range(0, len(X), size), threads)
        return result
