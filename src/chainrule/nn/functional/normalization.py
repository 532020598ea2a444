"""Normalisation: mean 0 and variance 1 over chosen axes, and its relatives.

All of them but RMS norm and local response norm are one Composite, ``normalize``, over different
axes. Its derivative is written out: that of the mean's and the variance's graphs sums twice as
often. Batch norm's scale is part of a second one, whose derivatives share their sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ShapeError
from chainrule.nn.checks import positive_integer
from chainrule.nn.functional.convolution import by_channel
from chainrule.ops import composite, dtypes
from chainrule.ops.origin import here
from chainrule.ops.spelling import answers_spelling


def _wide(x: Array) -> Array:
    """16-bit numbers as float32: squares leave their range, and sums of many their precision."""
    return ops.astype(x, dtypes.float32) if x.dtype.itemsize < 4 else x


def _reciprocal_deviation(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    return 1.0 / ops.sqrt(ops.var(x, axis=axes, keepdims=True) + epsilon)


@composite("normalize_pullback", formula="({x} − mean({x}) − {y}·mean({x}·{y})) / √(var + ε)")
def _normalize_pullback(
    g: Array, y: Array, x: Array, *, axes: tuple[int, ...], epsilon: float
) -> Array:
    cotangent, normal = _wide(g), _wide(y)
    centred = cotangent - ops.mean(cotangent, axis=axes, keepdims=True)
    along = normal * ops.mean(cotangent * normal, axis=axes, keepdims=True)
    scale = _reciprocal_deviation(_wide(x), axes, epsilon)
    return ops.astype((centred - along) * scale, x.dtype)


@composite(
    "normalize",
    vjp=lambda g, y, x, *, axes, epsilon: (
        _normalize_pullback(g, y, x, axes=axes, epsilon=epsilon),
    ),
    formula="({x} − mean({x})) / √(var({x}) + ε)",
    derivative=("(δᵢⱼ − 1/n − {out}ᵢ·{out}ⱼ/n) / √(var({x}) + ε)",),
)
def _normalize(x: Array, *, axes: tuple[int, ...], epsilon: float) -> Array:
    wide = _wide(x)
    centred = wide - ops.mean(wide, axis=axes, keepdims=True)
    return ops.astype(centred * _reciprocal_deviation(wide, axes, epsilon), x.dtype)


def normalize(x: Array, axes: Sequence[int], epsilon: float) -> Array:
    """(x − mean) / √(variance + ε), both over ``axes``; nothing is divided by n − 1."""
    if not x.size:
        return x
    return _normalize(x, axes=tuple(axes), epsilon=float(epsilon))


def _scaled_pullback(
    g: Array, y: Array, x: Array, scale: Array, *, axes: tuple[int, ...], epsilon: float
) -> tuple[Array, Array]:
    # the scale is one number for all that is summed, so it comes after the sums: they are the same
    # as those of the scale's and the shift's own gradients, and are computed once for all three
    normal = _normalize(x, axes=axes, epsilon=epsilon)
    by_input = _normalize_pullback(g, normal, x, axes=axes, epsilon=epsilon) * scale
    return by_input, ops.sum(g * normal, axis=axes, keepdims=True)


@composite(
    "scaled_normalize",
    vjp=_scaled_pullback,
    formula="{y}·({x} − mean({x})) / √(var({x}) + ε)",
    derivative=(
        "({y}·(δᵢⱼ − 1/n) − {out}ᵢ·{out}ⱼ/(n·{y})) / √(var({x}) + ε)",
        "({x} − mean({x})) / √(var({x}) + ε)",
    ),
)
def _scaled_normalize(x: Array, scale: Array, *, axes: tuple[int, ...], epsilon: float) -> Array:
    """``scale`` has the rank of x, size 1 along ``axes``, and x's size along the others."""
    return _normalize(x, axes=axes, epsilon=epsilon) * scale


