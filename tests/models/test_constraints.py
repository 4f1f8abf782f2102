"""Domains of parameters: there and back, inside, and derivatives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skelbo.models.constraints import CONSTRAINTS, ParameterVector


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000))
def test_coordinates_go_there_and_back(seed):
    rng = np.random.default_rng(seed)
    theta = {
        "a": rng.standard_normal((2, 3)),
        "b": rng.random(4) + 0.1,
        "c": rng.uniform(0.01, 0.99, 2),
        "d": rng.dirichlet(np.ones(3), 2),
    }
    kinds = {"b": "positive", "c": "unit_interval", "d": "simplex"}
    coordinates = ParameterVector(theta, kinds)
    back = coordinates.from_vector(coordinates.to_vector(theta))
    assert len(coordinates.to_vector(theta)) == 6 + 4 + 2 + 4
    assert all(np.allclose(back[name], theta[name]) for name in theta)


VALUES = {
    "real": np.array([-2.0, 0.3]),
    "positive": np.array([0.2, 3.0]),
    "unit_interval": np.array([0.1, 0.7]),
    "simplex": np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]),
}


@pytest.mark.parametrize("name", VALUES)
def test_gradients_are_those_in_free_coordinates(name):
    domain, value = CONSTRAINTS[name], VALUES[name]
    free, slope = domain.to_free(value), np.cos(np.arange(value.size)).reshape(value.shape)
    got = domain.pull_back(value, slope)
    for index in np.ndindex(free.shape):
        step = np.zeros(free.shape)
        step[index] = 1e-6
        change = domain.from_free(free + step) - domain.from_free(free - step)
        assert np.isclose((slope * change).sum() / 2e-6, got[index], rtol=1e-6)


@pytest.mark.parametrize("name", VALUES)
def test_derivatives_are_those_of_a_move(name):
    domain, value = CONSTRAINTS[name], VALUES[name]
    slope, bend = domain.derivatives(value)
    up, down = domain.move(value, 1e-4), domain.move(value, -1e-4)
    assert np.allclose((up - down) / 2e-4, slope, rtol=1e-6)
    assert np.allclose((up - 2 * value + down) / 1e-8, bend, atol=1e-5)


@pytest.mark.parametrize("name", ["positive", "unit_interval", "simplex"])
@pytest.mark.parametrize("size", [1.0, 50.0, 600.0])
def test_values_stay_inside_the_open_domain(name, size):
    domain = CONSTRAINTS[name]
    value = domain.from_free(size * np.array([-1.0, 0.0, 1.0]))
    assert domain.contains(value)
    assert np.all(np.isfinite(domain.to_free(value))) and np.all(domain.distance(value) > 0)


def test_what_a_simplex_fixes_is_its_sums():
    value = VALUES["simplex"]
    assert np.allclose(CONSTRAINTS["simplex"].fixed_sums(value) @ value.ravel(), 1)
    assert CONSTRAINTS["positive"].fixed_sums(VALUES["positive"]).shape == (0, 2)


def test_a_vector_out_of_reach_has_no_parameters():
    coordinates = ParameterVector(VALUES, {name: name for name in VALUES})
    vector = coordinates.to_vector(VALUES)
    assert coordinates.from_vector(np.where(np.arange(len(vector)) == 2, 1e4, vector)) is None
    assert coordinates.from_vector(np.full(len(vector), np.nan)) is None


def test_coordinates_keep_to_limits():
    limits = {"noise": (np.array([0.1, 0.2]), np.inf), "level": (-1.0, 0.5)}
    theta = {"noise": np.array([1.0, 1.0]), "level": np.zeros(2)}
    coordinates = ParameterVector(theta, {"noise": "positive"}, limits)
    moved = coordinates.from_vector(np.log([1e-9, 0.5, np.e, 1.0]))
    np.testing.assert_allclose(moved["noise"], [0.1, 0.5])
    np.testing.assert_allclose(moved["level"], [0.5, 0.0])
