r"""The terms of the evidence lower bound.

.. math:: \log p(x; \theta) = \mathrm{ELBO}(\theta, q) + \mathrm{KL}(q \,\|\, p(z \mid x; \theta))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True)
class ElboTerms:
    r"""The two decompositions of the bound, row by row, in nats.

    .. math::
        \mathrm{ELBO} = \underbrace{E_q[\log p(x, z)]}_{energy} + \underbrace{H[q]}_{entropy}
        = \underbrace{E_q[\log p(x \mid z)]}_{reconstruction}
        - \underbrace{\mathrm{KL}(q \,\|\, p(z))}_{kl}

    Attributes
    ----------
    reconstruction, kl, energy, entropy : ndarray of shape (n_samples,)
        Ding (2020), eq. 4 (the first two) and eq. 3 (the last two).

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo import EMGaussianMixture
    >>> X = np.array([[0.0], [0.2], [5.0], [5.3]])
    >>> terms = EMGaussianMixture(2, random_state=0).fit(X).elbo_terms(X)
    >>> np.allclose(terms.elbo, terms.reconstruction - terms.kl)
    True
    """

    reconstruction: np.ndarray
    kl: np.ndarray
    energy: np.ndarray
    entropy: np.ndarray

    @property
    def elbo(self) -> np.ndarray:
        """The bound, ``energy + entropy``, shape (n_samples,)."""
        return self.energy + self.entropy

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> ElboTerms:
        """Apply a function to each of the four terms.

        Parameters
        ----------
        function : callable
            Maps an array of shape (n_samples,) to an array of shape (n_rows,).

        Returns
        -------
        terms : ElboTerms
            The four results, in nats if `function` keeps the unit.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import ElboTerms
        >>> terms = ElboTerms(*np.array([[-2.0, -3.0], [1.0, 0.5], [-4.0, -4.0], [1.0, 0.5]]))
        >>> terms.map(lambda term: term[1:]).elbo
        array([-3.5])
        """
        return ElboTerms(*map(function, self._terms()))

    @classmethod
    def from_energy(
        cls, reconstruction: np.ndarray, energy: np.ndarray, entropy: np.ndarray
    ) -> ElboTerms:
        """Complete three terms by the KL: the reconstruction less the bound, at least zero.

        Rounding of the difference is as large as that of the reconstruction: below zero it is no
        divergence.

        Parameters
        ----------
        reconstruction, energy, entropy : ndarray of shape (n_samples,)
            In nats.

        Returns
        -------
        terms : ElboTerms
            Arrays of shape (n_samples,).

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import ElboTerms
        >>> ElboTerms.from_energy(*np.array([[-1.0], [-2.5], [0.5]])).kl
        array([1.])
        """
        kl = np.maximum(reconstruction - energy - entropy, 0.0)
        return cls(reconstruction, kl, energy, entropy)

    @classmethod
    def concatenate(cls, parts: Sequence[ElboTerms]) -> ElboTerms:
        """Join the terms of several blocks of rows.

        Parameters
        ----------
        parts : sequence of ElboTerms
            At least one.

        Returns
        -------
        terms : ElboTerms
            Terms of the rows of all parts, in their order.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import ElboTerms
        >>> terms = ElboTerms(*np.array([[-2.0, -3.0], [1.0, 0.5], [-4.0, -4.0], [1.0, 0.5]]))
        >>> ElboTerms.concatenate([terms, terms]).elbo
        array([-3. , -3.5, -3. , -3.5])
        """
        return cls(*map(np.concatenate, zip(*(part._terms() for part in parts), strict=True)))

    def where(self, condition: np.ndarray, other: ElboTerms) -> ElboTerms:
        """Choose between two sets of terms row by row.

        Parameters
        ----------
        condition : ndarray of bool, shape (n_samples,)
            Rows that keep these terms.
        other : ElboTerms
            Terms of all other rows.

        Returns
        -------
        terms : ElboTerms
            Terms of shape (n_samples,).

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import ElboTerms
        >>> low, high = (ElboTerms(*np.full((4, 2), value)) for value in (-2.0, -1.0))
        >>> high.where(np.array([True, False]), low).energy
        array([-1., -2.])
        """
        pairs = zip(self._terms(), other._terms(), strict=True)
        return ElboTerms(*(np.where(condition, mine, theirs) for mine, theirs in pairs))

    def stack(self) -> np.ndarray:
        """Return the four terms as columns in the order of the fields.

        Returns
        -------
        ndarray of shape (n_samples, 4)
            In nats.
        """
        return np.stack(self._terms(), axis=1)

    def _terms(self) -> tuple[np.ndarray, ...]:
        return self.reconstruction, self.kl, self.energy, self.entropy