def _affine(x: Array, weight: Any, bias: Any) -> Array:
    y = x if weight is None else x * by_channel(weight, x)
    return y if bias is None else y + by_channel(bias, y)


@answers_spelling
def batch_norm(
    x: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    epsilon: float = 1e-5,
) -> Array:
    """(x − μ) / √(σ² + ε) · w + b for each channel (Ioffe and Szegedy 2015).

    Args:
        x: (batch, channels, *spatial).
        running_mean: μ, (channels,); None: that of the batch.
        running_var: σ², (channels,); None: that of the batch.
        weight: w, (channels,); None: 1.
        bias: b, (channels,); None: 0.
        training: Take the batch's own statistics even if others are given. None is written to;
            the layer keeps the running ones.
        epsilon: ε > 0.

    >>> import chainrule as cr
    >>> batch_norm(cr.asarray([[1.0], [3.0]])).tolist()
    [[-0.9999949932098389], [0.9999949932098389]]
    """
    value = channelled(x, "batch_norm")
    if training or running_mean is None or running_var is None:
        axes = (0, *range(2, value.ndim))
        if weight is None or not value.size:
            return _affine(normalize(value, axes, epsilon), weight, bias)
        scale = by_channel(weight, value).reshape((1, -1, *(1,) * (value.ndim - 2)))
        return _affine(
            _scaled_normalize(value, scale, axes=axes, epsilon=float(epsilon)), None, bias
        )
    # one number a channel to multiply with and one to add: computed before they meet the pictures
    scale = 1.0 / ops.sqrt(ops.as_value(running_var) + epsilon)
    if weight is not None:
        scale = scale * weight
    shift = -ops.as_value(running_mean) * scale
    if bias is not None:
        shift = shift + bias
    return _affine(value, scale, shift)


@answers_spelling
def instance_norm(x: Any, weight: Any = None, bias: Any = None, epsilon: float = 1e-5) -> Array:
    """Each channel of each sample with mean 0 and variance 1 over its places (Ulyanov et al. 2016).

    Args:
        x: (batch, channels, *spatial).
        weight: (channels,); None: 1.
        bias: (channels,); None: 0.
        epsilon: ε > 0.
    """
    value = channelled(x, "instance_norm", least=3)
    return _affine(normalize(value, range(2, value.ndim), epsilon), weight, bias)


@answers_spelling
def group_norm(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, epsilon: float = 1e-5
) -> Array:
    """Each group of channels of each sample with mean 0 and variance 1 (Wu and He 2018).

    Args:
        x: (batch, channels, *spatial).
        num_groups: Divides the channels.
        weight: (channels,); None: 1.
        bias: (channels,); None: 0.
        epsilon: ε > 0.
    """
    value = channelled(x, "group_norm")
    groups = positive_integer(num_groups, "group_norm: num_groups")
    if value.shape[1] % groups:
        raise ShapeError(
            f"group_norm: {value.shape[1]} channels do not form {groups} groups",
            expected=f"a multiple of {groups} channels",
            got=str(value.shape),
            where=str(here()),
        )
    members = value.shape[1] // groups
    split = value.reshape((value.shape[0], groups, members, *value.shape[2:]))
    normal = normalize(split, range(2, split.ndim), epsilon)
    return _affine(normal.reshape(value.shape), weight, bias)


@answers_spelling
def layer_norm(
    x: Any,
    normalized_shape: int | Sequence[int],
    weight: Any = None,
    bias: Any = None,
    epsilon: float = 1e-5,
) -> Array:
    """Mean 0 and variance 1 over the last axes (Ba, Kiros and Hinton 2016).

    Args:
        x: (..., *normalized_shape).
        normalized_shape: Sizes of the last axes.
        weight: Of that shape; None: 1.
        bias: Of that shape; None: 0.
        epsilon: ε > 0.

    >>> import chainrule as cr
    >>> layer_norm(cr.asarray([[1.0, 3.0], [5.0, 1.0]]), 2, epsilon=1e-12).tolist()
    [[-1.0, 1.0], [1.0, -1.0]]
    """
    value = floating(x)
    axes = trailing(value, normalized_shape, "layer_norm")
    y = normalize(value, axes, epsilon)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@answers_spelling
