"""Choice of K and covariance type: CriterionSearch beside scikit-learn's GridSearchCV, CPU time.

    OMP_NUM_THREADS=1 python benchmarks/bench_search.py

Old Faithful, K = 1 to 9. CriterionSearch fits six covariance types to the mode, once each;
GridSearchCV, as in scikit-learn's example on choosing a mixture, fits four types at its default
tolerance to five folds, and once more.
"""

import statistics
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV

from skelbo import EMGaussianMixture
from skelbo.meta import CriterionSearch

FAITHFUL = Path(__file__).parents[1] / "examples" / "data" / "faithful.csv"
FOUR = ["full", "tied", "diag", "spherical"]
SIX = [*FOUR, "tied_diag", "tied_spherical"]
SIZES = range(1, 10)


def searches():
    """Return the two searches, by the name to print."""
    ours = EMGaussianMixture(random_state=0)
    theirs = GaussianMixture(random_state=0)
    return {
        "CriterionSearch, 6 types, BIC": CriterionSearch(
            ours, {"covariance_type": SIX, "n_components": SIZES}
        ),
        "GridSearchCV, 4 types, BIC of folds": GridSearchCV(
            theirs,
            {"covariance_type": FOUR, "n_components": SIZES},
            scoring=lambda mixture, X: -mixture.bic(X),
        ),
    }


def main():
    X = np.loadtxt(FAITHFUL, delimiter=",", skiprows=1)
    EMGaussianMixture(2, random_state=0).fit(X)  # imports
    seconds = {name: [] for name in searches()}
    for _ in range(5):
        for name, search in searches().items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                start = time.process_time()
                search.fit(X)
                seconds[name].append(time.process_time() - start)
            best = search.best_params_
            seconds[name, "best"] = f"{best['covariance_type']}, {best['n_components']}"
    print("search                                 CPU seconds   chosen")
    for name in searches():
        print(f"{name:38s} {statistics.median(seconds[name]):11.2f}   {seconds[name, 'best']}")


if __name__ == "__main__":
    main()
