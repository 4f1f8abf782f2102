"""
Latent classes: profiles of answers
===================================

What 1202 respondents of the General Social Survey of 1982 thought of surveys, and how the
interviewers rated them: four questions with two or three answers. A latent class model explains
the answers by a few groups of persons within which the answers are independent: a mixture of
categorical columns, fitted by EM.
"""

# %%
# How many classes?
# -----------------
#
# A row of the table is a pattern of answers, and its weight is the number of persons who gave it.

import itertools
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from skelbo import EMMixture

table = np.loadtxt(Path(__file__).parent / "data" / "survey.csv", delimiter=",", skiprows=1)
answers, persons = table[:, :4], table[:, 4]
models = {}
print("classes  parameters  log p(X)      BIC      ICL  entropy R2")
for n_classes in (1, 2, 3, 4):
    model = EMMixture(n_classes, likelihood="categorical", random_state=0)
    models[n_classes] = model.fit(answers, sample_weight=persons)
    log_likelihood = model.score(answers, sample_weight=persons) * persons.sum()
    criteria = model.bic(answers, persons), model.icl(answers, persons)
    print(
        f"{n_classes:7d} {model.n_parameters_:11d} {log_likelihood:9.1f} "
        f"{criteria[0]:8.1f} {criteria[1]:8.1f} {model.entropy_r2_:11.2f}"
    )

# %%
# Profiles
# --------
#
# BIC takes three classes, as McCutcheon (1987) did: "ideal" respondents, who find surveys useful
# and right; "believers", who do so without understanding the questions well; and "skeptics".
# Classes are ordered by size. Zeros are maxima on the boundary: no answer of that kind is expected.

model = models[3]
questions = {
    "purpose": ["good", "depends", "waste"],
    "accuracy": ["right", "not right"],
    "understanding": ["good", "fair or poor"],
    "cooperation": ["interested", "cooperative", "impatient"],
}
figure, axes = plt.subplots(1, 4, figsize=(12, 3.5), sharey=True, layout="constrained")
for ax, (question, codes), probabilities in zip(
    axes, questions.items(), model.category_probabilities_, strict=True
):
    for k, row in enumerate(probabilities):
        positions = np.arange(len(codes)) + 0.27 * (k - 1)
        ax.bar(positions, row, 0.25, label=f"class {k}: {model.weights_[k]:.0%}")
    ax.set_xticks(range(len(codes)), codes)
    ax.set_title(question)
axes[0].set_ylabel("probability of the answer")
axes[-1].legend()

# %%
# New respondents
# ---------------
#
# `predict_proba` is Bayes' rule; a question without an answer (NaN) is left out exactly, and
# `impute` gives the most probable answer.

new = np.array([[0, 0, 0, 0], [2, 1, 0, 1], [0, np.nan, 1, 0]])
for row, posterior, filled in zip(new, model.predict_proba(new), model.impute(new), strict=True):
    print(row, "->", posterior.round(2), "most probable answers", filled.astype(int))

# %%
# A pattern that no class can have
# --------------------------------
#
# In a class where everybody understands the questions, nobody is rated "fair or poor". A pattern
# that contradicts every class would score minus infinity; here the classes together cover all.

patterns = np.array(list(itertools.product(range(3), range(2), range(2), range(3))))
print(f"probabilities of all 36 patterns sum to {np.exp(model.score_samples(patterns)).sum():.12f}")
