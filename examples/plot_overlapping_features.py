"""
Overlapping features: bars
==========================

A row can have several hidden features, or none: clusters that overlap. Small images are made of
bars, each of which is there or not (Földiák 1990); :class:`skelbo.models.BinaryFeatureModel` finds
them from the images alone. It is also the default model of ``VariationalEM``.
"""

# %%
# Images of bars
# --------------
#
# Four rows and four columns of a 4 x 4 image, each there with probability 1/4, add up; noise comes
# on top. Eight features have 256 combinations: a mixture would need that many components.

import numpy as np
from matplotlib import pyplot as plt

from skelbo import EMGaussianMixture, VariationalEM
from skelbo.models import BinaryFeatureModel

rng = np.random.default_rng(0)
lines = np.eye(4)
bars = np.array(
    [np.outer(line, np.ones(4)) for line in lines] + [np.outer(np.ones(4), line) for line in lines]
)
bars = bars.reshape(8, 16)


def draw_images(n_rows):
    present = rng.random((n_rows, 8)) < 0.25
    return present, present @ bars + 0.2 * rng.standard_normal((n_rows, 16))


_, X = draw_images(300)
present, new = draw_images(300)


def show(images, title):
    figure, axes = plt.subplots(1, len(images), figsize=(8, 1.3), layout="constrained")
    for ax, image in zip(axes, images, strict=True):
        ax.imshow(image.reshape(4, 4), cmap="gray_r", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
    figure.suptitle(title)


show(X[:8], "eight rows of the table")

# %%
# The features
# ------------
#
# With ``posterior="exact"`` the E-step sums over all 256 combinations. Each column of the loadings
# is a feature, in the units of the pixels. The likelihood has several maxima: raise ``n_init``
# where the first is not as clean as here.

model = BinaryFeatureModel(8, noise="isotropic")
features = VariationalEM(model=model, posterior="exact", random_state=0).fit(X)
loadings = features.params_["loadings"].T
show(loadings, "the features found")
found = np.argmax(loadings @ bars.T, axis=1)
print("every bar is a feature:", sorted(found) == list(range(8)))
print("probabilities:", features.params_["probabilities"].round(2))

# %%
# Which features does a new row have?
# -----------------------------------
#
# ``transform`` is their posterior probability.

posterior = features.transform(new)
print(f"features of new rows that are right: {np.mean((posterior > 0.5) == present[:, found]):.1%}")

# %%
# Features or clusters?
# ---------------------
#
# The same unit, so the question has an answer: nats per row that was not fitted. Mean field, which
# takes the features of a row for independent, loses nothing where the row shows them clearly.

for name, estimator in {
    "8 features, exact q": features,
    "8 features, mean field": VariationalEM(model=model, random_state=0).fit(X),
    "8 clusters": EMGaussianMixture(8, covariance_type="tied_spherical", random_state=0).fit(X),
    "30 clusters": EMGaussianMixture(30, covariance_type="tied_spherical", random_state=0).fit(X),
}.items():
    print(f"{name:24s} log p(x) {estimator.score(new):7.2f}, {estimator.n_parameters_} parameters")
