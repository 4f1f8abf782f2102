"""Anderson acceleration of a fixed-point map, guarded by `skelbo.em.loop.ascend`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from skelbo.em.checkpoint import Resumable

# Plain steps before extrapolation begins: those of an ascent that needs no help.
PATIENCE = 5
# Attributes that change during an ascent.
STATE = (
    "patience",
    "pending",
    "points",
    "images",
    "image",
    "candidate",
    "vector",
    "usable",
    "stride",
    "striding",
)


class Anderson(Resumable):
    r"""Extrapolation from the last residuals of the map F, the EM step.

    With residuals :math:`f_t = F(\theta_t) - \theta_t` the candidate is
    :math:`F(\theta_t) - \sum_i \gamma_i\, \Delta F_i`, :math:`\gamma` minimising
    :math:`\|f_t - \sum_i \gamma_i\, \Delta f_i\|^2` over the last `order` differences: an
    approximate root of f. Where f has a root but the bound no maximum (a saddle, a long ridge) that
    is refused; then the step itself is lengthened, by twice as much each time this is accepted.

    Parameters
    ----------
    to_vector, from_vector : callable
        Between parameters and unconstrained coordinates; `from_vector` returns None for a vector
        of no valid parameters.
    patience : int
        Number of steps to watch before the first candidate.
    order : int
        Number of differences used.

    Notes
    -----
    Walker and Ni (2011); Henderson and Varadhan (2019) for EM, where unguarded use fails.
    """

    def __init__(
        self,
        to_vector: Callable[[Any], np.ndarray],
        from_vector: Callable[[np.ndarray], Any],
        patience: int = PATIENCE,
        order: int = 5,
    ):
        self.to_vector = to_vector
        self.from_vector = from_vector
        self.patience = patience
        self.pending: deque[tuple[Any, Any]] = deque(maxlen=order + 1)
        self.points: deque[np.ndarray] = deque(maxlen=order + 1)
        self.images: deque[np.ndarray] = deque(maxlen=order + 1)
        # One of the last image and the last candidate is the next point.
        self.image: Any = None
        self.candidate: Any = None
        self.vector = np.empty(0)  # coordinates of the candidate
        self.usable = 0  # pairs since the last refusal
        self.stride = 1.0
        self.striding = False  # whether the last candidate was a lengthened step

    def checkpoint_state(self):
        """Return what has been recorded."""
        return {name: getattr(self, name) for name in STATE}

    def resume(self, state):
        """Go on with what had been recorded."""
        for name in STATE:
            setattr(self, name, state[name])

    def learn(self, theta: Any, image: Any, statistics: Any = None) -> None:
        """Record theta and its image under F."""
        self.pending.append((theta, image))
        self.patience -= 1

    def _compute_coordinates(self) -> None:
        """Compute the coordinates of the recorded pairs: an ascent that ends early needs none."""
        for theta, image in self.pending:
            if theta is self.image:
                self.points.append(self.images[-1])
            elif theta is self.candidate:
                self.points.append(self.vector)
            else:
                self.points.append(self.to_vector(theta))
            self.images.append(self.to_vector(image))
            self.image = image
            self.usable = min(self.usable + 1, len(self.points))
        self.pending.clear()

    def refuse(self) -> None:
        """Record that the last candidate was refused: extrapolate from newer pairs only."""
        if self.striding:
            self.stride, self.striding = max(self.stride / 4, 1.0), False
        self.usable = 0

    def propose(self) -> Any:
        """Return the extrapolated parameters, or None while there are too few pairs."""
        if self.patience >= 0:
            return None
        self._compute_coordinates()
        images = np.array(self.images)[-self.usable :]
        with np.errstate(invalid="ignore"):
            residuals = images - np.array(self.points)[-self.usable :]
        if not np.isfinite(residuals).all():
            return None  # a component of weight zero has no coordinates
        if self.striding:
            self.stride *= 2
        self.striding = self.usable < 2
        if self.striding:
            self.vector = images[-1] + self.stride * residuals[-1]
        else:
            residual_steps, image_steps = _steps(residuals), _steps(images)
            gamma = np.linalg.lstsq(residual_steps, residuals[-1], rcond=1e-10)[0]
            self.vector = images[-1] - image_steps @ gamma
        with np.errstate(all="ignore"):  # an extrapolation may overflow
            self.candidate = self.from_vector(self.vector)
        return self.candidate

    def rate(self) -> float:
        """Return the square of F's largest Ritz value over the last pairs, 0 if not known.

        Near a mode each step shrinks the distance by the largest eigenvalue of F's Jacobian, and
        the remaining climb, which is quadratic in the distance, by its square.
        """
        self._compute_coordinates()
        points, images = np.array(self.points), np.array(self.images)
        if len(points) < 3 or not (np.isfinite(points).all() and np.isfinite(images).all()):
            return 0.0
        steps = _steps(points)
        lengths = np.linalg.norm(steps, axis=0)
        if not np.all(lengths > 0):
            return 0.0
        # F's Jacobian in coordinates along the steps.
        jacobian = np.linalg.lstsq(steps / lengths, _steps(images) / lengths, rcond=1e-5)[0]
        largest = float(np.linalg.eigvals(jacobian).real.max())
        return min(max(largest, 0.0), 0.99999) ** 2


class BolderAnderson(Resumable):
    """Anderson acceleration from a bolder step than F, with the fixed points of F.

    Parameters
    ----------
    anderson : Anderson
        Extrapolates from the bolder steps.
    watch : Anderson
        Records the plain ones, whose rate decides how much climb is left.
    bolder : callable, (theta, image, statistics) -> theta
        Returns the bolder step.
    """

    def __init__(self, anderson: Anderson, watch: Anderson, bolder: Callable[[Any, Any, Any], Any]):
        self.anderson, self.watch, self.bolder = anderson, watch, bolder
        self.propose, self.refuse, self.rate = anderson.propose, anderson.refuse, watch.rate

    def checkpoint_state(self):
        """Return the states of both."""
        return [self.anderson.checkpoint_state(), self.watch.checkpoint_state()]

    def resume(self, state):
        """Go on with both."""
        for each, part in zip((self.anderson, self.watch), state, strict=True):
            each.resume(part)

    def learn(self, theta: Any, image: Any, statistics: Any) -> None:
        """Record theta, the plain step and the bolder one from it."""
        self.anderson.learn(theta, self.bolder(theta, image, statistics))
        self.watch.learn(theta, image)


def _steps(path: np.ndarray) -> np.ndarray:
    """Return the differences of successive points (n_points, n) as columns (n, n_points - 1)."""
    return (path[1:] - path[:-1]).T
