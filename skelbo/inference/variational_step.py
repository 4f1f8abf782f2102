"""The two steps of variational EM, the q of every row kept from one to the next."""

from __future__ import annotations

from typing import Any

from skelbo.inference.distinct_rows import DistinctRows
from skelbo.inference.posteriors.bernoulli import best_of
from skelbo.inference.posteriors.best import best_q
from skelbo.inference.posteriors.gaussian import GaussianPosterior
from skelbo.inference.posteriors.joint_diagonalization import least_loss_rotation


class VariationalStep:
    """Turns between the best q of a family and a better theta.

    Parameters
    ----------
    model : object
        See `skelbo.models`.
    data : DistinctRows
        The rows of the fit.
    posterior : {"mean_field", "full", "exact"}
        Family of q.

    Attributes
    ----------
    thorough : bool
        Whether a q is also looked for from where new rows begin (binary latents: mean field has
        local optima).
    """

    def __init__(self, model, data: DistinctRows, posterior: str):
        self.model, self.data, self.posterior = model, data, posterior
        self.thorough = False
        self._last: Any = None
        self._ahead: Any = None  # theta, bound and q of a step that had to look at its own outcome

    def e_step(self, theta):
        """Return the bound per row, in nats, at the best q, and q."""
        if self._ahead is not None and self._ahead[0] is theta:
            return self._ahead[1:]
        q = self._best(theta, self._last)
        return self.data.mean(q.terms.elbo), q

    def m_step(self, q, theta):
        """Return parameters that raise the bound."""
        # From here every q of this step begins; from that of a theta that is refused it might fall.
        self._last = q
        model, data = self.model, self.data
        weights, Z, covariance = q.draws(moments_suffice=model.closed_form)
        weights = weights * data.weights
        image = model.maximize(theta, data.X, weights, Z, covariance, expand=True)
        turned = self._turned(image, q)
        return image if turned is None else turned

    def _best(self, theta, start):
        joint = self.model.joint(self.data.X, theta)
        q = best_q(joint, self.posterior, start)
        return best_of(q, best_q(joint, self.posterior)) if self.thorough else q

    def _turned(self, theta, q):
        """Return theta with its factors along the axes that suit q, if the bound is higher so."""
        if not (isinstance(q, GaussianPosterior) and q.precision.ndim == 2):
            return None
        if not self.model.rotatable or self.model.n_latents == 1:
            return None
        axes = least_loss_rotation(q.curvature, self.data.weights)
        if axes is None:
            return None
        candidate = self.model.rotate(theta, axes)
        start = self._best(candidate, q.rotated(axes))
        bound = self.data.mean(start.terms.elbo)
        if not bound >= self.data.mean(q.terms.elbo):
            return None
        self._last, self._ahead = start, (candidate, bound, start)
        return candidate
