r"""The thread of the library: the evidence lower bound and the one loop that climbs it.

.. math:: \log p(x; \theta) = \mathrm{ELBO}(\theta, q) + \mathrm{KL}(q \,\|\, p(z \mid x; \theta))

Every iterative estimator alternates a step over q (:math:`E`) and a step over theta (:math:`M`);
:func:`ascend` owns that alternation, its history, its stopping rule and its acceleration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
        """The bound itself, ``energy + entropy``, shape (n_samples,)."""
        return self.energy + self.entropy
