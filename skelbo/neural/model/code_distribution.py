"""Prior of code vectors as a fitted attribute of an estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from skelbo.data.random_stream import random_stream
from skelbo.neural.model.code_prior import CodePrior


class CodeDistribution:
    """Prior of code vectors as a fitted attribute, on NumPy arrays.

    Parameters
    ----------
    prior : CodePrior
        The fitted prior.

    Attributes
    ----------
    kind : {"uniform", "independent", "autoregressive"}
        What was learned.
    n_positions, n_codes : int
        Length of a code vector, and number of codes.
    """

    def __init__(self, prior: CodePrior):
        self._prior = prior
        self.kind = prior.kind
        self.n_positions, self.n_codes = prior.n_positions, prior.n_codes

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.kind!r}, {self.n_positions}, {self.n_codes})"

    @torch.inference_mode()
    def log_prob(self, codes: Any) -> np.ndarray:
        """Compute log p(z) of code vectors.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_positions)
            Integers from 0 to n_codes - 1.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            In nats, float64.

        Raises
        ------
        ValueError
            If the shape differs, or a number is no code.

        Examples
        --------
        >>> from skelbo.neural.model.code_distribution import CodeDistribution
        >>> from skelbo.neural.model.code_prior import CodePrior
        >>> CodeDistribution(CodePrior("uniform", 2, 4)).log_prob([[0, 3]]).round(3)
        array([-2.773])
        """
        z = np.asarray(codes, dtype=np.float64)
        if z.ndim != 2 or z.shape[1] != self.n_positions:
            raise ValueError(
                f"codes has shape {z.shape}, expected (n_samples, {self.n_positions}); pass codes "
                "as transform(X) returns them."
            )
        if not np.all((z == np.floor(z)) & (z >= 0) & (z < self.n_codes)):
            raise ValueError(
                f"codes has a number that is no code, expected integers 0 .. {self.n_codes - 1}; "
                "pass codes as transform(X) returns them."
            )
        tensor = torch.as_tensor(z, device=self._prior.intercepts.device)
        return self._prior.log_prob(tensor).double().cpu().numpy()

    @torch.inference_mode()
    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Draw code vectors.

        Parameters
        ----------
        n_samples : int, default=1
            Number of draws.
        random_state : int, RandomState or None, default=None
            Source of randomness; None draws afresh.

        Returns
        -------
        codes : ndarray of int, shape (n_samples, n_positions)
            Draws of p(z).

        Examples
        --------
        >>> from skelbo.neural.model.code_distribution import CodeDistribution
        >>> from skelbo.neural.model.code_prior import CodePrior
        >>> CodeDistribution(CodePrior("uniform", 2, 4)).sample(5, random_state=0).shape
        (5, 2)
        """
        seed = int(random_stream(random_state).randint(2**31 - 1))
        generator = torch.Generator(self._prior.intercepts.device).manual_seed(seed)
        return self._prior.sample(n_samples, generator).cpu().numpy()
