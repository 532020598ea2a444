"""Where windows lie on a grid: sizes, padding, dilation, and the view of all windows.

Shared by convolution and pooling, in any number of spatial axes. Window j along an axis reads the
places ``j · stride + t · dilation`` for t = 0 .. window − 1 of the padded input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Padding = Sequence[tuple[int, int]]
Index = tuple[Any, ...]  # slices behind an ellipsis


def spread_size(n: int, dilation: int) -> int:
    """Return the extent of ``n`` places that lie ``dilation`` apart; 0 for none."""
    return (n - 1) * dilation + 1 if n > 0 else 0


def output_size(
    n: int,
    k: int,
    stride: int = 1,
    lo: int = 0,
    hi: int = 0,
    input_dilation: int = 1,
    kernel_dilation: int = 1,
) -> int:
    """Return how many windows fit along one axis.

    Args:
        n: Size of the input.
        k: Size of the window.
        stride: Distance between windows, at least 1.
        lo: Places added in front; negative ones are cut off.
        hi: Places added behind; negative ones are cut off.
        input_dilation: Distance between elements of the input, at least 1.
        kernel_dilation: Distance between elements of the window, at least 1.

    Returns:
        ⌊(padded − extent of the window) / stride⌋ + 1, and 0 where the window does not fit.

    Example:
        >>> output_size(28, 5, stride=2, lo=2, hi=2)
        14
    """
    room = spread_size(n, input_dilation) + lo + hi - spread_size(k, kernel_dilation)
    return room // stride + 1 if room >= 0 else 0


def output_sizes(
    spatial: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    input_dilation: Sequence[int],
    window_dilation: Sequence[int],
) -> tuple[int, ...]:
    """Return ``output_size`` of every spatial axis."""
    axes = zip(spatial, window, stride, padding, input_dilation, window_dilation, strict=True)
    return tuple(output_size(n, k, s, lo, hi, di, dw) for n, k, s, (lo, hi), di, dw in axes)


def pad(
    x: np.ndarray, padding: Padding, dilation: Sequence[int], fill: float | int = 0
) -> np.ndarray:
    """Spread the last axes of ``x`` out and pad them.

    Args:
        x: Shape (*lead, *spatial).
        padding: Per spatial axis the places added in front and behind; negative: cut off.
        dilation: Per spatial axis the distance between elements of ``x`` in the result.
        fill: Value of all other places.

    Returns:
        Shape (*lead, *padded) with ``x``'s dtype; ``x`` itself where there is nothing to do.
    """
    if all(lo == hi == 0 for lo, hi in padding) and all(step == 1 for step in dilation):
        return x
    axes = len(dilation)
    spatial = x.shape[x.ndim - axes :]
    padded = [
        max(0, spread_size(n, step) + lo + hi)
        for n, (lo, hi), step in zip(spatial, padding, dilation, strict=True)
    ]
    result = np.full((*x.shape[: x.ndim - axes], *padded), fill, dtype=x.dtype)
    source, target = overlap(spatial, padded, padding, dilation)
    result[target] = x[source]
    return result


def overlap(
    spatial: Sequence[int], padded: Sequence[int], padding: Padding, dilation: Sequence[int]
) -> tuple[Index, Index]:
    """Return the index of the input's elements that padding keeps, and where they are put.

    Both indices begin with an ellipsis in place of the leading axes.
    """
    source: list[slice] = []
    target: list[slice] = []
    axes = zip(spatial, padded, padding, dilation, strict=True)
    for n, size, (lo, _), step in axes:
        first = max(0, -(lo // step))  # the first i with lo + i · step ≥ 0
        stop = max(first, min(n, (size - 1 - lo) // step + 1))
        place = lo + first * step
        source.append(slice(first, stop))
        target.append(slice(place, place + spread_size(stop - first, step), step))
    return (..., *source), (..., *target)


def window_view(
    x: np.ndarray, window: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> np.ndarray:
    """View all windows of a padded array without copying.

    Args:
        x: Shape (*lead, *padded); every window fits.
        window: Size per spatial axis, at least 1.
        stride: Distance between windows.
        dilation: Distance between elements of a window.

    Returns:
        A read-only view, shape (*lead, *out, *window).
    """
    axes = tuple(range(x.ndim - len(window), x.ndim))
    extents = tuple(spread_size(k, d) for k, d in zip(window, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, extents, axis=axes)
    every: Index = (..., *(slice(None, None, step) for step in (*stride, *dilation)))
    return view[every]
