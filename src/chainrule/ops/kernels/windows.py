"""All windows of an array, as pooling reads them, and the transpose that adds them up again."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from chainrule.ops.kernels.accumulation import accumulator
from chainrule.ops.kernels.geometry import (
    Index,
    Padding,
    output_sizes,
    overlap,
    pad,
    spread_size,
    window_view,
)


def extract_windows(
    x: np.ndarray,
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
    fill: float | int = 0,
) -> np.ndarray:
    """Collect the windows over the last ``len(window)`` axes.

    Args:
        x: Shape (*lead, *spatial).
        window: Size per spatial axis, at least 1.
        stride: Distance between windows, at least 1.
        padding: Per axis the places in front and behind; negative numbers cut off.
        dilation: Distance between elements of a window, at least 1.
        fill: Value of the padded places: −∞ for a maximum, 0 for a mean.

    Returns:
        Shape (*lead, *out, *window), read-only: a view of ``x``, or of its padded copy.

    Example:
        >>> extract_windows(np.arange(4), (2,), (1,), ((0, 0),), (1,))
        array([[0, 1],
               [1, 2],
               [2, 3]])
    """
    axes = len(window)
    lead, spatial = x.shape[: x.ndim - axes], x.shape[x.ndim - axes :]
    out = output_sizes(spatial, window, stride, padding, (1,) * axes, dilation)
    if 0 in (*out, *window):
        return np.empty((*lead, *out, *window), x.dtype)
    return window_view(pad(x, padding, (1,) * axes, fill), window, stride, dilation)


def fold_windows(
    g: np.ndarray,
    spatial: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
) -> np.ndarray:
    """Add windows up where they were taken from: the transpose of ``extract_windows``.

    What lies on padded places is dropped. The order of each sum is fixed by the shapes; 16-bit
    floats are summed in float32.

    Args:
        g: Shape (*lead, *out, *window).
        spatial: Shape of the result's last axes.
        window: As for ``extract_windows``.
        stride: As for ``extract_windows``.
        padding: As for ``extract_windows``.
        dilation: As for ``extract_windows``.

    Returns:
        Shape (*lead, *spatial) with ``g``'s dtype.

    Example:
        >>> fold_windows(np.ones((3, 2)), (4,), (2,), (1,), ((0, 0),), (1,))
        array([1., 2., 2., 1.])
    """
    axes = len(window)
    lead, out = g.shape[: g.ndim - 2 * axes], g.shape[g.ndim - 2 * axes : g.ndim - axes]
    padded = [max(0, n + lo + hi) for n, (lo, hi) in zip(spatial, padding, strict=True)]
    total = np.zeros((*lead, *padded), accumulator(g.dtype))
    if g.size:
        _add_windows(total, g, out, window, stride, dilation)
    result = np.zeros((*lead, *spatial), g.dtype)
    kept, place = overlap(spatial, padded, padding, (1,) * axes)
    result[kept] = total[place]
    return result


def _add_windows(
    total: np.ndarray,
    g: np.ndarray,
    out: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> None:
    """Add ``g`` (*lead, *out, *window) onto the padded places, one strided slice at a time."""
    axes = len(window)
    outer = tuple(range(g.ndim - 2 * axes, g.ndim - axes))
    inner = tuple(range(g.ndim - axes, g.ndim))
    # windows and the places within one enter alike, as p · stride + t · dilation: loop over the few
    if math.prod(window) <= math.prod(out):
        g = np.moveaxis(g, inner, range(axes))
        looped, steps, sliced, spans = window, dilation, out, stride
    else:
        g = np.moveaxis(g, outer, range(axes))
        looped, steps, sliced, spans = out, stride, window, dilation
    for offset in np.ndindex(*looped):
        slices = (
            slice(i * step, i * step + spread_size(n, span), span)
            for i, step, n, span in zip(offset, steps, sliced, spans, strict=True)
        )
        place: Index = (..., *slices)
        total[place] += g[offset]
