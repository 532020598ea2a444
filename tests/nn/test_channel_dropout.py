"""Dropout of channels and for SELU: rates, what falls together, statistics, both engines."""

import numpy as np
import pytest
from layer_agreement import ENGINES, normal

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, ShapeError


@pytest.fixture(autouse=True)
def _seeded():
    cr.random.seed(8)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Dropout1d(0.3), (50, 40, 3)),
        (nn.Dropout2d(0.3), (50, 40, 2, 3)),
        (nn.Dropout3d(0.3), (50, 40, 2, 1, 2)),
    ],
    ids=str,
)
def test_channels_fall_as_wholes(layer, shape, engine):
    x = normal(*shape)
    y = cr.compile(lambda m, x: m(x), engine=engine)(layer, x).numpy()
    fallen = (y == 0).reshape(*shape[:2], -1)
    assert (fallen.all(axis=2) == fallen.any(axis=2)).all()
    # five standard deviations of the mean of 2,000 draws
    assert abs(fallen[..., 0].mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / 2000)
    np.testing.assert_allclose(y[y != 0], (x / 0.7)[y != 0], rtol=1e-6)
    assert (layer.eval()(x).numpy() == x).all()
    layer.train()


def test_both_engines_drop_the_same_channels():
    x, found = normal(20, 30, 2, 2), []
    for engine in ENGINES:
        cr.random.seed(3)
        found.append(cr.compile(lambda m, x: m(x), engine=engine)(nn.Dropout2d(0.5), x).numpy())
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize("engine", ENGINES)
def test_alpha_dropout_keeps_mean_and_variance(p, engine):
    x = normal(400, 500)
    layer = nn.AlphaDropout(p)
    y = cr.compile(lambda m, x: m(x), engine=engine)(layer, x).numpy()
    assert abs(y.mean()) < 0.02
    assert y.var() == pytest.approx(1, abs=0.02)
    values, counts = np.unique(y, return_counts=True)
    assert counts.max() / y.size == pytest.approx(p, abs=0.01)  # dropped ones share a value
    lowest = -1.7580993408473766
    scale = ((1 - p) * (1 + p * lowest**2)) ** -0.5
    assert values[counts.argmax()] == pytest.approx(scale * lowest * (1 - p), rel=1e-5)
    assert (layer.eval()(x).numpy() == x).all()


def test_p_changes_without_compiling_again_and_gradients_follow_the_mask():
    layer, x = nn.Dropout2d(0.5), normal(40, 10, 2, 2)
    run = cr.compile(lambda m, x: m(x))
    for p in (0.5, 0.1):
        layer.p = p
        run(layer, x)
    assert run.n_compilations == 1
    y, pull = cr.vjp(layer, cr.asarray(x))
    cotangent = normal(*x.shape, seed=2)
    wanted = np.where(y.numpy() != 0, cotangent / 0.9, 0)
    np.testing.assert_allclose(pull(cr.asarray(cotangent))[0].numpy(), wanted, rtol=1e-5)


@pytest.mark.parametrize("kind", [nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout])
def test_p_is_a_probability_below_one(kind):
    with pytest.raises(ArgumentError, match=rf"{kind.__name__}: p"):
        kind(1.0)


def test_pictures_need_a_batch_also_in_evaluation():
    with pytest.raises(ShapeError, match=r"x\[None\]"):
        nn.Dropout2d().eval()(normal(3, 4, 4))
