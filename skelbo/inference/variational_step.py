"""The two steps of variational EM: the best q of a family for every row, and better parameters."""

from __future__ import annotations

from skelbo.inference.distinct_rows import DistinctRows
from skelbo.inference.posteriors.bernoulli_posterior import best_of
from skelbo.inference.posteriors.best import best_q
from skelbo.inference.posteriors.gaussian_posterior import GaussianPosterior
from skelbo.inference.posteriors.joint_diagonalization import least_loss_rotation
from skelbo.inference.posteriors.posterior import Posterior
from skelbo.models.interface import Model, Theta


class VariationalStep:
    """Steps over q and theta; a step over q begins at the q of the step before.

    Parameters
    ----------
    model : Model
    data : DistinctRows
        Rows of the fit.
    posterior : {"mean_field", "full", "exact"}
        Family of q.
    thorough : bool
        Whether q is also sought from the start of new rows: mean field of binary latents has local
        optima.
    start : Posterior, optional
        q at which the first step begins.
    """

    def __init__(
        self,
        model: Model,
        data: DistinctRows,
        posterior: str,
        *,
        thorough: bool = False,
        start: Posterior | None = None,
    ):
        self.model, self.data, self.posterior = model, data, posterior
        self.thorough = thorough
        self._last = start
        # Parameters, bound and q of a rotation, which had to be evaluated to be accepted.
        self._rotated: tuple[Theta, float, Posterior] | None = None

    def e_step(self, theta: Theta) -> tuple[float, Posterior]:
        """Return the bound per row, in nats, at the best q, and q."""
        if self._rotated is not None and self._rotated[0] is theta:
            return self._rotated[1:]
        q = self._best(theta, self._last)
        return self.data.mean(q.terms.elbo), q

    def m_step(self, q: Posterior, theta: Theta) -> Theta:
        """Return parameters that raise the bound."""
        # Later steps begin at the q of an accepted theta: from any other the bound might fall.
        self._last = q
        moments_suffice = self.model.moments_suffice(theta, len(self.data.X))
        weights, Z, covariance = q.draws(moments_suffice=moments_suffice)
        weights = weights * self.data.weights
        image = self.model.maximize(theta, self.data.X, weights, Z, covariance, expand=True)
        return self._rotate(image, q)

    def _best(self, theta, start):
        joint = self.model.joint(self.data.X, theta)
        q = best_q(joint, self.posterior, start)
        return best_of(q, best_q(joint, self.posterior)) if self.thorough else q

    def _rotate(self, theta, q):
        """Return theta in the rotation in which a diagonal q loses least, if that is better."""
        diagonal = isinstance(q, GaussianPosterior) and q.precision.ndim == 2
        if not (diagonal and self.model.rotatable and self.model.n_latents > 1):
            return theta
        rotation = least_loss_rotation(q.curvature, self.data.weights)
        if rotation is None:
            return theta
        candidate = self.model.rotate(theta, rotation)
        new_q = self._best(candidate, q.rotated(rotation))
        bound = self.data.mean(new_q.terms.elbo)
        if not bound >= self.data.mean(q.terms.elbo):
            return theta
        self._last, self._rotated = new_q, (candidate, bound, new_q)
        return candidate
