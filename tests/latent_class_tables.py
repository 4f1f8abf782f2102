"""Latent class tables of the literature, as patterns of answers with their counts."""

import itertools

import numpy as np


def _binary(n_items, counts):
    """Return all answers of n yes/no items, the last changing fastest, and their counts."""
    patterns = np.array(list(itertools.product([0, 1], repeat=n_items)), dtype=float)
    return patterns, np.array(counts, dtype=float)


# Four situations of role conflict, 216 students, 0 = universalistic: Stouffer and Toby (1951), in
# Goodman (1974), table 1. It is `values` of the R package poLCA.
ROLE_CONFLICT = _binary(4, [42, 23, 6, 25, 6, 24, 7, 38, 1, 4, 1, 6, 2, 9, 2, 20])
# Membership in the leading crowd and attitude towards it, 3398 schoolboys interviewed twice:
# Coleman (1964), in Goodman (1974), table 4. Order: two answers, and the same half a year later.
LEADING_CROWD = _binary(
    4, [458, 140, 110, 49, 171, 182, 56, 87, 184, 75, 531, 281, 85, 97, 338, 554]
)
# Cheating of 319 students (lied to avoid an exam, lied to avoid a paper, bought a paper, copied):
# Dayton (1998). It is `cheating` of poLCA.
CHEATING = _binary(4, [207, 46, 7, 5, 13, 4, 1, 2, 10, 3, 1, 2, 11, 4, 1, 2])
# Seven pathologists' diagnoses of 118 slides, 1 = carcinoma: Agresti (2002), table 13.1. It is
# `carcinoma` of poLCA.
_DIAGNOSES = {
    "0000000": 34,
    "0000100": 2,
    "0100000": 6,
    "0100001": 1,
    "0100100": 4,
    "0100101": 5,
    "1000000": 2,
    "1010101": 1,
    "1100000": 2,
    "1100001": 1,
    "1100100": 2,
    "1100101": 7,
    "1100111": 1,
    "1101001": 1,
    "1101101": 2,
    "1101111": 3,
    "1110101": 13,
    "1110111": 5,
    "1111101": 10,
    "1111111": 16,
}
CARCINOMA = (
    np.array([[float(answer) for answer in pattern] for pattern in _DIAGNOSES]),
    np.array(list(_DIAGNOSES.values()), dtype=float),
)
# Attitudes of 1202 white respondents to surveys, General Social Survey 1982: purpose (good,
# depends, waste), accuracy (true, not), understanding (good, fair or poor), cooperation
# (interested, cooperative, impatient); McCutcheon (1987). It is `gss82` of poLCA.
SURVEY = (
    np.array(list(itertools.product(range(3), range(2), range(2), range(3))), dtype=float),
    np.array(
        [
            *(419, 35, 2, 71, 25, 5, 270, 25, 4, 42, 16, 5, 23, 4, 1, 6, 2, 0),
            *(43, 9, 2, 9, 3, 2, 26, 3, 0, 1, 2, 0, 85, 23, 6, 13, 12, 8),
        ],
        dtype=float,
    ),
)
# Deaths of women over 80 per day in The Times, 1910 to 1912: Hasselblad (1969).
DEATHS = (
    np.arange(10.0)[:, None],
    np.array([162, 267, 271, 185, 111, 61, 27, 8, 3, 1], dtype=float),
)
