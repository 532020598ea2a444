"""The gradient cliff: its surface against the formula, what clipping does, the picture."""

import numpy as np
import pytest
from PIL import Image

import chainrule as cr
from chainrule import insight
from chainrule.errors import ArgumentError


def by_hand(w, b, steps=50):
    x = 0.5
    for _ in range(steps):
        x = w / (1 + np.exp(-x)) + b
    return (1 / (1 + np.exp(-x)) - 0.7) ** 2


@pytest.fixture(scope="module")
def cliff():
    return insight.gradient_cliff(size=15)


def test_the_surface_is_that_of_one_unit(cliff):
    wanted = [[by_hand(w, b) for w in cliff.weights] for b in cliff.biases]
    np.testing.assert_allclose(cliff.losses, wanted, rtol=1e-9)
    cr.check_gradients(lambda w, b: insight.one_unit_loss(w, b, steps=8), (3.5, -1.0))


def test_there_is_a_wall(cliff):
    fine = insight.gradient_cliff(size=41, updates=1)
    assert fine.steepness > 100
    below, above = fine.losses[:, 20].max(), fine.losses[:, 20].min()
    assert below > 0.3
    assert above < 0.02


def test_clipping_stays_where_the_plain_descent_is_thrown_away(cliff):
    plain, clipped = cliff.descents["plain"], cliff.descents["clipped"]
    np.testing.assert_array_equal(plain.points[0], clipped.points[0])
    longest = {
        name: np.linalg.norm(np.diff(way.points, axis=0), axis=1).max()
        for name, way in cliff.descents.items()
    }
    assert longest["plain"] > 1.0
    assert longest["clipped"] < 0.5 * 0.1 + 1e-9
    assert plain.losses[-1] > 0.08
    assert clipped.losses[-10:].min() < 0.01
    assert clipped.losses[-1] == pytest.approx(by_hand(*clipped.points[-1]), rel=1e-9)


def test_the_picture_says_what_it_shows(cliff, tmp_path):
    path = insight.draw_gradient_cliff(cliff, tmp_path / "cliff.png")
    with Image.open(path) as image:
        assert image.width > 1000
        assert "clipped from" in image.info["Description"]
    with pytest.raises(ArgumentError, match="nothing to see"):
        insight.gradient_cliff(size=1)
