"""More or fewer places: interpolation, and channels that become places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError, ShapeError
from chainrule.nn.checks import one_of, per_axis_setting, positive_integer
from chainrule.nn.functional.normalization import channelled
from chainrule.ops.origin import here

#: how many spatial axes each way of interpolating takes; None: any number
MODES = {"nearest": None, "linear": 1, "bilinear": 2, "trilinear": 3}


def interpolate(
    x: Any,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool = False,
) -> Array:
    """Resize pictures, signals or volumes.

    Args:
        x: (batch, channels, *spatial).
        size: Spatial sizes of the result; or
        scale_factor: what the sizes are multiplied by (and rounded down).
        mode: ``"nearest"``, or ``"linear"``, ``"bilinear"``, ``"trilinear"`` for one, two, three
            spatial axes.
        align_corners: The outermost elements' centres stay the outermost ones; else elements are
            cells whose outer edges stay. Not for ``"nearest"``.

    Raises:
        ArgumentError: Not exactly one of ``size`` and ``scale_factor``, or an unknown mode.
        ShapeError: The mode is for another number of spatial axes.

    >>> import chainrule as cr
    >>> interpolate(cr.asarray([[[1.0, 2.0]]]), scale_factor=2).tolist()
    [[[1.0, 1.0, 2.0, 2.0]]]
    """
    value = channelled(x, "interpolate", least=3)
    one_of(mode, tuple(MODES), "interpolate: mode")
    n = value.ndim - 2
    if MODES[mode] not in (None, n) or not 1 <= n <= 3:
        fitting = {1: "linear", 2: "bilinear", 3: "trilinear"}.get(n, "")
        raise ShapeError(
            f"interpolate: {mode!r} does not fit an input of shape {value.shape}",
            expected=f"{MODES[mode] or 'one to three'} spatial axes: (batch, channels, *spatial)",
            got=f"{n} spatial axes",
            fix=f'mode="{fitting}"' if fitting else "",
            where=str(here()),
        )
    sizes, steps = _target(value.shape[2:], size, scale_factor)
    for axis, (wanted, step) in enumerate(zip(sizes, steps, strict=True), start=2):
        if mode == "nearest":
            value = _nearest(value, axis, wanted, step)
        else:
            value = _linear(value, axis, wanted, step, align_corners)
    return value


def _target(
    spatial: tuple[int, ...], size: Any, scale_factor: Any
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Sizes wanted, and how far in the input one step in the result goes."""
    n = len(spatial)
    if (size is None) == (scale_factor is None) or 0 in spatial:
        raise ArgumentError(
            "interpolate needs something to resize, and one of size and scale_factor",
            expected="size=(height, width), or scale_factor=2",
            got=f"size={size}, scale_factor={scale_factor}, an input of sizes {spatial}",
            where=str(here()),
        )
    if size is not None:
        sizes = per_axis_setting(size, n, "interpolate: size")
        return sizes, tuple(have / wanted for have, wanted in zip(spatial, sizes, strict=True))
    factors = list(scale_factor) if isinstance(scale_factor, list | tuple) else [scale_factor] * n
    sizes = tuple(math.floor(m * factor) for m, factor in zip(spatial, factors, strict=False))
    if len(factors) != n or min(sizes) < 1:
        raise ArgumentError(
            f"interpolate: scale_factor does not fit sizes {spatial}",
            expected=f"a number, or {n} of them, that leave at least one place",
            got=repr(scale_factor),
            where=str(here()),
        )
    return sizes, tuple(1.0 / factor for factor in factors)


def _nearest(x: Array, axis: int, wanted: int, step: float) -> Array:
    """Result j shows the input's ⌊j · step⌋."""
    size = x.shape[axis]
    if wanted % size == 0 and step * wanted == size:
        return ops.repeat(x, wanted // size, axis=axis) if wanted != size else x
    places = np.minimum(np.floor(np.arange(wanted) * step).astype(np.int64), size - 1)
    return ops.take(x, places, axis=axis)


def _linear(x: Array, axis: int, wanted: int, step: float, align_corners: bool) -> Array:
    """Weights of the two neighbours, as a matrix that acts on one axis."""
    size = x.shape[axis]
    if align_corners:
        step = (size - 1) / (wanted - 1) if wanted > 1 else 0.0
        positions = np.arange(wanted) * step
    else:  # centres of cells; beyond the outermost centre the picture is constant
        positions = np.maximum((np.arange(wanted) + 0.5) * step - 0.5, 0.0)
    if wanted == size and step == 1:
        return x
    below = np.minimum(np.floor(positions).astype(np.int64), size - 1)
    above = np.minimum(below + 1, size - 1)
    share = np.minimum(positions - below, 1.0)
    weights = np.zeros((wanted, size))
    rows = np.arange(wanted)
    np.add.at(weights, (rows, below), 1.0 - share)
    np.add.at(weights, (rows, above), share)
    product = ops.tensordot(x, weights.astype(x.dtype), axes=((axis,), (1,)))
    return ops.moveaxis(product, -1, axis)


def pixel_shuffle(x: Any, upscale_factor: int) -> Array:
    """(..., c r², h, w) → (..., c, h r, w r): channels become places (Shi et al. 2016).

    Args:
        x: Channels divisible by r².
        upscale_factor: r, at least 1.
    """
    r = positive_integer(upscale_factor, "pixel_shuffle: upscale_factor")
    value: Array = ops.as_value(x)
    if value.ndim < 3 or value.shape[-3] % (r * r):
        raise _misfit("pixel_shuffle", value, f"(..., a multiple of {r * r}, height, width)")
    *lead, channels, height, width = value.shape
    split = value.reshape((*lead, channels // (r * r), r, r, height, width))
    n = len(lead)
    moved = ops.permute_dims(split, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return moved.reshape((*lead, channels // (r * r), height * r, width * r))


def pixel_unshuffle(x: Any, downscale_factor: int) -> Array:
    """(..., c, h r, w r) → (..., c r², h, w): the inverse of ``pixel_shuffle``.

    Args:
        x: Height and width divisible by r.
        downscale_factor: r, at least 1.
    """
    r = positive_integer(downscale_factor, "pixel_unshuffle: downscale_factor")
    value: Array = ops.as_value(x)
    if value.ndim < 3 or value.shape[-1] % r or value.shape[-2] % r:
        raise _misfit("pixel_unshuffle", value, f"(..., channels, multiples of {r} twice)")
    *lead, channels, height, width = value.shape
    split = value.reshape((*lead, channels, height // r, r, width // r, r))
    n = len(lead)
    moved = ops.permute_dims(split, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return moved.reshape((*lead, channels * r * r, height // r, width // r))


def _misfit(name: str, x: Array, expected: str) -> ShapeError:
    return ShapeError(
        f"{name} does not fit an input of shape {x.shape}",
        expected=expected,
        got=str(x.shape),
        where=str(here()),
    )
