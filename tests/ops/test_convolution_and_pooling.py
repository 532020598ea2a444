"""Convolution and pooling as functions: padding by name, all ranks, PyTorch's numbers."""

import numpy as np
import pytest
from op_samples import assert_close, check_derivative, gradient_function

from chainrule import ops
from chainrule.array import asarray, variable
from chainrule.autodiff import gradients

LECTURE = np.array([[1, 3, 2, 4], [3, 9, 2, 4], [1, 3, 3, 2], [4, 2, 2, 5]], np.float32)


def test_the_lectures_pooling():
    x = asarray(LECTURE)
    assert ops.max_pool(x, (2, 2)).tolist() == [[9, 4], [4, 5]]
    assert ops.average_pool(x, (2, 2)).tolist() == [[4, 3], [2.5, 3]]


def test_the_derivative_of_a_maximum_goes_to_the_first_place():
    x = variable(LECTURE)
    weights = np.array([[1.0, 10.0], [100.0, 1000.0]], np.float32)
    found = gradients((ops.max_pool(x, (2, 2)) * weights).sum(), x)
    expected = [[0, 0, 0, 10], [0, 1, 0, 0], [0, 0, 0, 0], [100, 0, 0, 1000]]
    assert found.tolist() == expected


CALLS = {
    "convolution, same": (
        lambda x, w: ops.convolution(x, w, padding="same"), [(2, 2, 7), (3, 2, 4)]
    ),
    "convolution, same, stride": (
        lambda x, w: ops.convolution(x, w, padding="same", stride=(2, 3)),
        [(1, 2, 5, 7), (2, 2, 3, 2)],
    ),
    "convolution, valid, dilated": (
        lambda x, w: ops.convolution(x, w, padding="valid", dilation=2),
        [(1, 2, 6, 5), (2, 2, 2, 2)],
    ),
    "convolution, groups": (
        lambda x, w: ops.convolution(x, w, padding=1, groups=2), [(1, 4, 4), (6, 2, 3)]
    ),
    "convolution, depthwise": (
        lambda x, w: ops.convolution(x, w, padding=[(0, 1)], groups=3), [(2, 3, 4), (3, 1, 2)]
    ),
    "convolution, 3-d": (
        lambda x, w: ops.convolution(x, w, padding="same"), [(1, 1, 3, 2, 3), (1, 1, 2, 2, 2)]
    ),
    "convolution, transposed": (
        lambda x, w: ops.convolution(x, w, input_dilation=2, padding=2), [(1, 2, 4), (2, 2, 3)]
    ),
    "max_pool": (lambda x: ops.max_pool(x, (2, 3)), [(2, 4, 6)]),
    "max_pool, overlapping": (lambda x: ops.max_pool(x, 3, stride=1, padding=1), [(2, 6)]),
    "max_pool, same": (lambda x: ops.max_pool(x, (3, 3), stride=2, padding="same"), [(5, 6)]),
    "average_pool": (lambda x: ops.average_pool(x, 2), [(2, 6)]),
    "average_pool, real places": (
        lambda x: ops.average_pool(x, (3, 2), stride=1, padding=(1, 0), count_padding=False),
        [(4, 5)],
    ),
    "sliding_windows": (
        lambda x: ops.sliding_windows(x, 2, axes=2, stride=(2, 1), dilation=(1, 2)), [(5, 6)]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_derivatives_agree_with_differences(name):
    function, shapes = CALLS[name]
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=shape) for shape in shapes]
    check_derivative(function, arrays)
    check_derivative(gradient_function(function, 2), arrays, rtol=5e-7)


@pytest.mark.parametrize("size", [5, 6, 7])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_keeps_the_size_divided_by_the_stride(size, kernel, stride):
    x, w = asarray(np.ones((1, 1, size))), asarray(np.ones((1, 1, kernel)))
    assert ops.convolution(x, w, padding="same", stride=stride).shape == (1, 1, -(-size // stride))


def test_pooling_of_integers_and_of_nan():
    assert ops.max_pool(asarray([[-3, -7, -1, -9]]), 2).tolist() == [[-3, -1]]
    assert ops.max_pool(asarray([-3, -7, -1]), 2, padding=(1,), stride=2).tolist() == [-3, -1]
    x = asarray([np.nan, 1.0, 2.0, 3.0])
    found = ops.average_pool(x, 2, count_padding=False).tolist()
    assert np.isnan(found[0])
    assert found[1] == 2.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, w: ops.convolution(x, w[0]), "ranks"),
        (lambda x, w: ops.convolution(x[0, 0], w[0, 0]), "ranks"),
        (lambda x, w: ops.convolution(x[:, :1], w), "channels"),
        (lambda x, w: ops.convolution(x, w, groups=0), "channels"),
        (lambda x, w: ops.convolution(x[..., :2], w), "larger than the input"),
        (lambda x, w: ops.convolution(x, w, dilation=3), "larger than the input"),
        (lambda x, w: ops.convolution(x, w, stride=0), "stride"),
        (lambda x, w: ops.convolution(x, w, stride=(1, 2, 3)), "stride"),
        (lambda x, w: ops.convolution(x, w, padding="full"), "padding"),
        (lambda x, w: ops.convolution(x, w, padding=(1, 1, 1)), "padding"),
        (lambda x, w: ops.convolution(ops.astype(x, "int32"), ops.astype(w, "int32")), "floating"),
        (lambda x, w: ops.max_pool(x, (9, 9)), "larger than the input"),
        (lambda x, w: ops.max_pool(x[0, 0], (2, 2, 2)), "does not fit"),
    ],
)
def test_errors(call, message):
    x, w = asarray(np.ones((2, 2, 6, 6))), asarray(np.ones((4, 2, 3, 3)))
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        call(x, w)
    assert "test_convolution_and_pooling.py" in caught.value.where


