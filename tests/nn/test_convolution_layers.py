"""Convolutions and their transposes: PyTorch's numbers, the layers they stand for, messages."""

import numpy as np
import pytest
from layer_agreement import agree_with_torch, normal

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, DtypeError, ShapeError
from chainrule.nn import functional as F


@pytest.fixture(autouse=True)
def _seeded():
    cr.random.seed(2)


# class, its arguments, the input
TABLE = {
    "1d": ("Conv1d", (2, 3, 3), {}, (2, 2, 7)),
    "1d, stride, padding": ("Conv1d", (2, 3, 4), {"stride": 2, "padding": 3}, (2, 2, 8)),
    "1d, dilation, groups": ("Conv1d", (4, 6, 3), {"dilation": 2, "groups": 2}, (1, 4, 9)),
    "1d, depthwise": ("Conv1d", (3, 6, 2), {"groups": 3, "bias": False}, (2, 3, 5)),
    "1d, larger than the input": ("Conv1d", (1, 2, 5), {"padding": 2}, (2, 1, 3)),
    "2d": ("Conv2d", (2, 3, 3), {}, (2, 2, 5, 6)),
    "2d, 1 × 1": ("Conv2d", (3, 5, 1), {}, (2, 3, 4, 3)),
    "2d, stride": ("Conv2d", (2, 3, 3), {"stride": 2, "padding": 1}, (2, 2, 7, 8)),
    "2d, oblong": (
        "Conv2d",
        (2, 2, (3, 2)),
        {"stride": (1, 3), "padding": (2, 0), "dilation": (2, 1)},
        (1, 2, 6, 9),
    ),
    "2d, same": ("Conv2d", (2, 3, (4, 3)), {"padding": "same", "dilation": (1, 2)}, (2, 2, 5, 6)),
    "2d, valid": ("Conv2d", (2, 3, 2), {"padding": "valid"}, (2, 2, 3, 3)),
    "2d, depthwise": ("Conv2d", (4, 4, 3), {"padding": 1, "groups": 4}, (2, 4, 5, 5)),
    "2d, stride beyond the kernel": ("Conv2d", (1, 2, 2), {"stride": 3}, (1, 1, 9, 8)),
    "2d, empty batch": ("Conv2d", (2, 3, 3), {}, (0, 2, 5, 5)),
    "3d": ("Conv3d", (2, 3, 2), {}, (1, 2, 3, 4, 3)),
    "3d, all": (
        "Conv3d",
        (2, 4, (1, 2, 3)),
        {"stride": (1, 2, 1), "padding": (0, 1, 2), "dilation": (1, 1, 2), "groups": 2},
        (1, 2, 2, 4, 5),
    ),
    **{
        f"2d, {mode}": (
            "Conv2d",
            (2, 2, 3),
            {"padding": (2, 1), "padding_mode": mode, "stride": 2},
            (2, 2, 4, 5),
        )
        for mode in ("reflect", "replicate", "circular")
    },
    "1d, same, circular": (
        "Conv1d",
        (1, 2, 4),
        {"padding": "same", "padding_mode": "circular"},
        (2, 1, 6),
    ),
    "transposed 1d": ("ConvTranspose1d", (2, 3, 3), {"stride": 2}, (2, 2, 4)),
    "transposed 2d": ("ConvTranspose2d", (2, 3, 2), {"stride": 2}, (2, 2, 3, 4)),
    "transposed 2d, all": (
        "ConvTranspose2d",
        (4, 6, (3, 2)),
        {
            "stride": (2, 3),
            "padding": (1, 0),
            "output_padding": (1, 2),
            "groups": 2,
            "dilation": (1, 2),
        },
        (2, 4, 3, 4),
    ),
    "transposed 2d, cut beyond the kernel": (
        "ConvTranspose2d",
        (1, 2, 2),
        {"padding": 2, "bias": False},
        (1, 1, 6, 5),
    ),
    "transposed 2d, depthwise": ("ConvTranspose2d", (3, 3, 3), {"groups": 3}, (1, 3, 4, 4)),
    "transposed 3d": (
        "ConvTranspose3d",
        (2, 2, 2),
        {"stride": (1, 2, 1), "output_padding": (0, 1, 0)},
        (1, 2, 2, 3, 2),
    ),
}


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", TABLE)
def test_values_gradients_and_state_agree_with_pytorch(name):
    torch = pytest.importorskip("torch")
    kind, sizes, settings, shape = TABLE[name]
    peer = getattr(torch.nn, kind)(*sizes, **settings)
    ours = getattr(nn, kind)(*sizes, **settings)
    assert repr(ours) == repr(peer)
    agree_with_torch(ours, peer, normal(*shape))


