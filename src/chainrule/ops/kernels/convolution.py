"""Convolution as deep learning uses the word: cross-correlation, in any number of axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from chainrule.ops.kernels.accumulation import accumulator
from chainrule.ops.kernels.geometry import Padding, output_sizes, pad, window_view
from chainrule.ops.kernels.geometry import output_size as output_size

_CHUNK = 1 << 22  # elements of unrolled windows held at a time


def convolve(
    x: np.ndarray,
    w: np.ndarray,
    stride: Sequence[int],
    padding: Padding,
    input_dilation: Sequence[int],
    kernel_dilation: Sequence[int],
    groups: int,
) -> np.ndarray:
    """Slide ``w`` over ``x``: y[b, o, p] = Σ_{c, t} x[b, c, p · stride + t · dilation] w[o, c, t].

    The windows are unrolled into matrices, a part of the batch at a time, and multiplied. 16-bit
    floats are summed in float32; integers wrap around as NumPy's do.

    Args:
        x: Shape (batch, groups · ci, *spatial).
        w: Shape (co, ci, *kernel), same dtype; ``groups`` divides co.
        stride: Per axis, at least 1.
        padding: Per axis the zeros in front and behind; negative numbers cut off.
        input_dilation: Per axis the distance at which ``x`` is spread out, zeros between.
        kernel_dilation: Per axis the distance between the kernel's elements.
        groups: Channels are cut into as many groups that do not mix.

    Returns:
        Shape (batch, co, *out) with ``x``'s dtype; ``output_size`` says what ``out`` is.

    Example:
        >>> x = np.arange(4.0).reshape(1, 1, 4)
        >>> convolve(x, np.array([[[1.0, -1.0]]]), (1,), ((0, 0),), (1,), (1,), 1)
        array([[[-1., -1., -1.]]])
    """
    out = output_sizes(x.shape[2:], w.shape[2:], stride, padding, input_dilation, kernel_dilation)
    batch, co = len(x), len(w)
    if 0 in (batch, *out) or w.size == 0:
        return np.zeros((batch, co, *out), x.dtype)
    total = accumulator(x.dtype)
    kernels = w.astype(total, copy=False).reshape(groups, co // groups, *w.shape[1:])
    result = np.empty((batch, co, *out), x.dtype)
    step = max(1, _CHUNK // (math.prod(out) * groups * math.prod(w.shape[1:])))
    for start in range(0, batch, step):
        part = pad(x[start : start + step].astype(total, copy=False), padding, input_dilation)
        grouped = part.reshape(len(part), groups, w.shape[1], *part.shape[2:])
        windows = window_view(grouped, w.shape[2:], stride, kernel_dilation)
        result[start : start + step] = _multiply(windows, kernels).reshape(-1, co, *out)
    return result


def _multiply(windows: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Contract windows (b, groups, ci, *out, *kernel) with kernels (groups, co, ci, *kernel).

    Returns:
        Shape (b, groups, co, number of windows).
    """
    batch, groups, ci = windows.shape[:3]
    axes = w.ndim - 3
    out, taps = tuple(range(3, 3 + axes)), tuple(range(3 + axes, 3 + 2 * axes))
    positions = math.prod(windows.shape[3 : 3 + axes])
    depth = math.prod(w.shape[2:])
    matrix = w.reshape(groups, -1, depth)
    # the unrolling copies along its last axes: the longer they are, the faster
    if positions >= depth // ci:
        columns = windows.transpose(0, 1, 2, *taps, *out).reshape(batch, groups, depth, positions)
        return np.asarray(np.matmul(matrix, columns))
    rows = windows.transpose(1, 0, *out, 2, *taps).reshape(groups, batch * positions, depth)
    product: np.ndarray = np.matmul(rows, matrix.swapaxes(1, 2))
    return product.reshape(groups, batch, positions, -1).transpose(1, 0, 3, 2)
