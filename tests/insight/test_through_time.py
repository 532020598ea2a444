"""Gradients through time: against derivatives by hand, on both engines; the picture."""

import numpy as np
import pytest
from PIL import Image

import chainrule as cr
from chainrule import insight, nn, plots
from chainrule.errors import ArgumentError, DataError, ShapeError

X = np.random.default_rng(0).normal(size=(6, 3, 2)).astype(np.float32)


def linear_memory(factor):
    """h_t = factor·h_(t−1) + x_t for positive inputs: by t steps back, factor^t."""
    layer = nn.RNN(2, 2, nonlinearity="relu", bias=False)
    layer.weight_ih_l0 = nn.Parameter(cr.asarray(np.eye(2, dtype=np.float32)))
    layer.weight_hh_l0 = nn.Parameter(cr.asarray(factor * np.eye(2, dtype=np.float32)))
    return layer


@pytest.mark.parametrize("engine", ["interpreter", "compiler"])
@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_norms_of_a_linear_memory_are_powers(engine, factor):
    found = insight.gradients_through_time(linear_memory(factor), np.abs(X), engine=engine)
    np.testing.assert_allclose(found, factor ** np.arange(5.0, -1, -1), rtol=1e-5)


def test_later_steps_and_the_other_order_of_axes():
    layer = nn.GRU(2, 4, batch_first=True)
    layer.train()
    found = insight.gradients_through_time(layer, np.moveaxis(X, 0, 1), step=3, batch_first=True)
    assert layer.training
    assert np.all(found[:4] > 0)
    assert not found[4:].any()


def test_messages():
    with pytest.raises(ShapeError, match="batch of sequences"):
        insight.gradients_through_time(nn.RNN(2, 3), X[0])
    with pytest.raises(ArgumentError, match="no such step"):
        insight.gradients_through_time(nn.RNN(2, 3), X, step=6)


def test_the_picture_says_what_it_shows(tmp_path):
    norms = {str(f): insight.gradients_through_time(linear_memory(f), np.abs(X)) for f in (0.5, 2)}
    path = plots.gradients_through_time(norms, tmp_path / "norms.png")
    with Image.open(path) as image:
        text = image.info["Description"]
    assert "0.5 from 1 to 0.0313" in text
    assert "2 from 1 to 32" in text
    with pytest.raises(DataError, match="nothing to draw"):
        plots.gradients_through_time({}, path)