@pytest.mark.peer
@pytest.mark.parametrize("kind", ["Conv2d", "ConvTranspose2d"])
def test_weights_begin_as_in_pytorch(kind):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    ours = getattr(nn, kind)(16, 32, 5, groups=2)
    peer = getattr(torch.nn, kind)(16, 32, 5, groups=2)
    for name, value in peer.named_parameters():
        drawn, wanted = ours.state_dict()[name].numpy(), value.detach().numpy()
        many = drawn.size > 1000
        assert np.abs(drawn).max() == pytest.approx(np.abs(wanted).max(), rel=0.01 if many else 0.3)


@pytest.mark.parametrize(
    "name", ["1d, dilation, groups", "2d, oblong", "2d, reflect", "transposed 2d, all", "3d"]
)
def test_both_engines_agree_and_gradients_agree_with_differences(name):
    kind, sizes, settings, shape = TABLE[name]
    layer = getattr(nn, kind)(*sizes, **settings).astype("float64")
    x = normal(*shape).astype(np.float64)
    wide = layer(x)
    weights = normal(*wide.shape, seed=9)
    cr.check_gradients(lambda m, x: (m(x) * weights).sum(), (layer, x))
    native = cr.compile(lambda m, x: m(x), engine="compiler")(layer, x)
    np.testing.assert_allclose(native.numpy(), wide.numpy(), rtol=1e-12, atol=1e-12)


