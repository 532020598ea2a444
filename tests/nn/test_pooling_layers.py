"""Pooling: PyTorch's numbers for windows, bins and norms; ties, borders, messages."""

import numpy as np
import pytest
from layer_agreement import agree_with_torch, normal

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, ShapeError
from chainrule.nn import functional as F

# class, its arguments, the input
TABLE = {
    "max 1d": ("MaxPool1d", (2,), {}, (2, 3, 7)),
    "max 1d, dilated": ("MaxPool1d", (3, 1), {"padding": 1, "dilation": 2}, (2, 3, 8)),
    "max 2d": ("MaxPool2d", (2,), {}, (2, 3, 6, 8)),
    "max 2d, odd sizes": ("MaxPool2d", (2,), {}, (1, 2, 7, 5)),
    "max 2d, overlapping": ("MaxPool2d", (3, 2), {"padding": 1}, (2, 2, 7, 8)),
    "max 2d, ceil": ("MaxPool2d", ((2, 3), (2, 2)), {"ceil_mode": True}, (2, 2, 7, 8)),
    "max 2d, ceil, padding": (
        "MaxPool2d",
        (2, 2),
        {"ceil_mode": True, "padding": 1},
        (1, 2, 5, 6),
    ),
    "max 2d, empty batch": ("MaxPool2d", (2,), {}, (0, 3, 4, 4)),
    "max 3d": ("MaxPool3d", (2, 1), {"padding": (0, 1, 1)}, (1, 2, 3, 4, 3)),
    "average 1d": ("AvgPool1d", (3, 2), {"padding": 1}, (2, 3, 8)),
    "average 2d": ("AvgPool2d", (2,), {}, (2, 3, 6, 7)),
    "average 2d, real elements": (
        "AvgPool2d",
        ((3, 2), (2, 1)),
        {"padding": 1, "count_include_pad": False},
        (2, 2, 7, 5),
    ),
    "average 2d, ceil": ("AvgPool2d", (3, 2), {"padding": 1, "ceil_mode": True}, (2, 2, 6, 8)),
    "average 2d, ceil, real elements": (
        "AvgPool2d",
        (3, 2),
        {"padding": 1, "ceil_mode": True, "count_include_pad": False},
        (1, 2, 6, 8),
    ),
    "average 2d, divisor": ("AvgPool2d", (2,), {"divisor_override": 3}, (1, 2, 4, 5)),
    "average 3d": ("AvgPool3d", ((1, 2, 3),), {}, (1, 2, 2, 5, 6)),
    "norm 1d": ("LPPool1d", (2, 3), {}, (2, 3, 8)),
    "norm 2d": ("LPPool2d", (2, 3, 2), {}, (1, 2, 5, 6)),
    "norm 2d, p = 4, ceil": ("LPPool2d", (4, 2), {"ceil_mode": True}, (1, 2, 5, 6)),
    "norm 3d": ("LPPool3d", (2, 2), {}, (1, 1, 2, 4, 5)),
    "bins, average 1d": ("AdaptiveAvgPool1d", (3,), {}, (2, 3, 8)),
    "bins, average 2d": ("AdaptiveAvgPool2d", ((3, 4),), {}, (2, 2, 7, 9)),
    "bins, average 2d, even": ("AdaptiveAvgPool2d", ((3, 2),), {}, (2, 2, 6, 8)),
    "bins, average 2d, all": ("AdaptiveAvgPool2d", (1,), {}, (2, 2, 5, 7)),
    "bins, average 2d, more than elements": ("AdaptiveAvgPool2d", ((5, None),), {}, (1, 2, 3, 4)),
    "bins, average 3d": ("AdaptiveAvgPool3d", ((1, 2, 3),), {}, (1, 2, 2, 3, 5)),
    "bins, max 1d": ("AdaptiveMaxPool1d", (3,), {}, (2, 3, 7)),
    "bins, max 2d": ("AdaptiveMaxPool2d", ((3, 4),), {}, (2, 2, 7, 9)),
    "bins, max 2d, even": ("AdaptiveMaxPool2d", ((None, 2),), {}, (2, 2, 5, 8)),
    "bins, max 3d": ("AdaptiveMaxPool3d", (2,), {}, (1, 2, 3, 4, 5)),
}


@pytest.mark.peer
@pytest.mark.parametrize("name", TABLE)
def test_values_and_gradients_agree_with_pytorch(name):
    torch = pytest.importorskip("torch")
    kind, sizes, settings, shape = TABLE[name]
    peer = getattr(torch.nn, kind)(*sizes, **settings)
    agree_with_torch(getattr(nn, kind)(*sizes, **settings), peer, normal(*shape))


@pytest.mark.peer
@pytest.mark.parametrize("kind", ["MaxPool2d", "AdaptiveMaxPool2d"])
def test_of_equals_the_first_gets_the_gradient_as_in_pytorch(kind):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).integers(0, 3, (2, 3, 8, 7)).astype(np.float32)
    agree_with_torch(getattr(nn, kind)(3), getattr(torch.nn, kind)(3), x)


@pytest.mark.parametrize(
    "name",
    ["max 2d, ceil, padding", "average 2d, ceil", "norm 2d", "bins, average 2d", "bins, max 2d"],
)
def test_gradients_agree_with_differences(name):
    kind, sizes, settings, shape = TABLE[name]
    layer = getattr(nn, kind)(*sizes, **settings)
    rng = np.random.default_rng(3)
    x = rng.permutation(np.prod(shape)).reshape(shape) / 10 - 1.03  # far from ties and kinks
    weights = rng.normal(size=layer(x).shape)
    cr.check_gradients(lambda x: (layer(x) * weights).sum(), (x,))


