"""Paths through latent space, along which one latent changes and the others stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skelbo.display.column_kinds import latent_kind

# Latents that are shown if none are chosen.
MAX_LATENTS = 8


@dataclass(frozen=True)
class LatentPaths:
    """Latents along one path per latent, component or code position.

    Attributes
    ----------
    latents : list of ndarray of shape (n_steps, n_latents)
        Points of each path, as `inverse_transform` takes them.
    steps : list of ndarray of shape (n_steps,)
        Values along each path, in the unit of `step_label`.
    names : list of str
        Name of each path.
    step_label : str
        What the steps are.
    """

    latents: list[np.ndarray]
    steps: list[np.ndarray]
    names: list[str]
    step_label: str

    @classmethod
    def of(cls, estimator: Any, X: Any, components: Any, n_steps: int, span: float) -> LatentPaths:
        """Choose the paths of an estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted.
        X : array-like of shape (n_samples, n_features)
            Rows, over which latents vary.
        components : list of int or None
            Latents; None is the most active ones.
        n_steps : int
            Points of a path of a continuous latent.
        span : float
            Its reach, in standard deviations over the rows.

        Returns
        -------
        paths : LatentPaths
            One path per latent; for a mixture one path over its components.

        Raises
        ------
        ValueError
            If there is no such latent.
        """
        Z = np.asarray(estimator.transform(X), dtype=np.float64)
        kind = latent_kind(estimator)
        if kind in ("label", "chain"):
            return cls._of_components(_chosen(components, Z, Z.shape[1]), Z.shape[1])
        chosen = _chosen(components, Z, MAX_LATENTS)
        if kind == "code":
            return cls._of_codes(chosen, Z, np.shape(estimator.codebook_)[1])
        if kind == "binary":
            base, scale, steps = 0 * Z[0], np.ones(Z.shape[1]), np.array([0.0, 1.0])
            label = "feature (0 absent, 1 present)"
        else:
            base, scale, steps = Z.mean(axis=0), Z.std(axis=0), np.linspace(-span, span, n_steps)
            label = "value (sd of the latent over the rows)"
        latents = [_moved(base, k, base[k] + scale[k] * steps) for k in chosen]
        return cls(latents, [steps.round(6)] * len(chosen), [f"z{k}" for k in chosen], label)

    @classmethod
    def _of_components(cls, chosen: list[int], n_components: int) -> LatentPaths:
        latents = np.eye(n_components)[chosen]
        return cls([latents], [np.array(chosen)], ["component"], "component")

    @classmethod
    def _of_codes(cls, chosen: list[int], codes: np.ndarray, n_codes: int) -> LatentPaths:
        """Return paths over all codes of a position, the others at their most common code."""
        common = np.array([np.bincount(column.astype(int)).argmax() for column in codes.T])
        steps = np.arange(n_codes)
        latents = [_moved(common.astype(np.float64), k, steps) for k in chosen]
        names = [f"position {k}" for k in chosen]
        return cls(latents, [steps] * len(chosen), names, "code")


def _moved(base: np.ndarray, latent: int, values: np.ndarray) -> np.ndarray:
    """Return copies of a point with one latent at each of the values."""
    points = np.tile(base, (len(values), 1))
    points[:, latent] = values
    return points


def _chosen(components: Any, Z: np.ndarray, limit: int) -> list[int]:
    """Return the chosen latents, or those whose means vary most; all in order if they fit."""
    n = Z.shape[1]
    if components is None:
        order = np.argsort(-Z.var(axis=0), kind="stable")[:limit]
        return list(range(n)) if limit >= n else [int(k) for k in order]
    chosen = [int(k) for k in np.ravel(components)]
    if not chosen or not all(0 <= k < n for k in chosen):
        raise ValueError(f"components={components!r}, expected latents from 0 to {n - 1}.")
    return chosen
