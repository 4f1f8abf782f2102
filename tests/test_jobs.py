"""The jobs of docs/jobs.md: ten lines each that run, and give the right answer."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
JOBS = dict(re.findall(r"## ([^\n]+)\n\n```python\n(.*?)```", PAGE, flags=re.DOTALL))


def mixed_table(found):
    model, groups = found["model"], found["groups"]
    assert list(model.likelihood_) == ["gaussian", "bernoulli", "gaussian", "gaussian", "gaussian"]
    assert np.bincount(groups).min() > 50
    age = model.means_[:, 0]
    pressure = model.means_[:, 3]
    assert (age[0] - age[1]) * (pressure[0] - pressure[1]) > 0  # the older have more


def how_many(found):
    assert found["search"].best_params_ == {"covariance_type": "tied", "n_components": 3}


def outliers(found):
    labels = found["detector"].predict(found["X"])
    assert np.sum(labels == -1) == 8  # 5 % of 178


def impute(found):
    assert found["accuracy"] > 0.94


def contours(found):
    assert found["display"].figure_ is not None and Path("density.png").stat().st_size > 10_000


def latents(found):
    assert found["accuracy"] > 0.85
    assert list(found["latents"].columns) == ["variationalem0", "variationalem1"]


def items(found):
    """Bock and Lieberman (1970), table 5, in the parameters of `ltm` (Rizopoulos 2006)."""
    trait = found["trait"]
    slopes = np.abs(trait.params_["loadings"][:, 0])
    np.testing.assert_allclose(slopes, [0.825, 0.723, 0.890, 0.689, 0.658], atol=2e-3)
    assert np.all(found["error"] > 0.5) and found["error"].shape == (32, 1)


def counts(found):
    assert found["loadings"].shape == (17, 2) and found["nights"].shape == (49, 2)
    assert found["model"].score(found["catches"]) > found["model"].elbo(found["catches"]).mean()


def which(found):
    table = found["table"]
    assert table.best == "EMGaussianMixture 2" and not any(table.results["error"])
    assert len(table.results["estimator"]) == 6


CHECKS = {
    "Cluster a mixed table": mixed_table,
    "How many clusters?": how_many,
    "Outliers": outliers,
    "Impute before a classifier": impute,
    "Density contours": contours,
    "Latents into a classifier": latents,
    "Test items": items,
    "Counts": counts,
    "Which estimator?": which,
}


def test_every_job_has_a_check_and_at_most_ten_lines():
    assert list(JOBS) == list(CHECKS)
    for name, code in JOBS.items():
        assert len([line for line in code.splitlines() if line]) <= 10, name


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_job(name, tmp_path, monkeypatch):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)  # a job may write a picture
    found: dict = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UserWarning)  # advice on the fit, which a user would read
        exec(JOBS[name], found)
    CHECKS[name](found)
