"""Best posterior q within a family: the step over q."""

from __future__ import annotations

from skelbo.inference.posteriors.bernoulli_posterior import (
    MAX_ENUMERATED,
    enumerate_posterior,
    fit_bernoulli,
)
from skelbo.inference.posteriors.gaussian_posterior import fit_gaussian
from skelbo.inference.posteriors.quadrature_grid import MAX_LATENTS, TooSharp, fit_grid
from skelbo.inference.posteriors.row_quadrature import fit_rows

# Relative gain at which a q in the middle of a fit is good enough: the next step resumes there.
ROUGH = 1e-10


def best_q(joint, posterior: str, start=None):
    """Return the best q of a family for every row.

    Parameters
    ----------
    joint : JointDensity
        log p(x, z; theta) of n rows.
    posterior : {"mean_field", "full", "exact"}
        Binary z: independent Bernoullis, or (both others) the distribution over all states.
        Continuous z: a Gaussian per row with diagonal or full covariance, or p(z | x) itself.
    start : Posterior, optional
        Earlier q of the same rows. Without it a row's q depends on the row alone.

    Returns
    -------
    q : Posterior

    Raises
    ------
    ValueError
        If the family needs an enumeration or a grid that is too large.
    """
    if joint.latent == "continuous":
        if uses_grid(joint, posterior):
            try:
                return fit_grid(joint)
            except TooSharp:
                return fit_rows(joint)
        diagonal = posterior == "mean_field"
        if start is None:
            return fit_gaussian(joint, diagonal=diagonal)
        return fit_gaussian(joint, diagonal=diagonal, start=start, tol=ROUGH, n_steps=joint.n_steps)
    if posterior == "mean_field":
        return fit_bernoulli(joint, None if start is None else start.mean)
    if joint.shape[1] > MAX_ENUMERATED:
        raise ValueError(
            f"posterior={posterior!r} lists all states of n_latents={joint.shape[1]} binary "
            f"latents, expected at most {MAX_ENUMERATED}; use posterior='mean_field' or MCEM."
        )
    return enumerate_posterior(joint)


def uses_grid(joint, posterior: str) -> bool:
    """Return whether q is p(z | x) on a grid; raise ValueError if that is asked of other models."""
    if posterior != "exact" or joint.latent == "binary" or joint.gaussian:
        return False
    if not joint.supports_grid:
        reason = "log p(x | z) of this model is not linear in x"
    elif joint.shape[1] > MAX_LATENTS:
        reason = f"got {joint.shape[1]} latents"
    else:
        return True
    raise ValueError(
        "posterior='exact' needs binary latents, a Gaussian FactorModel, or another FactorModel "
        f"with at most {MAX_LATENTS} latents; {reason}. Use posterior='full' or MCEM."
    )
