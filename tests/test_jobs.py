"""The jobs of docs/jobs.md: ten lines each that run, print what is shown, and are right."""

import doctest
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
BLOCKS = r"## ([^\n]+)\n\n```python\n(.*?)```\n\n```text\n(.*?)```"
JOBS = {name: (code, shown) for name, code, shown in re.findall(BLOCKS, PAGE, flags=re.DOTALL)}
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


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


def mixed_vae(found):
    vae, patients = found["vae"], found["patients"]
    assert list(vae.likelihood_) == ["gaussian", "bernoulli", "gaussian", "gaussian", "gaussian"]
    assert vae.score(patients) > vae.elbo(patients).mean()
    assert found["right"] > 0.6  # the most common answer is right for 53 %


def items(found):
    """Bock and Lieberman (1970), table 5, in the parameters of `ltm` (Rizopoulos 2006)."""
    trait = found["trait"]
    slopes = np.abs(trait.params_["loadings"][:, 0])
    np.testing.assert_allclose(slopes, [0.825, 0.723, 0.890, 0.689, 0.658], atol=2e-3)
    assert np.all(found["error"] > 0.5) and found["error"].shape == (32, 1)


def counts(found):
    assert found["loadings"].shape == (17, 2) and found["nights"].shape == (49, 2)
    assert found["model"].score(found["catches"]) > found["model"].elbo(found["catches"]).mean()


def own_model(found):
    """The two methods are the density that scipy.stats.t gives."""
    X = torch.as_tensor(found["load_wine"]().data[:, 5:8])
    model, rng = found["Robust"](), np.random.default_rng(0)
    theta, Z = model.initialize(X, rng), torch.as_tensor(rng.normal(size=(4, len(X), 1)))
    location = (theta["level"] + Z * theta["slope"]).numpy()
    cells = stats.t.logpdf(X.numpy(), 4.0, location, theta["sd"].numpy())
    np.testing.assert_allclose(model.log_likelihood(X, Z, theta), cells.sum(axis=-1))


def save_and_load(found):
    assert found["read"].get_params() == found["model"].get_params()


def data_frames(found):
    latents = found["factors"].transform(found["X"])
    assert list(latents.columns) == ["variationalem0", "variationalem1"]
    assert not found["factors"].impute(found["X"]).isna().any(axis=None)


def progress(found):
    assert len(found["search"].cv_results_["params"]) == 4


def weights(found):
    """An integer weight is a repetition of the row."""
    search, X, repeats = found["search"], found["X"], found["weights"].astype(int)
    model = search.best_estimator_
    again = model.score(np.repeat(X, repeats, axis=0))
    np.testing.assert_allclose(model.score(X, sample_weight=repeats), again, rtol=1e-12)


def composition(found):
    fitted = found["pipeline"].fit(found["X"], found["y"])
    assert len(fitted[-1].estimators_) == 2


def streams(found):
    assert abs(found["stream"].score(found["X"]) - found["whole"].score(found["X"])) < 1e-3


def which(found):
    table = found["table"]
    assert table.best == "EMGaussianMixture 2" and not any(table.results["error"])
    scores = dict(zip(table.results["estimator"], table.results["log_prob"], strict=True))
    assert len(scores) == 6
    assert scores["VariationalEM"] > scores["GaussianMLE"] + 0.4  # columns of different units


CHECKS = {
    "Cluster a mixed table": mixed_table,
    "How many clusters?": how_many,
    "Outliers": outliers,
    "Impute before a classifier": impute,
    "Density contours": contours,
    "Latents into a classifier": latents,
    "A VAE of a mixed table": mixed_vae,
    "Test items": items,
    "Counts": counts,
    "A model of your own": own_model,
    "Save and load": save_and_load,
    "Data frames out": data_frames,
    "Progress of a grid search": progress,
    "Weights through a search": weights,
    "Composition": composition,
    "Streams": streams,
    "Which estimator?": which,
}


def test_every_job_has_a_check_and_at_most_ten_lines():
    assert list(JOBS) == list(CHECKS)
    for name, (code, _) in JOBS.items():
        assert len([line for line in code.splitlines() if line]) <= 10, name


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_job(name, tmp_path, monkeypatch, capsys):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)  # a job may write a picture or a file
    code, shown = JOBS[name]
    found: dict = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UserWarning)  # advice on the fit, which a user would read
        exec(code, found)
    printed = capsys.readouterr().out
    assert doctest.OutputChecker().check_output(shown, printed, FLAGS), printed
    CHECKS[name](found)