@pytest.mark.parametrize("engine", ["interpreter", "compiler"])
def test_everything_at_once(engine):
    run = cr.compile(lambda m, x: m(x), engine=engine)
    for shape in [(2, 3, 5), (2, 3, 4, 5), (2, 3, 2, 3, 4)]:
        x = normal(*shape)
        axes = tuple(range(2, len(shape)))
        np.testing.assert_allclose(
            run(nn.GlobalAvgPool(), x).numpy(), x.mean(axis=axes), rtol=1e-5, atol=1e-6
        )
        kept = run(nn.GlobalMaxPool(keepdims=True), x).numpy()
        np.testing.assert_array_equal(kept, x.max(axis=axes, keepdims=True))


def test_odd_norms_take_absolute_values_and_flat_windows_have_no_gradient():
    x = np.array([[[-3.0, 0.0, -1.0, 2.0, 0.0, 0.0]]], np.float32)
    y = nn.LPPool1d(3, 2)(x).numpy()
    np.testing.assert_allclose(y, [[[3, 9 ** (1 / 3), 0]]], rtol=1e-6)
    np.testing.assert_array_equal(nn.LPPool1d(1, 2)(x).numpy(), [[[3, 3, 0]]])
    gradient = cr.grad(lambda x: nn.LPPool1d(2, 2)(x).sum())(cr.asarray(x)).numpy()
    np.testing.assert_allclose(gradient, [[[-1, 0, -(0.2**0.5), 0.8**0.5, 0, 0]]], rtol=1e-6)


def test_pixels_become_floats_and_padding_never_wins():
    pixels = np.full((1, 1, 3, 3), 7, np.uint8)
    y = nn.MaxPool2d(2, 1, padding=1)(-pixels.astype(np.float32))
    assert (y.numpy() == -7).all()
    assert nn.AvgPool2d(3)(pixels).item() == 7.0


def test_settings_that_pytorch_does_not_have():
    x = normal(1, 2, 7, 8)
    assert nn.MaxPool2d(3, 2, padding="same")(x).shape == (1, 2, 4, 4)
    assert nn.MaxPool1d(2, padding=[(0, 1)])(normal(1, 2, 5)).shape == (1, 2, 3)


WRONG_INPUTS = {
    "axes": (nn.MaxPool2d(2), (3, 8, 8), r"x\[None\]"),
    "bins, axes": (nn.AdaptiveAvgPool1d(2), (3, 4, 8, 8), "ends in 2d"),
    "global": (nn.GlobalAvgPool(), (3, 4), "at least one spatial axis"),
    "too small": (nn.AvgPool2d(3), (1, 1, 2, 5), "the window is larger than the input"),
    "nothing": (nn.AdaptiveMaxPool1d(2), (1, 1, 0), "nothing to pool"),
}


@pytest.mark.parametrize("name", WRONG_INPUTS)
def test_a_wrong_input_is_told(name):
    layer, shape, message = WRONG_INPUTS[name]
    with pytest.raises(ShapeError, match=message) as raised:
        nn.Sequential({"shrink": layer})(normal(*shape))
    assert "layer shrink" in str(raised.value)


WRONG_SETTINGS = {
    "padding": (lambda: nn.MaxPool2d(3, padding=2), "at most half the kernel"),
    "paddings": (lambda: nn.MaxPool2d(3, padding=(1, 1, 1)), "padding does not fit 2"),
    "kernel": (lambda: nn.AvgPool1d(0), "kernel_size"),
    "stride": (lambda: nn.MaxPool2d(2, (1, 2, 3)), "stride does not fit 2 spatial axes"),
    "norm": (lambda: nn.LPPool2d(0.5, 2), "norm_type is out of its range"),
    "norm of a function": (lambda: F.lp_pool1d(normal(1, 1, 4), np.inf, 2), "not defined"),
    "bins": (lambda: nn.AdaptiveAvgPool2d((2, 2, 2)), "output_size does not fit 2"),
    "no bins": (lambda: nn.AdaptiveAvgPool2d(0), "at least 1"),
    "divisor": (lambda: nn.AvgPool2d(2, divisor_override=0), "divisor_override"),
}


@pytest.mark.parametrize("name", WRONG_SETTINGS)
def test_a_wrong_setting_is_told(name):
    make, message = WRONG_SETTINGS[name]
    with pytest.raises(ArgumentError, match=message):
        make()


@pytest.mark.peer
@pytest.mark.parametrize(
    ("function", "arguments", "axes"),
    [
        (name, arguments, axes)
        for name, arguments in [
            ("max_pool", (2,)),
            ("avg_pool", (3, 2, 1)),
            ("lp_pool", (2, 2)),
            ("adaptive_avg_pool", (3,)),
            ("adaptive_max_pool", (2,)),
        ]
        for axes in (1, 2, 3)
    ],
    ids=str,
)
def test_functions_take_pytorchs_arguments(function, arguments, axes):
    torch = pytest.importorskip("torch")
    x = normal(1, 2, *(5, 4, 5)[:axes])
    wanted = getattr(torch.nn.functional, f"{function}{axes}d")(torch.from_numpy(x), *arguments)
    found = getattr(F, f"{function}{axes}d")(x, *arguments)
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-5, atol=1e-6)
