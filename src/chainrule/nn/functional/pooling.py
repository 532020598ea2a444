"""Pooling under PyTorch's names: largest, mean and norm of windows, or of a number of bins."""

from __future__ import annotations

from typing import Any

from chainrule import ops
from chainrule.array import Array
from chainrule.nn.checks import spatial_input
from chainrule.nn.functional.convolution import Padding, PerAxis
from chainrule.nn.functional.windows import (
    Sizes,
    bins,
    lay_windows,
    max_over_bins,
    max_over_windows,
    mean_over_bins,
    mean_over_windows,
    norm_over_windows,
)
from chainrule.ops import dtypes


def pooled_input(x: Any, n_axes: int, name: str) -> Array:
    """(batch, channels, *spatial) as floating numbers."""
    value: Array = ops.as_value(x)
    if not dtypes.is_floating(value.dtype):
        value = ops.astype(value, dtypes.default_float)
    return spatial_input(value, n_axes, None, name)


def max_pool1d(
    x: Any,
    kernel_size: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
) -> Array:
    """The largest element of each window of a signal; see ``max_pool2d``."""
    value = pooled_input(x, 1, "max_pool1d")
    windows = lay_windows(
        "max_pool1d", value.shape[2:], kernel_size, stride, padding, dilation, ceil_mode
    )
    return max_over_windows(value, windows)


def max_pool2d(
    x: Any,
    kernel_size: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
) -> Array:
    """The largest element of each window of (batch, channels, height, width).

    Args:
        x: Padding never wins; the gradient goes to the first of equals.
        kernel_size: Size of the windows, per axis or for all.
        stride: Step between windows; None: their size.
        padding: At most half the kernel, as for ``conv2d``.
        dilation: Distance between the elements of a window.
        ceil_mode: A last window may reach beyond the border, so that no element is left out.

    >>> import chainrule as cr
    >>> max_pool2d(cr.asarray([[[[1.0, 3.0], [9.0, 2.0]]]]), 2).tolist()
    [[[[9.0]]]]
    """
    value = pooled_input(x, 2, "max_pool2d")
    windows = lay_windows(
        "max_pool2d", value.shape[2:], kernel_size, stride, padding, dilation, ceil_mode
    )
    return max_over_windows(value, windows)


def max_pool3d(
    x: Any,
    kernel_size: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
) -> Array:
    """The largest element of each window of a volume; see ``max_pool2d``."""
    value = pooled_input(x, 3, "max_pool3d")
    windows = lay_windows(
        "max_pool3d", value.shape[2:], kernel_size, stride, padding, dilation, ceil_mode
    )
    return max_over_windows(value, windows)