def rms_norm(
    x: Any,
    normalized_shape: int | Sequence[int],
    weight: Any = None,
    epsilon: float | None = None,
) -> Array:
    """x / √(mean x² + ε) over the last axes: no mean is taken off (Zhang and Sennrich 2019).

    Args:
        x: (..., *normalized_shape).
        normalized_shape: Sizes of the last axes.
        weight: Of that shape; None: 1.
        epsilon: ε > 0; None: the type's smallest step from 1.
    """
    value = floating(x)
    axes = trailing(value, normalized_shape, "rms_norm")
    least = float(ops.finfo(value.dtype).eps) if epsilon is None else epsilon
    wide = _wide(value)
    scale = 1.0 / ops.sqrt(ops.mean(wide * wide, axis=axes, keepdims=True) + least)
    y = ops.astype(wide * scale, value.dtype)
    return y if weight is None else y * weight


def local_response_norm(
    x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Array:
    """x / (k + α · mean of x² over ``size`` neighbouring channels)^β (Krizhevsky et al. 2012).

    As in PyTorch α is divided by ``size``; the paper's formula does not. Absent neighbours count
    as zeros; of an even number one more lies below than above.

    Args:
        x: (batch, channels, *spatial).
        size: Neighbours, the channel itself included, at least 1.
        alpha: α.
        beta: β.
        k: Keeps the divisor from 0.
    """
    value = channelled(x, "local_response_norm")
    width = positive_integer(size, "local_response_norm: size")
    rest = value.ndim - 2
    squares = ops.sliding_windows(
        value * value,
        (width,) + (1,) * rest,
        stride=1,
        padding=[(width // 2, (width - 1) // 2)] + [(0, 0)] * rest,
    )
    total = ops.sum(squares, axis=tuple(range(value.ndim, squares.ndim)))
    return value / (k + total * (alpha / width)) ** beta


def floating(x: Any) -> Array:
    """``x`` as an Array; integers become the default float."""
    value: Array = ops.as_value(x)
    return value if dtypes.is_floating(value.dtype) else ops.astype(value, dtypes.default_float)


def channelled(x: Any, name: str, least: int = 2) -> Array:
    """``x`` with floating numbers, or ShapeError if it has no axis of channels."""
    value = floating(x)
    if value.ndim < least:
        spatial = ", at least one spatial axis" if least > 2 else ""
        raise ShapeError(
            f"{name} does not fit an input of shape {value.shape}",
            expected=f"(batch, channels, *spatial){spatial}",
            got=str(value.shape),
            where=str(here()),
        )
    return value


def trailing(x: Array, shape: int | Sequence[int], name: str) -> tuple[int, ...]:
    """The last axes, or ShapeError if they do not have ``shape``."""
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    first = x.ndim - len(sizes)
    if first < 0 or x.shape[first:] != sizes:
        raise ShapeError(
            f"{name} does not fit an input of shape {x.shape}",
            expected=f"(..., {', '.join(map(str, sizes))})",
            got=str(x.shape),
            fix=_last_axes(x, sizes),
            where=str(here()),
        )
    return tuple(range(first, x.ndim))


def _last_axes(x: Array, sizes: tuple[int, ...]) -> str:
    if x.ndim > 2 and sizes == (x.shape[1],):
        return "channels in axis 1 are normalised by nn.GroupNorm(1, channels)"
    if x.ndim > len(sizes):
        return f"normalized_shape={x.shape[x.ndim - len(sizes) :]}, if these inputs are meant"
    return "normalized_shape names the last axes, the batch not among them"
