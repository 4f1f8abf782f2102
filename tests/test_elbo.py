"""The terms of the bound: sums, blocks of rows, a choice row by row."""

import numpy as np
import pytest

from skelbo.elbo import ElboTerms

NAMES = ("reconstruction", "kl", "energy", "entropy")


def terms_of(seed, n_rows=5):
    reconstruction, kl, entropy = np.random.default_rng(seed).normal(size=(3, n_rows))
    return ElboTerms(reconstruction, kl, reconstruction - kl - entropy, entropy)


def test_both_decompositions_give_the_bound():
    terms = terms_of(0)
    assert np.allclose(terms.elbo, terms.reconstruction - terms.kl, rtol=0, atol=1e-15)


def test_blocks_of_rows_join_to_the_whole():
    terms = terms_of(1)
    parts = [terms.map(lambda term, rows=rows: term[rows]) for rows in (slice(2), slice(2, 5))]
    joined = ElboTerms.concatenate(parts)
    assert all(np.array_equal(getattr(joined, name), getattr(terms, name)) for name in NAMES)


def test_rows_are_chosen_one_by_one():
    one, other, condition = terms_of(2), terms_of(3), np.array([True, False, True, False, False])
    chosen = one.where(condition, other)
    for name in NAMES:
        expected = np.where(condition, getattr(one, name), getattr(other, name))
        assert np.array_equal(getattr(chosen, name), expected)


def test_columns_come_in_the_order_of_the_fields():
    terms = terms_of(4)
    columns = terms.stack()
    assert columns.shape == (5, 4)
    for name, column in zip(NAMES, columns.T, strict=True):
        assert np.array_equal(getattr(terms, name), column)


def test_terms_are_immutable():
    with pytest.raises(AttributeError):
        terms_of(5).kl = np.zeros(5)


def test_kl_from_an_energy_is_not_below_zero():
    reconstruction, energy, entropy = np.array([-0.1, -0.1]), np.array([-0.3, -0.7]), 0.2
    terms = ElboTerms.from_energy(reconstruction, energy, entropy + np.zeros(2))
    assert terms.kl[0] == 0.0  # -2.8e-17 by the subtraction
    assert np.isclose(terms.kl[1], 0.4)