def avg_pool1d(
    x: Any,
    kernel_size: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """The mean of each window of a signal; see ``avg_pool2d``."""
    value = pooled_input(x, 1, "avg_pool1d")
    windows = lay_windows("avg_pool1d", value.shape[2:], kernel_size, stride, padding, 1, ceil_mode)
    return mean_over_windows(value, windows, count_include_pad, divisor_override)


def avg_pool2d(
    x: Any,
    kernel_size: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """The mean of each window of (batch, channels, height, width).

    Args:
        x: Any channels.
        kernel_size: Size of the windows, per axis or for all.
        stride: Step between windows; None: their size.
        padding: Zeros around, at most half the kernel, as for ``conv2d``.
        ceil_mode: A last window may reach beyond the border, so that no element is left out.
        count_include_pad: The zeros of the padding count as elements; what ``ceil_mode`` adds
            never does.
        divisor_override: Divide each sum by this instead, at least 1.

    >>> import chainrule as cr
    >>> avg_pool2d(cr.asarray([[[[1.0, 3.0], [9.0, 3.0]]]]), 2).tolist()
    [[[[4.0]]]]
    """
    value = pooled_input(x, 2, "avg_pool2d")
    windows = lay_windows("avg_pool2d", value.shape[2:], kernel_size, stride, padding, 1, ceil_mode)
    return mean_over_windows(value, windows, count_include_pad, divisor_override)


def avg_pool3d(
    x: Any,
    kernel_size: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """The mean of each window of a volume; see ``avg_pool2d``."""
    value = pooled_input(x, 3, "avg_pool3d")
    windows = lay_windows("avg_pool3d", value.shape[2:], kernel_size, stride, padding, 1, ceil_mode)
    return mean_over_windows(value, windows, count_include_pad, divisor_override)


def lp_pool1d(
    x: Any,
    norm_type: float,
    kernel_size: PerAxis,
    stride: PerAxis | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The p-norm of each window of a signal; see ``lp_pool2d``."""
    value = pooled_input(x, 1, "lp_pool1d")
    windows = lay_windows("lp_pool1d", value.shape[2:], kernel_size, stride, 0, 1, ceil_mode)
    return norm_over_windows(value, windows, norm_type)


def lp_pool2d(
    x: Any,
    norm_type: float,
    kernel_size: PerAxis,
    stride: PerAxis | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The p-norm of each window of (batch, channels, height, width): (Σ |x|^p)^(1/p).

    Args:
        x: Any channels. Where a whole window is 0, the derivative is 0.
        norm_type: p, at least 1.
        kernel_size: Size of the windows, per axis or for all.
        stride: Step between windows; None: their size.
        ceil_mode: A last window may reach beyond the border; its mean power then stands for all
            of it, as in PyTorch.

    >>> import chainrule as cr
    >>> lp_pool2d(cr.asarray([[[[3.0, 4.0]]]]), 2, (1, 2)).tolist()
    [[[[5.0]]]]
    """
    value = pooled_input(x, 2, "lp_pool2d")
    windows = lay_windows("lp_pool2d", value.shape[2:], kernel_size, stride, 0, 1, ceil_mode)
    return norm_over_windows(value, windows, norm_type)


def lp_pool3d(
    x: Any,
    norm_type: float,
    kernel_size: PerAxis,
    stride: PerAxis | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The p-norm of each window of a volume; see ``lp_pool2d``."""
    value = pooled_input(x, 3, "lp_pool3d")
    windows = lay_windows("lp_pool3d", value.shape[2:], kernel_size, stride, 0, 1, ceil_mode)
    return norm_over_windows(value, windows, norm_type)


def adaptive_avg_pool1d(x: Any, output_size: Sizes) -> Array:
    """The mean of each bin of a signal; see ``adaptive_avg_pool2d``."""
    value = pooled_input(x, 1, "adaptive_avg_pool1d")
    return mean_over_bins(value, bins("adaptive_avg_pool1d", value.shape[2:], output_size))


def adaptive_avg_pool2d(x: Any, output_size: Sizes) -> Array:
    """Cut (batch, channels, height, width) into bins, as many as asked for, and take their means.

    Args:
        x: Any size, so that what follows sees one size whatever the picture's.
        output_size: Bins along each axis, per axis or for all; None: as many as elements. Bin i of
            m holds the elements ⌊i n / m⌋ to ⌈(i + 1) n / m⌉ − 1.

    >>> import chainrule as cr
    >>> adaptive_avg_pool2d(cr.ones((1, 8, 7, 5)), 1).shape
    (1, 8, 1, 1)
    """
    value = pooled_input(x, 2, "adaptive_avg_pool2d")
    return mean_over_bins(value, bins("adaptive_avg_pool2d", value.shape[2:], output_size))


def adaptive_avg_pool3d(x: Any, output_size: Sizes) -> Array:
    """The mean of each bin of a volume; see ``adaptive_avg_pool2d``."""
    value = pooled_input(x, 3, "adaptive_avg_pool3d")
    return mean_over_bins(value, bins("adaptive_avg_pool3d", value.shape[2:], output_size))


def adaptive_max_pool1d(x: Any, output_size: Sizes) -> Array:
    """The largest element of each bin of a signal; see ``adaptive_avg_pool2d``."""
    value = pooled_input(x, 1, "adaptive_max_pool1d")
    return max_over_bins(value, bins("adaptive_max_pool1d", value.shape[2:], output_size))


def adaptive_max_pool2d(x: Any, output_size: Sizes) -> Array:
    """The largest element of each bin of a picture; see ``adaptive_avg_pool2d``."""
    value = pooled_input(x, 2, "adaptive_max_pool2d")
    return max_over_bins(value, bins("adaptive_max_pool2d", value.shape[2:], output_size))


def adaptive_max_pool3d(x: Any, output_size: Sizes) -> Array:
    """The largest element of each bin of a volume; see ``adaptive_avg_pool2d``."""
    value = pooled_input(x, 3, "adaptive_max_pool3d")
    return max_over_bins(value, bins("adaptive_max_pool3d", value.shape[2:], output_size))
