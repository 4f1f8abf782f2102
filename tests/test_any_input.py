"""Any table, any options: a finite answer that fulfils its laws, or a ValueError by name.

The cases are those of `make fuzz`, which tries many more: `benchmarks/hostile`.
"""

import pytest
from hostile.case import draw_case, run_case
from hostile.shrinking import code_of

# How many cases of each: what is slow gets fewer.
CASES = {
    "GaussianMLE": 100,
    "EMGaussianMixture": 100,
    "EMMixture": 60,
    "EMHiddenMarkovModel": 60,
    "VariationalEM": 40,
    "MCEM": 10,
    "VAEEstimator": 10,
    "auto-encoder": 10,
    "VQVAEEstimator": 10,
    "GANEstimator": 5,
    "GenerativeClassifier": 20,
    "DensityOutlierDetector": 20,
    "ModelImputer": 20,
    "CriterionSearch": 20,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_laws_of_hostile_tables(name):
    failures = []
    for seed in range(CASES[name]):
        case = draw_case(seed, name)
        outcome = run_case(case)
        if outcome.status == "failed":
            again = f"python benchmarks/fuzz.py --case {seed} --estimator {name}"
            failures.append(f"{again}\n{code_of(case)}\n{outcome.kind}: {outcome.detail}")
    assert not failures, "\n\n".join(failures)


def test_a_case_is_its_integer():
    assert code_of(draw_case(7)) == code_of(draw_case(7)) != code_of(draw_case(8))
    assert draw_case(7, "MCEM").name == "MCEM"
