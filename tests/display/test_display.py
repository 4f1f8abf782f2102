"""Panels are new, or those given; without matplotlib the error names the extra."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib import pyplot as plt

import skelbo.display
from skelbo.display import ELBOCurveDisplay, TraversalDisplay
from skelbo.display.display import Display

STEPS = np.linspace(-1, 1, 3)
TWO_PANELS = TraversalDisplay(
    expected=[np.outer(STEPS, [1.0, 2.0])] * 2, steps=[STEPS] * 2, latent_names=["z0", "z1"]
)


def test_a_figure_of_its_own():
    display = TWO_PANELS.plot()
    assert display is TWO_PANELS
    assert display.ax_.shape == (1, 2)
    assert all(ax.figure is display.figure_ for ax in display.ax_.flat)


def test_an_array_of_axes_is_drawn_on():
    figure, axes = plt.subplots(2)
    display = TWO_PANELS.plot(axes)
    assert display.figure_ is figure
    assert list(display.ax_.flat) == list(axes)


def test_panels_share_the_place_of_one_subplot():
    figure, (left, right) = plt.subplots(1, 2)
    display = TWO_PANELS.plot(right)
    assert display.figure_ is figure and not right.axison
    figure.canvas.draw()
    place = right.get_position()
    for ax in display.ax_.flat:
        assert ax.get_position().x0 >= place.x0 - 1e-9
        assert ax.get_position().x1 <= place.x1 + 1e-9
    assert len(left.lines) == 0


def test_too_few_panels_are_refused():
    _, axes = plt.subplots(3)
    with pytest.raises(ValueError, match=r"ax has 3 panels, expected an array of 2 .*subplots"):
        TWO_PANELS.plot(axes)
    figure = plt.figure()
    with pytest.raises(ValueError, match="ax has 1 panels"):
        TWO_PANELS.plot(figure.add_axes((0, 0, 1, 1)))


def test_one_panel_is_no_array():
    _, ax = plt.subplots()
    assert ELBOCurveDisplay(lower_bounds={"a": [1.0, 2.0]}).plot(ax).ax_ is ax


@pytest.mark.slow
def test_without_matplotlib_the_extra_is_named():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import numpy as np\n"
        "from skelbo import EMGaussianMixture, ELBOMonitor\n"
        "from skelbo.display import DensityDisplay, ELBOCurveDisplay\n"
        "X = np.random.default_rng(0).standard_normal((30, 2))\n"
        "model = EMGaussianMixture(random_state=0).fit(X)\n"
        "calls = [lambda: DensityDisplay.from_estimator(model, X), ELBOMonitor().plot]\n"
        "for call in [*calls, ELBOCurveDisplay(lower_bounds={}).plot]:\n"
        "    try: call()\n"
        "    except ImportError as error: print(error)\n"
    )
    run = [sys.executable, "-c", code]
    lines = subprocess.run(run, check=True, capture_output=True, text=True).stdout.splitlines()
    assert len(lines) == 3
    assert all("pip install 'skelbo[plot]'" in line for line in lines)
    assert lines[0].startswith("DensityDisplay.from_estimator needs matplotlib")


@pytest.mark.slow
def test_matplotlib_loads_only_with_a_picture():
    code = (
        "import sys; from skelbo.display import DensityDisplay\n"
        "print({'matplotlib', 'torch', 'dask'} & set(sys.modules))"
    )
    run = [sys.executable, "-c", code]
    assert subprocess.run(run, check=True, capture_output=True, text=True).stdout == "set()\n"


def test_all_displays_follow_the_convention():
    for name in skelbo.display.__all__:
        display = getattr(skelbo.display, name)
        assert name.endswith("Display") and issubclass(display, Display)
        assert callable(display.from_estimator)
