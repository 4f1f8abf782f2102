r"""The steps of Monte Carlo EM: how many draws, which parameters to accept, when to stop.

Draws are appended until a proposal is sure or the stopping rule is met: at 95 % confidence, log
p(X) can climb by less than a tolerance. Caffo, Jank and Jones (2005).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skelbo.em.checkpoint import Resumable
from skelbo.inference.distinct_rows import DistinctRows
from skelbo.inference.posteriors.best import best_q
from skelbo.inference.posteriors.posterior import Posterior
from skelbo.inference.proposal import Proposer
from skelbo.inference.sampling.draws import Draws
from skelbo.inference.sampling.samplers import Sampler
from skelbo.models.interface import Model, Theta

# Limits of the draws per row, and of draws x rows x (columns + latents).
MAX_DRAWS, MAX_CELLS = 5_000, 2e7
# Number of iterations in a row without a sure step after which a fixed number of draws is too few.
PATIENCE = 5

WHY = {
    "max_iter": "max_iter={max_iter} iterations were not enough; increase max_iter or tol",
    "draws": "the limit of {limit} draws per row (time and memory) was reached; increase tol, or "
    "use fewer rows or latents",
    "fixed": "n_samples={limit} draws per row are too few for it; increase n_samples, use "
    "n_samples='auto', or increase tol",
    "callback": "a callback stopped the fit",
    "runaway": "loadings ran away, as they do where log p(X) has no maximum; the column is named "
    "in a warning of its own",
}


@dataclass(frozen=True)
class StepRecord:
    """Evidence for the end of an ascent; attributes as those of `MonteCarloStep`."""

    history: list[int]
    certified: bool
    left: float
    stopped: str
    n_last: int
    tol: float


class MonteCarloStep(Resumable):
    """Ascent-based Monte Carlo EM: a refused step doubles the number of draws.

    Parameters
    ----------
    model : Model
    data : DistinctRows
        Rows of the fit.
    sampler : Sampler
        Source of draws of p(z | x).
    n_samples : "auto" or int
        Draws per row and iteration.
    family : {"full", "mean_field"}
        Family of the q that guides the sampler.
    tol : float
        Climb, in nats in total, that may be left at the end.

    Attributes
    ----------
    history : list of int
        Draws per row in each iteration.
    certified : bool
        Whether the stopping rule was met.
    left : float
        Upper limit of the climb of log p(X) that is left, in nats; inf where it is not known.
    stopped : str
        Key of `WHY` if the ascent ended otherwise, "" while it goes on.
    n_last : int
        Draws per row behind the last step.
    """

    first_draws, growth = 50, 2
    # Whether the same noise serves all parameters, so that one smooth function is climbed.
    common_noise = True

    def __init__(
        self,
        model: Model,
        data: DistinctRows,
        sampler: Sampler,
        n_samples: str | int,
        family: str,
        tol: float,
    ):
        self.model, self.data, self.sampler, self.family = model, data, sampler, family
        self.n_samples, self.tol = n_samples, tol
        self.proposer = Proposer(model, data, family, tol)
        rows, columns = data.X.shape
        cells = rows * (columns + model.n_latents)
        self.limit = int(np.clip(MAX_CELLS / cells, 100, MAX_DRAWS))
        self.n_draws = (
            min(self.first_draws, self.limit) if isinstance(n_samples, str) else n_samples
        )
        sampler.common = self.common_noise
        self.history: list[int] = []
        self.certified, self.left, self.stopped, self.n_last = False, np.inf, "", 0
        self._refusals = 0
        self._q: Posterior | None = None

    # Attributes that change during an ascent.
    _state: tuple[str, ...] = (
        "n_draws",
        "history",
        "certified",
        "left",
        "stopped",
        "n_last",
        "_refusals",
        "_q",
    )

    def checkpoint_state(self):
        """Return what the steps so far have left."""
        own = {name: getattr(self, name) for name in self._state}
        sampler, proposer = self.sampler.checkpoint_state(), self.proposer.checkpoint_state()
        return {"own": own, "sampler": sampler, "proposer": proposer}

    def resume(self, state):
        """Go on with what earlier steps have left."""
        for name in self._state:
            setattr(self, name, state["own"][name])
        self.sampler.resume(state["sampler"])
        self.proposer.resume(state["proposer"])

    def record(self) -> StepRecord:
        """Return the evidence for the end."""
        return StepRecord(
            self.history, self.certified, self.left, self.stopped, self.n_last, self.tol
        )

    def e_step(self, theta: Theta) -> tuple[float, Posterior]:
        """Return the bound per row, in nats, at the best q, and q; the bound may fall."""
        self._q = best_q(self.model.joint(self.data.X, theta), self.family, self._q)
        return self.data.mean(self._q.terms.elbo), self._q

    def m_step(self, q: Posterior, theta: Theta) -> Theta:
        """Return the next parameters; q is the best q at theta."""
        joint = self.model.joint(self.data.X, theta)
        self.sampler.restart(joint, q)
        return self._next(self.sampler.more(self.n_draws), joint, q, theta)

    def is_over(self, theta: Theta, interrupted: bool) -> bool:
        """Return whether theta is the end; `interrupted` if a callback stops the fit."""
        if not self.certified:
            if interrupted:
                self.stopped = "callback"
            elif self.model.diverges(theta):
                self.stopped = "runaway"
        return self.certified or bool(self.stopped)

    def _next(self, draws: Draws, joint, q, theta: Theta) -> Theta:
        """Return the parameters of the first proposal that is sure, or theta."""
        while True:
            proposal = self.proposer.propose(draws, joint, q, theta)
            self.certified = bool(proposal.left < self.tol)
            if proposal.sure or self.certified or not self._may_grow(draws):
                break
            n_draws = len(draws.Z)
            draws = self.sampler.more(min((self.growth - 1) * n_draws, self.limit - n_draws))
        self.n_last = self.n_draws = len(draws.Z)
        self.history.append(self.n_last)
        self._count_refusal(not proposal.sure)
        if proposal.sure or proposal.left < self.left:
            self.left = proposal.left
            return proposal.theta
        return theta

    def _may_grow(self, draws) -> bool:
        return (
            not draws.exact
            and self.n_samples == "auto"
            and self.growth * len(draws.Z) <= self.limit
        )

    def _count_refusal(self, refused: bool) -> None:
        """Stop after too many refused steps in a row."""
        self._refusals = self._refusals + 1 if refused else 0
        automatic = self.n_samples == "auto"
        # A sampler with new noise each time may do better another time.
        patience = 1 if automatic and self.sampler.common else PATIENCE
        if self._refusals >= patience and not self.certified:
            self.stopped = "draws" if automatic else "fixed"


class AveragedStep(MonteCarloStep):
    """Stochastic approximation EM: few draws at a time, and the average of all Q since a burn-in.

    A Q is a set of weighted draws, so that the average with steps 1/k is their union. Delyon,
    Lavielle and Moulines (1999). The stopping rule needs draws at theta itself, every few
    iterations.
    """

    first_draws = 20
    common_noise = False
    _state = (*MonteCarloStep._state, "_memory", "_check_next")
    # Iterations without memory, and between looks at the stopping rule.
    burn_in, between = 20, 10

    def __init__(self, *args):
        super().__init__(*args)
        self._memory: list[Draws] = []
        self._check_next = False

    def _next(self, draws, joint, q, theta):
        """Return parameters that maximise the average, or Newton's step at the end."""
        if len(self.history) <= self.burn_in:
            self._memory = []
        self._memory.append(draws)
        self._memory = self._memory[-max(2, self.limit // len(draws.Z)) :]
        union = Draws.union(self._memory)
        new = self.proposer.maximize(union, theta)
        self.n_last = len(union.Z)
        self.history.append(len(draws.Z))
        k = len(self.history) - self.burn_in
        if k <= 0 or (k % self.between and not self._check_next):
            return new
        draws = self.sampler.more(min(len(union.Z), self.limit) - len(draws.Z))
        newton = self.proposer.newton(draws, joint, q, theta, new)
        self.left = np.inf if newton is None else newton.left
        self.certified = bool(self.left < self.tol)
        # After a long step the rule is looked at again, with draws at its end, before the next Q.
        self._check_next = bool(newton is not None and newton.sure and not self._check_next)
        return newton.theta if newton and (self.certified or self._check_next) else new
