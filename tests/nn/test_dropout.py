"""``Dropout``: the rate, the mean, keys by layer path, and p as a traced scalar."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError
from chainrule.program import compile


@pytest.fixture(autouse=True)
def _seeded():
    cr.random.seed(8)


def data(*shape):
    return np.random.default_rng(6).normal(size=shape).astype(np.float32) + 3


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_it_drops_at_its_rate_and_scales_the_rest(p):
    x = data(400, 500)
    y = nn.Dropout(p)(x).numpy()
    dropped = y == 0
    # five standard deviations of the mean of 200,000 draws
    assert abs(dropped.mean() - p) < 5 * np.sqrt(p * (1 - p) / x.size)
    np.testing.assert_allclose(y[~dropped], (x / (1 - p))[~dropped], rtol=1e-6)
    assert y.mean() == pytest.approx(x.mean(), rel=0.02)


def test_evaluation_and_zero_change_nothing():
    x = data(4, 5)
    assert (nn.Dropout(0.9).eval()(x).numpy() == x).all()
    assert (nn.Dropout(0.0)(x).numpy() == x).all()


@pytest.mark.parametrize("p", [1.0, -0.1, 1.5, "half", True, float("nan")], ids=str)
def test_p_is_a_probability_below_one(p):
    with pytest.raises(ArgumentError, match=r"a number in \[0, 1\)"):
        nn.Dropout(p)
    layer = nn.Dropout(0.25)
    with pytest.raises(ArgumentError, match="Dropout: p"):
        layer.p = p
    assert layer.p == 0.25


def test_draws_differ_from_call_to_call_and_repeat_with_the_seed():
    layer, x = nn.Dropout(0.5), data(10, 10)
    first, second = layer(x).numpy(), layer(x).numpy()
    assert (first != second).any()
    cr.random.seed(8)
    assert (layer(x).numpy() == first).all()


def test_layers_of_one_model_draw_differently_but_not_by_what_else_draws():
    x = data(10, 10)

    def masks(model):
        cr.random.seed(1)
        run = compile(lambda m, x: m(x))
        seen = []
        for _ in range(2):
            seen.append(run(model, x).numpy() == 0)
        assert run.n_compilations == 1
        assert (seen[0] != seen[1]).any()
        return seen[0]

    alone = masks(nn.Sequential(nn.Identity(), nn.Dropout(0.5)))
    both = masks(nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5)))
    first = masks(nn.Sequential(nn.Dropout(0.5)))
    assert (both == (alone | first)).all()
    assert (alone != first).any()


def test_the_gradient_is_the_mask():
    layer, x = nn.Dropout(0.4), data(20, 30)
    y, pull = cr.vjp(layer, cr.asarray(x))
    cotangent = data(20, 30) - 1
    kept = y.numpy() != 0
    wanted = np.where(kept, cotangent / 0.6, 0)
    np.testing.assert_allclose(pull(cr.asarray(cotangent))[0].numpy(), wanted, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_p_travels_as_a_scalar_and_the_type_stays(dtype):
    layer = nn.Dropout(0.5)
    x = cr.asarray(data(100, 100)).astype(dtype)
    run = compile(lambda m, x: m(x))
    for p in (0.5, 0.25, 0.0):
        layer.p = p
        y = run(layer, x)
        assert y.dtype == x.dtype
        assert abs((y.numpy() == 0).mean() - p) < 0.03
    assert run.n_compilations == 1
    assert layer.p == 0.0
    assert isinstance(layer.p, float)
