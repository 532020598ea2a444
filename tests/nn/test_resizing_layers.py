"""Borders, interpolation, and layers that move numbers: PyTorch's results, inverses, messages."""

import numpy as np
import pytest
from layer_agreement import agree_with_torch, normal

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, ShapeError
from chainrule.nn import functional as F

# class, its arguments, the input
TABLE = {
    "zeros 1d": ("ZeroPad1d", ((1, 2),), {}, (2, 2, 4)),
    "zeros 2d": ("ZeroPad2d", ((1, -1, 2, 0),), {}, (1, 2, 3, 4)),
    "zeros 3d": ("ZeroPad3d", (1,), {}, (1, 1, 2, 3, 2)),
    "constant 1d": ("ConstantPad1d", (2, 1.5), {}, (1, 2, 3)),
    "constant 2d": ("ConstantPad2d", ((0, 1, 2, 1), -2), {}, (1, 2, 3, 3)),
    "constant 3d": ("ConstantPad3d", (1, 0.5), {}, (1, 1, 2, 2, 2)),
    "mirror 1d": ("ReflectionPad1d", ((3, 1),), {}, (2, 2, 4)),
    "mirror 2d": ("ReflectionPad2d", ((1, 2, 0, 2),), {}, (1, 2, 3, 4)),
    "mirror 3d": ("ReflectionPad3d", (1,), {}, (1, 1, 2, 3, 2)),
    "edges 1d": ("ReplicationPad1d", ((3, 1),), {}, (2, 2, 2)),
    "edges 2d": ("ReplicationPad2d", ((1, 2, 0, 2),), {}, (1, 2, 3, 4)),
    "edges 3d": ("ReplicationPad3d", (1,), {}, (1, 1, 2, 3, 2)),
    "circle 1d": ("CircularPad1d", ((3, 1),), {}, (2, 2, 3)),
    "circle 2d": ("CircularPad2d", ((1, 2, 0, 2),), {}, (1, 2, 3, 4)),
    "circle 3d": ("CircularPad3d", (1,), {}, (1, 1, 2, 3, 2)),
    "nearest 1d": ("Upsample", (), {"scale_factor": 3}, (2, 2, 4)),
    "nearest 2d": ("Upsample", (), {"scale_factor": 2}, (1, 2, 3, 4)),
    "nearest 2d, any size": ("Upsample", ((7, 3),), {}, (1, 2, 3, 5)),
    "nearest 2d, broken": ("Upsample", (), {"scale_factor": (1.5, 2.3)}, (1, 2, 5, 4)),
    "nearest 3d": ("Upsample", (), {"scale_factor": (1, 2, 1)}, (1, 1, 2, 2, 3)),
    "linear": ("Upsample", (), {"scale_factor": 2, "mode": "linear"}, (2, 2, 5)),
    "bilinear": ("Upsample", (), {"scale_factor": 2, "mode": "bilinear"}, (2, 2, 4, 5)),
    "bilinear, down": ("Upsample", ((3, 1),), {"mode": "bilinear"}, (1, 2, 5, 4)),
    "bilinear, broken": ("Upsample", (), {"scale_factor": 1.7, "mode": "bilinear"}, (1, 2, 5, 4)),
    "bilinear, corners": (
        "Upsample",
        ((7, 9),),
        {"mode": "bilinear", "align_corners": True},
        (1, 2, 4, 5),
    ),
    "bilinear, one row": (
        "Upsample",
        ((1, 4),),
        {"mode": "bilinear", "align_corners": True},
        (1, 1, 3, 1),
    ),
    "trilinear": ("Upsample", (), {"scale_factor": 2, "mode": "trilinear"}, (1, 1, 2, 3, 2)),
    "shuffle": ("PixelShuffle", (2,), {}, (2, 8, 3, 2)),
    "unshuffle": ("PixelUnshuffle", (3,), {}, (2, 2, 6, 3)),
    "unflatten": ("Unflatten", (1, (2, 3)), {}, (4, 6, 5)),
    "unflatten, open": ("Unflatten", (-1, (2, -1)), {}, (4, 6)),
}


@pytest.mark.peer
@pytest.mark.parametrize("name", TABLE)
def test_values_and_gradients_agree_with_pytorch(name):
    torch = pytest.importorskip("torch")
    kind, arguments, settings, shape = TABLE[name]
    peer = getattr(torch.nn, kind)(*arguments, **settings)
    agree_with_torch(getattr(nn, kind)(*arguments, **settings), peer, normal(*shape))


