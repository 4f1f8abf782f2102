"""What a fit may refuse a table with, and which warnings it may give."""

from __future__ import annotations

import re
import warnings

from sklearn.exceptions import ConvergenceWarning

from skelbo import (
    HeywoodWarning,
    ImportanceWarning,
    NoiseFloorWarning,
    SeparationWarning,
    SingularCovarianceWarning,
)

# Kind of refusal -> its message. Everything else is a defect.
REFUSALS = {
    "singular": r"ill-defined empirical covariance",
    "too few rows": r"n_samples >= n_components|minimum of \d+ is required|would hold out \d+ of"
    r"|criterion='held_out' got 1 different row|sample_weight leaves 1 row",
    "empty column": r"column .* of X has no observed cell",
    "no weight": r"sample_weight is zero for all rows",
    "overflow": r"squares? (overflow float64|underflows)|too large to square in float64"
    r"|draws overflow",
    "wrong likelihood": r"likelihood.* expect(s|ed) (0 or 1|counts|integer codes|less than)",
    "too large a count": r"has the (count|value) .* expected (counts|values) up to",
    "too many codes": r"has the code|but likelihood 'categorical' expected",
    "options": r"does not fit (covariance_type|solver)|use gradient='dreg'|exceeds n_features"
    r"|sampler=.* draws|posterior='exact' needs",
    "steps": r"were not finite and were skipped|(rows is|weights are) not finite"
    r"|weights have run away",
    "criterion": r"no candidate has a finite criterion",
    "incomplete": r"partial_fit got missing cells",
}
LIBRARY_WARNINGS = (
    ConvergenceWarning,
    HeywoodWarning,
    ImportanceWarning,
    NoiseFloorWarning,
    SeparationWarning,
    SingularCovarianceWarning,
)
# Warnings of the class UserWarning alone, by message.
PLAIN_WARNINGS = re.compile(r"ran away|runs away|went to zero")


def refusal_of(error: BaseException) -> str | None:
    """Return the kind of a documented refusal, None for a defect."""
    if not isinstance(error, ValueError):
        return None
    kinds = (kind for kind, message in REFUSALS.items() if re.search(message, str(error)))
    return next(kinds, None)


def is_stray(warning: warnings.WarningMessage) -> bool:
    """Return whether a warning is none that the library documents."""
    if issubclass(warning.category, LIBRARY_WARNINGS):
        return False
    plain = warning.category is UserWarning and PLAIN_WARNINGS.search(str(warning.message))
    return not plain
