"""Convolution and its transpose in one to three dimensions, with bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError, ShapeError
from chainrule.nn.checks import per_axis_setting, spatial_input
from chainrule.ops.kernels.geometry import spread_size
from chainrule.ops.origin import here

PerAxis: TypeAlias = int | Sequence[int]
Padding: TypeAlias = str | int | Sequence[int | tuple[int, int]]
Pairs: TypeAlias = Sequence[tuple[int, int]]


def conv1d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
) -> Array:
    """Slide kernels over (batch, channels, length); see ``conv2d``."""
    return convolve(1, x, weight, bias, stride, padding, dilation, groups)


def conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
) -> Array:
    """Slide kernels over pictures: y[n, o, p] = b[o] + Σ_{c, t} w[o, c, t] x[n, c, p·stride + t].

    Args:
        x: (batch, channels, height, width).
        weight: (out, channels / groups, kernel height, kernel width).
        bias: (out,).
        stride: Step between windows, per axis or for all.
        padding: Zeros around: ``"same"``, ``"valid"``, an int, or per axis an int or (before,
            after).
        dilation: Distance between the kernel's elements.
        groups: Channel groups that do not mix.

    Raises:
        ShapeError: Ranks or channels do not fit, or the kernel is larger than the padded input.

    >>> import chainrule as cr
    >>> conv2d(cr.ones((1, 1, 3, 3)), cr.ones((1, 1, 2, 2))).tolist()
    [[[[4.0, 4.0], [4.0, 4.0]]]]
    """
    return convolve(2, x, weight, bias, stride, padding, dilation, groups)


def conv3d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
) -> Array:
    """Slide kernels over (batch, channels, depth, height, width); see ``conv2d``."""
    return convolve(3, x, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: PerAxis = 1,
    padding: PerAxis = 0,
    output_padding: PerAxis = 0,
    groups: int = 1,
    dilation: PerAxis = 1,
) -> Array:
    """Lay kernels down over (batch, channels, length); see ``conv_transpose2d``."""
    return transposed(1, x, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: PerAxis = 1,
    padding: PerAxis = 0,
    output_padding: PerAxis = 0,
    groups: int = 1,
    dilation: PerAxis = 1,
) -> Array:
    """Lay a kernel down for every element and add up: what ``conv2d`` does to gradients.

    Args:
        x: (batch, channels, height, width).
        weight: (channels, out / groups, kernel height, kernel width).
        bias: (out,).
        stride: Step between the kernels' places in the output, per axis or for all.
        padding: What is cut off all around, per axis or for all: the padding of the convolution
            that this one reverses.
        output_padding: Places added behind, below stride or dilation: which of the inputs' sizes
            that the convolution would map to the same output.
        groups: Channel groups that do not mix.
        dilation: Distance between the kernel's elements.

    Raises:
        ShapeError: Ranks or channels do not fit, or nothing is left of the output.
        ArgumentError: ``output_padding`` is neither below stride nor below dilation.

    >>> import chainrule as cr
    >>> conv_transpose2d(cr.ones((1, 1, 1, 2)), cr.ones((1, 1, 1, 3))).tolist()
    [[[[1.0, 2.0, 2.0, 1.0]]]]
    """
    return transposed(2, x, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: PerAxis = 1,
    padding: PerAxis = 0,
    output_padding: PerAxis = 0,
    groups: int = 1,
    dilation: PerAxis = 1,
) -> Array:
    """Lay kernels down over (batch, channels, depth, height, width); see ``conv_transpose2d``."""
    return transposed(3, x, weight, bias, stride, padding, output_padding, groups, dilation)


def convolve(
    n_axes: int,
    x: Any,
    weight: Any,
    bias: Any,
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    groups: int,
) -> Array:
    """``conv2d`` over ``n_axes`` spatial axes."""
    value = spatial_input(ops.as_value(x), n_axes, None, f"conv{n_axes}d")
    y: Array = ops.convolution(
        value, weight, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    return y if bias is None else y + by_channel(bias, y)


def transposed(
    n_axes: int,
    x: Any,
    weight: Any,
    bias: Any,
    stride: PerAxis,
    padding: PerAxis,
    output_padding: PerAxis,
    groups: int,
    dilation: PerAxis,
) -> Array:
    """``conv_transpose2d`` over ``n_axes`` spatial axes.

    A convolution with the kernel turned round over the input with zeros between its elements.
    """
    name = f"conv_transpose{n_axes}d"
    value = spatial_input(ops.as_value(x), n_axes, None, name)
    w: Array = ops.as_value(weight)
    _require_weight(name, value, w, groups)
    strides = per_axis_setting(stride, n_axes, f"{name}: stride")
    dilations = per_axis_setting(dilation, n_axes, f"{name}: dilation")
    cut = per_axis_setting(padding, n_axes, f"{name}: padding", least=0)
    added = per_axis_setting(output_padding, n_axes, f"{name}: output_padding", least=0)
    if any(a >= max(s, d) for a, s, d in zip(added, strides, dilations, strict=True)):
        raise ArgumentError(
            f"{name}: output_padding is too large",
            expected="less than stride or less than dilation",
            got=f"{added} with stride {strides} and dilation {dilations}",
            where=str(here()),
        )
    reach = [spread_size(k, d) - 1 for k, d in zip(w.shape[2:], dilations, strict=True)]
    around = [(r - c, r - c + a) for r, c, a in zip(reach, cut, added, strict=True)]
    _require_output(name, value, reach, around, strides)
    y: Array = ops.convolution(
        value, _turned(w, groups), padding=around, dilation=dilations, input_dilation=strides,
        groups=groups,
    )  # fmt: skip
    return y if bias is None else y + by_channel(bias, y)


def _require_weight(name: str, x: Array, w: Array, groups: int) -> None:
    if w.ndim != x.ndim or groups < 1 or w.shape[0] != x.shape[1] or x.shape[1] % groups:
        raise ShapeError(
            f"{name}: the weight does not fit an input of shape {x.shape} in {groups} groups",
            expected=f"({x.shape[1]}, out / groups, *kernel), channels divisible by {groups}",
            got=str(w.shape),
            where=str(here()),
        )


def _require_output(
    name: str, x: Array, reach: Sequence[int], around: Pairs, strides: Sequence[int]
) -> None:
    sizes = [
        spread_size(n, s) + sum(pair) - r
        for n, s, pair, r in zip(x.shape[2:], strides, around, reach, strict=True)
    ]
    if min(sizes) < 1:
        raise ShapeError(
            f"{name}: padding leaves nothing of the output",
            expected="at least one place in each spatial axis",
            got=f"sizes {tuple(sizes)} from an input of shape {x.shape}",
            fix="less padding, which is cut off here",
            where=str(here()),
        )


def _turned(w: Array, groups: int) -> Array:
    """(groups · in, out, *kernel) → (groups · out, in, *kernel), the kernel turned round."""
    channels, out, *kernel = w.shape
    spatial = range(3, 3 + len(kernel))
    split = w.reshape((groups, channels // groups, out, *kernel))
    swapped = ops.permute_dims(split, (0, 2, 1, *spatial))
    return ops.flip(
        swapped.reshape((groups * out, channels // groups, *kernel)),
        axis=tuple(axis - 1 for axis in spatial),
    )


def by_channel(values: Any, like: Array) -> Array:
    """One number a channel, shaped to meet (batch, channels, *spatial)."""
    numbers: Array = ops.as_value(values)
    if numbers.shape != (like.shape[1],):
        raise ShapeError(
            f"one number a channel is needed for an input of shape {like.shape}",
            expected=f"({like.shape[1]},)",
            got=str(numbers.shape),
            where=str(here()),
        )
    return numbers.reshape((-1,) + (1,) * (like.ndim - 2))