def constrained(weight, shape, stride, padding):
    """The matrix that a convolution stands for: row (o, p), column (c, q), weights shared."""
    out, channels, *kernel = weight.shape
    height, width = (
        (n + 2 * padding - k) // stride + 1 for n, k in zip(shape, kernel, strict=True)
    )
    matrix = np.zeros((out, height, width, channels, *shape))
    source = {}  # matrix element → weight that stands there
    for o, y, x, c, i, j in np.ndindex(out, height, width, channels, *kernel):
        row, column = y * stride + i - padding, x * stride + j - padding
        if 0 <= row < shape[0] and 0 <= column < shape[1]:
            matrix[o, y, x, c, row, column] = weight[o, c, i, j]
            source[o, y, x, c, row, column] = (o, c, i, j)
    return matrix, source


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1)])
def test_it_is_a_fully_connected_layer_with_shared_and_absent_weights(stride, padding):
    layer = nn.Conv2d(2, 3, 3, stride, padding, bias=False, dtype=cr.float64)
    x = normal(4, 2, 5, 6).astype(np.float64)
    matrix, source = constrained(layer.weight.numpy(), (5, 6), stride, padding)
    y = layer(x)
    full = nn.Linear(2 * 5 * 6, y.size // 4, bias=False, dtype=cr.float64)
    full.weight = matrix.reshape(full.weight.shape)
    np.testing.assert_allclose(full(x.reshape(4, -1)).numpy(), y.numpy().reshape(4, -1), rtol=1e-12)

    cotangent = normal(*y.shape, seed=7).astype(np.float64)
    tied = cr.grad(lambda m: (m(x) * cotangent).sum())(layer)["weight"].numpy()
    flat = cotangent.reshape(4, -1)
    free = cr.grad(lambda m: (m(x.reshape(4, -1)) * flat).sum())(full)["weight"].numpy()
    free = free.reshape(matrix.shape)
    summed = np.zeros_like(tied)  # the gradient of a shared weight is the sum over its places
    for place, weight in source.items():
        summed[weight] += free[place]
    np.testing.assert_allclose(tied, summed, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("engine", ["interpreter", "compiler"])
def test_a_shifted_input_shifts_the_output(engine):
    layer = nn.Conv2d(1, 2, 3, padding=1)
    image = np.zeros((1, 1, 9, 10), np.float32)
    image[0, 0, 2:5, 2:6] = normal(3, 4)
    shifted = np.roll(image, (2, 3), axis=(2, 3))
    run = cr.compile(lambda m, x: m(x), engine=engine)
    y, moved = run(layer, image).numpy(), run(layer, shifted).numpy()
    np.testing.assert_allclose(np.roll(y, (2, 3), axis=(2, 3)), moved, rtol=1e-6, atol=1e-7)
    assert np.abs(y - moved).max() > 0.01


def test_circular_borders_make_every_shift_exact():
    layer = nn.Conv1d(2, 3, 3, padding="same", padding_mode="circular")
    x = normal(1, 2, 7)
    np.testing.assert_allclose(
        np.roll(layer(x), 4, axis=2), layer(np.roll(x, 4, axis=2)), rtol=1e-5, atol=1e-6
    )


def test_the_same_weights_take_pictures_of_any_size():
    layer = nn.Conv2d(3, 4, 3, padding="same", stride=2)
    for size in [(5, 5), (8, 3), (1, 1)]:
        y = layer(normal(2, 3, *size))
        assert y.shape == (2, 4, *(-(-n // 2) for n in size))


def test_a_transposed_convolution_is_the_way_back_of_gradients():
    forth = nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False)
    back = nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1, bias=False)
    back.weight = forth.weight.numpy()
    x, cotangent = normal(2, 2, 6, 7), normal(2, 3, 3, 4, seed=8)
    by_input = cr.grad(lambda x: (forth(x) * cotangent).sum())(cr.asarray(x))
    again = back(cotangent, output_size=(6, 7))
    np.testing.assert_allclose(again.numpy(), by_input.numpy(), rtol=1e-4, atol=1e-5)


def test_batches_of_one_and_none():
    layer = nn.Conv2d(2, 3, 3)
    x = normal(5, 2, 6, 6)
    alone = np.concatenate([layer(x[i : i + 1]).numpy() for i in range(5)])
    np.testing.assert_allclose(layer(x).numpy(), alone, rtol=1e-5, atol=1e-6)
    grads = cr.grad(lambda m: m(x[:0]).sum())(layer)
    assert all((g.numpy() == 0).all() for g in grads.values())


def test_pixels_are_cast_and_other_floats_refused():
    layer = nn.Conv2d(1, 2, 3)
    pixels = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
    np.testing.assert_array_equal(layer(pixels).numpy(), layer(pixels.astype("f")).numpy())
    with pytest.raises(DtypeError, match="computes in float32 but its input is float64"):
        layer(pixels.astype(np.float64))


WRONG_INPUTS = {
    "channels last": (nn.Conv2d(3, 8, 3), (2, 32, 32, 3), r"cr\.permute_dims\(x, \(0, 3, 1, 2\)\)"),
    "no channel axis": (nn.Conv2d(1, 8, 3), (64, 28, 28), r"x\[:, None\]"),
    "no batch axis": (nn.Conv2d(3, 8, 3), (3, 28, 28), r"x\[None\]"),
    "other channels": (nn.Conv2d(3, 8, 3), (2, 4, 9, 9), "4 input channels"),
    "other axes": (nn.Conv1d(3, 8, 3), (2, 3, 9, 9), "ends in 2d"),
    "flattened": (nn.Conv2d(1, 8, 3), (2, 784), "reshape it to 4 axes"),
    "too small": (nn.Conv2d(1, 8, 5), (2, 1, 4, 9), 'padding="same"'),
    "transposed": (nn.ConvTranspose2d(3, 8, 2), (2, 4, 9, 9), "4 input channels"),
    "nothing left": (nn.ConvTranspose1d(1, 1, 2, padding=3), (1, 1, 4), "less padding"),
    "mirror too wide": (
        nn.Conv1d(1, 1, 7, padding=3, padding_mode="reflect"),
        (1, 1, 3),
        "a narrower border",
    ),
}


@pytest.mark.parametrize("name", WRONG_INPUTS)
def test_a_wrong_input_is_told_with_its_fix(name):
    layer, shape, fix = WRONG_INPUTS[name]
    with pytest.raises(ShapeError, match=fix) as raised:
        nn.Sequential({"front": layer})(normal(*shape))
    assert "layer front" in str(raised.value)


WRONG_SETTINGS = [
    ({"in_channels": 0}, "in_channels must be a positive integer"),
    ({"kernel_size": (3, 3, 3)}, r"kernel_size does not fit 2 spatial axes"),
    ({"kernel_size": 0}, "at least 1"),
    ({"stride": 1.5}, "stride does not fit"),
    ({"padding": -1}, "padding does not fit"),
    ({"padding": "full"}, "'same', 'valid'"),
    ({"padding": (1, 2, 3)}, "padding does not fit 2 spatial axes"),
    ({"padding": ((1, 2), 1)}, "2 pairs"),
    ({"padding": ((1, 2), (1, -1))}, "padding does not fit"),
    ({"groups": 3}, "groups must divide the channels"),
    ({"padding_mode": "mirror"}, "'zeros', 'reflect', 'replicate', 'circular'"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG_SETTINGS, ids=str)
def test_a_wrong_setting_is_told(settings, message):
    with pytest.raises(ArgumentError, match=message):
        nn.Conv2d(**{"in_channels": 4, "out_channels": 4, "kernel_size": 3, **settings})


def test_sizes_that_a_transposed_convolution_can_not_give():
    layer = nn.ConvTranspose2d(1, 1, 3, stride=2)
    assert layer(normal(1, 1, 3, 3), output_size=(8, 7)).shape == (1, 1, 8, 7)
    with pytest.raises(ArgumentError, match=r"sizes from \(7, 7\) to \(8, 8\)"):
        layer(normal(1, 1, 3, 3), output_size=(9, 7))
    with pytest.raises(ArgumentError, match="less than stride or less than dilation"):
        nn.ConvTranspose2d(1, 1, 3, stride=2, output_padding=2)(normal(1, 1, 3, 3))


def test_paddings_may_differ_before_and_after():
    layer = nn.Conv1d(1, 1, np.int64(3), padding=[[2, 0]])  # causal: no output sees later inputs
    x = normal(1, 1, 6)
    changed = x.copy()
    changed[..., 4] += 1
    y, other = layer(x).numpy(), layer(changed).numpy()
    assert (y[..., :4] == other[..., :4]).all()
    assert (y[..., 4:] != other[..., 4:]).all()


def test_functions_check_axes_and_weights():
    with pytest.raises(ShapeError, match="conv2d does not fit"):
        F.conv2d(normal(1, 2, 5), normal(2, 2, 3))
    with pytest.raises(ShapeError, match="conv_transpose2d: the weight does not fit"):
        F.conv_transpose2d(normal(1, 2, 5, 5), normal(3, 2, 2, 2))
    with pytest.raises(ShapeError, match="one number a channel"):
        F.conv2d(normal(1, 2, 5, 5), normal(3, 2, 2, 2), normal(2))


@pytest.mark.peer
@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pad_agrees_with_pytorch(mode):
    torch = pytest.importorskip("torch")
    x = normal(2, 1, 4, 5)
    for widths in [(1, 2, 0, 0), (2, 0, 1, 3), (0, 0, 3, 1)]:
        wanted = torch.nn.functional.pad(torch.from_numpy(x), widths, mode)
        for engine in ("interpreter", "compiler"):
            run = cr.compile(lambda x, w=widths: F.pad(x, w, mode), engine=engine)
            np.testing.assert_array_equal(run(x).numpy(), wanted.numpy())


def test_pad_cuts_fills_and_refuses():
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    wanted = np.pad(x[:, 1:], ((0, 0), (0, 2)), constant_values=7)
    np.testing.assert_array_equal(F.pad(x, (-1, 2), value=7).numpy(), wanted)
    assert F.pad(x, (-2, -2)).shape == (3, 0)
    with pytest.raises(ShapeError, match="cut off more than there is"):
        F.pad(x, (-3, -2))
    with pytest.raises(ArgumentError, match="the widths do not fit"):
        F.pad(x, (1, 2, 3))
    with pytest.raises(ArgumentError, match="'circular'"):
        F.pad(x, (1, 2), mode="wrap")
    with pytest.raises(ShapeError, match=r"reflect border does not fit axis 1"):
        F.pad(x, (4, 0), mode="reflect")


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_gradients_of_borders_agree_with_differences(mode):
    x = normal(2, 3, 4).astype(np.float64)
    weights = normal(2, 6, 5, seed=3)
    cr.check_gradients(lambda x: (F.pad(x, (1, 0, 1, 2), mode, 0.5) * weights).sum(), (x,))