# --- PyTorch ----------------------------------------------------------------------------------


def gradients_of(function, *arrays):
    """Value and gradients of a weighted sum, ours."""
    xs = [variable(a) for a in arrays]
    y = function(*xs)
    weights = np.random.default_rng(5).normal(size=y.shape)
    return y.numpy(), weights, [g.numpy() for g in gradients((y * weights).sum(), xs)]


def compare(torch, ours, theirs, *arrays):
    value, weights, found = gradients_of(ours, *arrays)
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    expected = theirs(*tensors)
    (expected * torch.tensor(weights)).sum().backward()
    assert_close(value, expected.detach().numpy(), 1e-12)
    for g, tensor in zip(found, tensors, strict=True):
        assert_close(g, tensor.grad.numpy(), 1e-12)


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(
    "settings",
    [{}, {"stride": 2}, {"padding": 1}, {"dilation": 2}, {"groups": 2}, {"padding": "same"},
     {"stride": 2, "padding": 2, "dilation": 2, "groups": 2}],
    ids=str,
)  # fmt: skip
def test_convolution_equals_torch(axes, settings):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    groups = settings.get("groups", 1)
    x = rng.normal(size=(2, 4, *(7, 6, 5)[:axes]))
    w = rng.normal(size=(6, 4 // groups, *(3, 2, 2)[:axes]))
    function = getattr(torch.nn.functional, f"conv{axes}d")
    compare(
        torch,
        lambda x, w: ops.convolution(x, w, **settings),
        lambda x, w: function(x, w, **settings),
        x, w,
    )  # fmt: skip


@pytest.mark.peer
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("settings", [{}, {"stride": 1}, {"stride": 2, "padding": 1}], ids=str)
def test_pooling_equals_torch(axes, settings):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    x = np.round(rng.normal(size=(2, 3, *(7, 6, 5)[:axes])), 1)  # rounded: with ties
    window = (3, 2, 2)[:axes]
    f = torch.nn.functional
    maximum, mean = getattr(f, f"max_pool{axes}d"), getattr(f, f"avg_pool{axes}d")
    theirs = {"stride": window} | settings
    compare(
        torch,
        lambda x: ops.max_pool(x, window, **settings),
        lambda x: maximum(x, window, **theirs),
        x,
    )
    compare(
        torch,
        lambda x: ops.average_pool(x, window, **settings),
        lambda x: mean(x, window, **theirs),
        x,
    )
    compare(
        torch,
        lambda x: ops.average_pool(x, window, count_padding=False, **settings),
        lambda x: mean(x, window, count_include_pad=False, **theirs),
        x,
    )


@pytest.mark.peer
@pytest.mark.parametrize("name", ["tanh", "sigmoid", "erf", "relu", "expm1", "log1p", "atan"])
def test_elementwise_functions_equal_torch(name):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(4).normal(size=(4, 5)) * 0.4
    compare(torch, getattr(ops, name), getattr(torch, name), x)


@pytest.mark.peer
def test_reductions_and_indexing_equal_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(6)
    x, w = rng.normal(size=(4, 5)), rng.normal(size=(5, 3))
    compare(
        torch, lambda x, w: ops.logsumexp(x @ w, axis=1), lambda x, w: (x @ w).logsumexp(1), x, w
    )
    compare(torch, lambda x: ops.var(x, axis=0, correction=1), lambda x: x.var(0), x)
    compare(torch, lambda x: ops.prod(x, axis=1), lambda x: x.prod(1), x)
    compare(torch, lambda x: ops.cumulative_prod(x, axis=1), lambda x: x.cumprod(1), x)
    compare(torch, lambda x: ops.sort(x, axis=1), lambda x: x.sort(1).values, x)
    compare(torch, lambda x: x[:, [0, 2, 2]], lambda x: x[:, [0, 2, 2]], x)
    compare(torch, lambda x: ops.max(x, axis=0), lambda x: x.max(0).values, x)
    compare(torch, ops.logaddexp, torch.logaddexp, x, rng.normal(size=(4, 5)))