@pytest.mark.parametrize("name", ["mirror 2d", "nearest 2d, broken", "bilinear", "shuffle"])
def test_gradients_agree_with_differences(name):
    kind, arguments, settings, shape = TABLE[name]
    layer = getattr(nn, kind)(*arguments, **settings)
    x = normal(*shape).astype(np.float64)
    weights = normal(*layer(x).shape, seed=9)
    cr.check_gradients(lambda x: (layer(x) * weights).sum(), (x,))


@pytest.mark.parametrize("engine", ["interpreter", "compiler"])
def test_shuffling_and_back_is_the_identity(engine):
    x = normal(2, 12, 3, 5)
    run = cr.compile(lambda x: F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2), engine=engine)
    np.testing.assert_array_equal(run(x).numpy(), x)
    flat = nn.Sequential(nn.Unflatten(1, (3, -1)), nn.Flatten())
    np.testing.assert_array_equal(flat(x).numpy(), x.reshape(2, -1))


def test_interpolation_keeps_planes_and_means():
    rows, columns = np.meshgrid(np.arange(4.0), np.arange(5.0), indexing="ij")
    plane = (2 * rows - columns)[None, None].astype(np.float32)
    larger = F.interpolate(plane, (7, 9), mode="bilinear", align_corners=True).numpy()
    wanted = 2 * np.linspace(0, 3, 7)[:, None] - np.linspace(0, 4, 9)
    np.testing.assert_allclose(larger[0, 0], wanted, rtol=1e-5, atol=1e-5)
    x = normal(1, 1, 3, 4)
    assert F.interpolate(x, scale_factor=2).numpy().mean() == pytest.approx(x.mean(), rel=1e-5)


def test_sizes_vary_and_batches_may_be_empty():
    layer = nn.Sequential(nn.ReflectionPad2d(1), nn.Upsample(scale_factor=2, mode="bilinear"))
    for shape in [(2, 3, 4, 5), (1, 1, 2, 9), (0, 3, 4, 4)]:
        batch, channels, height, width = shape
        wanted = (batch, channels, 2 * height + 4, 2 * width + 4)
        assert layer(normal(*shape)).shape == wanted


WRONG_INPUTS = {
    "axes": (nn.ZeroPad2d(1), (3, 4, 4), r"x\[None\]"),
    "mirror": (nn.ReflectionPad1d(4), (1, 1, 4), "widths 0 to 3"),
    "mode": (nn.Upsample(scale_factor=2, mode="bilinear"), (1, 1, 4), 'mode="linear"'),
    "no places": (nn.Upsample(scale_factor=2), (3, 4), "at least one spatial axis"),
    "shuffle": (nn.PixelShuffle(2), (1, 6, 3, 3), "a multiple of 4"),
    "unshuffle": (nn.PixelUnshuffle(2), (1, 6, 3, 4), "multiples of 2"),
    "unflatten": (nn.Unflatten(1, (2, 3)), (4, 7), "6 along axis 1"),
    "unflatten, open": (nn.Unflatten(2, (2, -1)), (4, 7), "2 times something along axis 2"),
}


@pytest.mark.parametrize("name", WRONG_INPUTS)
def test_a_wrong_input_is_told(name):
    layer, shape, message = WRONG_INPUTS[name]
    with pytest.raises(ShapeError, match=message) as raised:
        nn.Sequential({"resize": layer})(normal(*shape))
    assert "layer resize" in str(raised.value)


WRONG_SETTINGS = {
    "widths": (lambda: nn.ZeroPad2d((1, 2)), r"\(left, right, top, bottom\)"),
    "negative": (lambda: nn.ReplicationPad1d(-1), "all ≥ 0"),
    "neither": (lambda: nn.Upsample(), "one of size and scale_factor"),
    "both": (lambda: nn.Upsample(2, 2), "one of size and scale_factor"),
    "mode": (lambda: nn.Upsample(2, mode="cubic"), "'nearest', 'linear'"),
    "factor": (lambda: nn.PixelShuffle(0), "upscale_factor"),
    "shrunk": (lambda: F.interpolate(normal(1, 1, 3), scale_factor=0.1), "at least one place"),
    "nothing": (lambda: F.interpolate(normal(1, 1, 0), scale_factor=2), "something to resize"),
}


@pytest.mark.parametrize("name", WRONG_SETTINGS)
def test_a_wrong_setting_is_told(name):
    make, message = WRONG_SETTINGS[name]
    with pytest.raises(ArgumentError, match=message):
        make()
