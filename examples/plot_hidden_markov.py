"""
Series: a hidden Markov model of earthquakes
============================================

Number of earthquakes of magnitude 7 and more in the world, year by year from 1900 to 2006 (Zucchini
and MacDonald 2009). Quiet and active years come in spells: a hidden Markov model finds them, and
predicts the next years with an honest spread. It is EM again; the E-step is forward-backward.
"""

# %%
# How many states?
# ----------------
#
# The same Poisson emissions without memory, a mixture, do worse with as many components.

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from skelbo import EMHiddenMarkovModel, EMMixture

path = Path(__file__).parent / "data" / "earthquakes.csv"
years, counts = np.loadtxt(path, delimiter=",", skiprows=1).T
X = counts[:, None]
for K in (1, 2, 3, 4):
    options = {"likelihood": "poisson", "random_state": 0}
    chain = EMHiddenMarkovModel(K, n_init=5, **options).fit(X)
    mixture = EMMixture(K, **options).fit(X)
    print(
        f"{K} states: log p(X) {len(X) * chain.score(X):8.2f}, AIC {chain.aic(X):6.1f}, "
        f"BIC {chain.bic(X):6.1f}   without memory: {len(X) * mixture.score(X):8.2f}, "
        f"AIC {mixture.aic(X):6.1f}, BIC {mixture.bic(X):6.1f}"
    )

# %%
# Which years were active?
# ------------------------
#
# `predict` gives the most probable path (Viterbi); `predict_proba` the probabilities of the states
# of each year given the whole series.

model = EMHiddenMarkovModel(3, likelihood="poisson", random_state=0).fit(X)
states, proba = model.predict(X), model.predict_proba(X)
print("rates per state:", model.rates_.ravel().round(2))
print("transitions:", model.transmat_.round(3).tolist())

figure, (top, bottom) = plt.subplots(2, 1, figsize=(8, 5), sharex=True, layout="constrained")
top.plot(years, counts, ".-", color="0.6", lw=0.8)
top.step(years, model.rates_[states, 0], where="mid", color="C3", label="rate of the decoded state")
top.set(ylabel="earthquakes a year")
top.legend()
bottom.stackplot(years, proba.T, labels=[f"rate {rate:.0f}" for rate in model.rates_[:, 0]])
bottom.set(xlabel="year", ylabel="p(state | series)", ylim=(0, 1), xlim=(1900, 2006))
bottom.legend(loc="upper right")

# %%
# What next?
# ----------
#
# `forecast` gives mean, standard deviation and state probabilities of the years to come. What is
# known of the present state fades into the stationary law; the spread is that of the counts given
# the state and that between the states. A gap in the series is filled the same way, from both
# sides: years 1940 to 1949 are hidden here.

steps = 15
forecast = model.forecast(X, steps)  # a skelbo.Forecast: mean, std, state_proba
mean, std = forecast.mean[0, :, 0], forecast.std[0, :, 0]
hidden = X.copy()
gap = (years >= 1940) & (years < 1950)
hidden[gap] = np.nan
draws = model.impute(hidden, n_draws=2000, random_state=0)[:, gap, 0]
print(f"2007: {mean[0]:.1f} +- {std[0]:.1f}; 2021: {mean[-1]:.1f} +- {std[-1]:.1f}")

figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
ax.plot(years, counts, ".-", color="0.6", lw=0.8)
for x, centre, low, high, label in (
    (2007 + np.arange(steps), mean, mean - 2 * std, mean + 2 * std, "forecast, 2 std"),
    (years[gap], draws.mean(axis=0), *np.quantile(draws, [0.025, 0.975], axis=0), "gap, 95 %"),
):
    (line,) = ax.plot(x, centre, lw=2, label=label)
    ax.fill_between(x, low, high, alpha=0.25, color=line.get_color(), lw=0)
ax.set(xlabel="year", ylabel="earthquakes a year")
ax.legend()

# %%
# Several series
# --------------
#
# :func:`skelbo.sequences` joins a list of series of any lengths into one table and the ids of its
# rows; ``groups`` takes the ids everywhere. The series are independent given the parameters: each
# has a first state of its own, and a :class:`skelbo.Forecast` has one row for each.

import skelbo

table, halves = skelbo.sequences([X[:50], X[50:]], ids=["first half", "second half"])
both = EMHiddenMarkovModel(3, likelihood="poisson", random_state=0).fit(table, groups=halves)
ahead = both.forecast(table, 1, groups=halves)
for name, mean, std in zip(["first half", "second half"], ahead.mean, ahead.std, strict=True):
    print(f"after the {name}: {mean.item():.1f} +- {std.item():.1f} earthquakes in a year")
