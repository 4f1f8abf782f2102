"""Files written by earlier releases are read: one folder for each, in `tests/data`.

python -m tests.persistence.test_release    # writes those of this version
"""

from pathlib import Path

import numpy as np
import pytest

import skelbo
from tests.persistence.fitted import SUBJECTS, file_of

FOLDER = Path(__file__).parents[1] / "data"
WRITTEN = {
    "gaussian.skelbo": "gaussian, diag, holes",
    "mixture.skelbo": "mixture, full",
    "stream.skelbo": "mixture, stream",
    "mcem.skelbo": "mcem, bernoulli",
    "vae.skelbo": "vae, gaussian, holes",
}
# Mean log p(x), in nats per row, of the rows of each fit when the file was written; of the VAE by
# quadrature, which this release computes it by (20000 draws: -4.912).
SCORES = {
    "gaussian.skelbo": -4.589742621165338,
    "mixture.skelbo": -1.1166090805079998,
    "stream.skelbo": -1.1166090805079998,
    "mcem.skelbo": -1.7430365600781526,
    "vae.skelbo": -4.905184274430556,
}


@pytest.mark.parametrize("place", sorted(FOLDER.glob("files-*/*.skelbo")), ids=lambda p: p.name)
def test_a_file_of_an_earlier_release_is_read(place):
    subject = SUBJECTS[WRITTEN[place.name]]
    estimator = type(subject.estimator).from_file(place, **subject.given)
    score = estimator.score(subject.X)
    np.testing.assert_allclose(score, SCORES[place.name], rtol=1e-6)  # float32 within the VAE
    if hasattr(estimator, "partial_fit") and "holes" not in WRITTEN[place.name]:
        estimator.partial_fit(subject.X)


def test_there_is_a_folder_for_this_release():
    assert {place.name for place in (FOLDER / "files-0.1").iterdir()} == set(WRITTEN)
    assert set(SCORES) == set(WRITTEN)


if __name__ == "__main__":
    folder = FOLDER / f"files-{skelbo.__version__.rpartition('.')[0]}"
    folder.mkdir(exist_ok=True)
    for name, subject in WRITTEN.items():
        (folder / name).write_bytes(file_of(subject))
        print(f'    "{name}": {SUBJECTS[subject].estimator.score(SUBJECTS[subject].X)!r},')
