"""Pooling layers: largest, mean or norm of windows, of a number of bins, or of everything."""

from __future__ import annotations

import math
from typing import Any

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError, ShapeError
from chainrule.nn.checks import per_axis_setting, positive_integer
from chainrule.nn.functional.convolution import Padding, PerAxis
from chainrule.nn.functional.pooling import pooled_input
from chainrule.nn.functional.windows import (
    Sizes,
    Windows,
    bins,
    lay_windows,
    max_over_bins,
    max_over_windows,
    mean_over_bins,
    mean_over_windows,
    norm_over_windows,
)
from chainrule.nn.module import Module
from chainrule.ops import dtypes
from chainrule.ops.origin import here


def _short(sizes: PerAxis) -> Any:
    """One number where all axes agree."""
    alike = isinstance(sizes, tuple) and len(set(sizes)) == 1
    return sizes[0] if alike else sizes  # type: ignore[index]


class _Pool(Module):
    """Settings that windows share."""

    n_axes: int  # spatial axes; given by the class

    def _set_windows(
        self, kernel_size: PerAxis, stride: PerAxis | None, padding: Padding, dilation: PerAxis
    ) -> None:
        name, n = type(self).__name__, self.n_axes
        self.kernel_size = per_axis_setting(kernel_size, n, f"{name}: kernel_size")
        self.stride = self.kernel_size
        if stride is not None:
            self.stride = per_axis_setting(stride, n, f"{name}: stride")
        self.dilation = per_axis_setting(dilation, n, f"{name}: dilation")
        self.padding = padding
        self.ceil_mode = False
        # pictures of this size fit any window; the padding is checked now, not at the first batch
        self._windows((sum(self.kernel_size) * max(self.dilation),) * n)

    def _windows(self, spatial: tuple[int, ...]) -> Windows:
        return lay_windows(
            type(self).__name__,
            spatial,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
        )

    def _input(self, x: Any) -> tuple[Array, Windows]:
        value = pooled_input(x, self.n_axes, repr(self))
        return value, self._windows(value.shape[2:])

    def extra_repr(self) -> str:
        """Windows and borders."""
        parts = [f"kernel_size={_short(self.kernel_size)}", f"stride={_short(self.stride)}"]
        parts.append(f"padding={self.padding}")
        if any(n != 1 for n in self.dilation):
            parts.append(f"dilation={_short(self.dilation)}")
        if self.ceil_mode:
            parts.append("ceil_mode=True")
        return ", ".join(parts)


class _MaxPool(_Pool):
    def __init__(
        self,
        kernel_size: PerAxis,
        stride: PerAxis | None = None,
        padding: Padding = 0,
        dilation: PerAxis = 1,
        ceil_mode: bool = False,
    ) -> None:
        self._set_windows(kernel_size, stride, padding, dilation)
        self.ceil_mode = bool(ceil_mode)

    def forward(self, x: Any) -> Array:
        """Shape: (batch, channels, *spatial) → (batch, channels, *windows)."""
        return max_over_windows(*self._input(x))


class MaxPool1d(_MaxPool):
    """The largest element of each window of a signal; arguments as ``MaxPool2d``.

    Shape: input (batch, channels, length) → output (batch, channels, windows).
    """

    n_axes = 1


class MaxPool2d(_MaxPool):
    """The largest element of each window: where a feature lies matters less.

    Args:
        kernel_size: Height and width of the windows: an int, or one for each axis.
        stride: Step between windows; None: their size, so that they do not overlap.
        padding: Border, at most half the kernel, which never wins: as for ``Conv2d``.
        dilation: Distance between the elements of a window.
        ceil_mode: A last window may reach beyond the border, so that no element is left out.

    Shape: input (batch, channels, height, width) → output (batch, channels, ...), each size
    ⌊(n + padding − dilation · (kernel − 1) − 1) / stride⌋ + 1 (⌈…⌉ in ``ceil_mode``).

    The gradient goes to the first of equals.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.MaxPool2d(2)(cr.asarray([[[[1.0, 3.0], [9.0, 2.0]]]])).tolist()
    [[[[9.0]]]]
    """

    n_axes = 2


class MaxPool3d(_MaxPool):
    """The largest element of each window of a volume; arguments as ``MaxPool2d``.

    Shape: input (batch, channels, depth, height, width) → output (batch, channels, *windows).
    """

    n_axes = 3


class _AvgPool(_Pool):
    def __init__(
        self,
        kernel_size: PerAxis,
        stride: PerAxis | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self._set_windows(kernel_size, stride, padding, 1)
        self.ceil_mode = bool(ceil_mode)
        self.count_include_pad = bool(count_include_pad)
        self.divisor_override = None
        if divisor_override is not None:
            name = f"{type(self).__name__}: divisor_override"
            self.divisor_override = positive_integer(divisor_override, name)

    def forward(self, x: Any) -> Array:
        """Shape: (batch, channels, *spatial) → (batch, channels, *windows)."""
        value, windows = self._input(x)
        return mean_over_windows(value, windows, self.count_include_pad, self.divisor_override)


class AvgPool1d(_AvgPool):
    """The mean of each window of a signal; arguments as ``AvgPool2d``.

    Shape: input (batch, channels, length) → output (batch, channels, windows).
    """

    n_axes = 1


class AvgPool2d(_AvgPool):
    """The mean of each window.

    Args:
        kernel_size: Height and width of the windows: an int, or one for each axis.
        stride: Step between windows; None: their size.
        padding: Zeros around, at most half the kernel: as for ``Conv2d``.
        ceil_mode: A last window may reach beyond the border, so that no element is left out.
        count_include_pad: The zeros of the padding count as elements; what ``ceil_mode`` adds
            never does.
        divisor_override: Divide each sum by this instead, at least 1.

    Shape: as ``MaxPool2d``.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.AvgPool2d(2)(cr.asarray([[[[1.0, 3.0], [9.0, 3.0]]]])).tolist()
    [[[[4.0]]]]
    """

    n_axes = 2


class AvgPool3d(_AvgPool):
    """The mean of each window of a volume; arguments as ``AvgPool2d``.

    Shape: input (batch, channels, depth, height, width) → output (batch, channels, *windows).
    """

    n_axes = 3


class _LPPool(_Pool):
    def __init__(
        self,
        norm_type: float,
        kernel_size: PerAxis,
        stride: PerAxis | None = None,
        ceil_mode: bool = False,
    ) -> None:
        if not norm_type >= 1 or math.isinf(norm_type):
            raise ArgumentError(
                f"{type(self).__name__}: norm_type is out of its range",
                expected="a finite number of at least 1",
                got=repr(norm_type),
                fix="for the largest element use max pooling",
                where=str(here()),
            )
        self.norm_type = norm_type
        self._set_windows(kernel_size, stride, 0, 1)
        self.ceil_mode = bool(ceil_mode)

    def forward(self, x: Any) -> Array:
        """Shape: (batch, channels, *spatial) → (batch, channels, *windows)."""
        return norm_over_windows(*self._input(x), self.norm_type)

    def extra_repr(self) -> str:
        """The norm and the windows."""
        return f"norm_type={self.norm_type}, {super().extra_repr()}"


class LPPool1d(_LPPool):
    """The p-norm of each window of a signal; arguments as ``LPPool2d``.

    Shape: input (batch, channels, length) → output (batch, channels, windows).
    """

    n_axes = 1


class LPPool2d(_LPPool):
    """The p-norm of each window, (Σ |x|^p)^(1/p): from the sum (p = 1) towards the maximum.

    PyTorch takes x^p, which is the same for even p. Where a whole window is 0, the derivative is 0.

    Args:
        norm_type: p, a finite number of at least 1.
        kernel_size: Height and width of the windows: an int, or one for each axis.
        stride: Step between windows; None: their size.
        ceil_mode: A last window may reach beyond the border; its mean power then stands for all
            of it, as in PyTorch.

    Shape: as ``MaxPool2d`` without padding.

    Reference: Sermanet et al. 2012, "Convolutional neural networks applied to house numbers digit
    classification", section 2.2.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.LPPool2d(2, (1, 2))(cr.asarray([[[[3.0, 4.0]]]])).tolist()
    [[[[5.0]]]]
    """

    n_axes = 2


class LPPool3d(_LPPool):
    """The p-norm of each window of a volume; arguments as ``LPPool2d``.

    Shape: input (batch, channels, depth, height, width) → output (batch, channels, *windows).
    """

    n_axes = 3


class _AdaptivePool(Module):
    n_axes: int  # spatial axes; given by the class

    def __init__(self, output_size: Sizes) -> None:
        sizes = list(output_size) if isinstance(output_size, list | tuple) else output_size
        bins(type(self).__name__, (1,) * self.n_axes, sizes)  # None stands for any size
        self.output_size = tuple(sizes) if isinstance(sizes, list) else sizes

    def _input(self, x: Any) -> tuple[Array, tuple[int, ...]]:
        value = pooled_input(x, self.n_axes, repr(self))
        counts = bins(type(self).__name__, value.shape[2:], self.output_size)
        return value, counts

    def extra_repr(self) -> str:
        """The number of bins."""
        return f"output_size={self.output_size}"


class _AdaptiveAvgPool(_AdaptivePool):
    def forward(self, x: Any) -> Array:
        """Shape: (batch, channels, *spatial) → (batch, channels, *output_size)."""
        return mean_over_bins(*self._input(x))


class _AdaptiveMaxPool(_AdaptivePool):
    def forward(self, x: Any) -> Array:
        """Shape: (batch, channels, *spatial) → (batch, channels, *output_size)."""
        return max_over_bins(*self._input(x))


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Means of ``output_size`` bins of a signal; see ``AdaptiveAvgPool2d``.

    Shape: input (batch, channels, length) → output (batch, channels, output_size).
    """

    n_axes = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Cut a picture of any size into bins and take their means: what follows sees one size.

    Args:
        output_size: Bins along height and width, per axis or for both; None: as many as elements.
            Bin i of m holds the elements ⌊i n / m⌋ to ⌈(i + 1) n / m⌉ − 1, so that neighbours may
            share one.

    Shape: input (batch, channels, height, width) → output (batch, channels, *output_size).

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.AdaptiveAvgPool2d((1, 3))(cr.ones((2, 8, 7, 5))).shape
    (2, 8, 1, 3)
    """

    n_axes = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Means of bins of a volume; see ``AdaptiveAvgPool2d``.

    Shape: input (batch, channels, depth, height, width) → output (batch, channels, *output_size).
    """

    n_axes = 3


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Largest elements of ``output_size`` bins of a signal; see ``AdaptiveAvgPool2d``.

    Shape: input (batch, channels, length) → output (batch, channels, output_size).
    """

    n_axes = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Largest elements of bins of a picture; arguments as ``AdaptiveAvgPool2d``.

    Shape: input (batch, channels, height, width) → output (batch, channels, *output_size).
    """

    n_axes = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """Largest elements of bins of a volume; see ``AdaptiveAvgPool2d``.

    Shape: input (batch, channels, depth, height, width) → output (batch, channels, *output_size).
    """

    n_axes = 3


class _GlobalPool(Module):
    def __init__(self, keepdims: bool = False) -> None:
        self.keepdims = bool(keepdims)

    def _input(self, x: Any) -> tuple[Array, tuple[int, ...]]:
        value: Array = ops.as_value(x)
        if not dtypes.is_floating(value.dtype):
            value = ops.astype(value, dtypes.default_float)
        if value.ndim < 3:
            raise ShapeError(
                f"{self!r} does not fit an input of shape {value.shape}",
                expected="(batch, channels, *spatial), at least one spatial axis",
                got=str(value.shape),
                where=str(here()),
            )
        return value, tuple(range(2, value.ndim))

    def extra_repr(self) -> str:
        """Whether the spatial axes stay."""
        return "keepdims=True" if self.keepdims else ""


class GlobalAvgPool(_GlobalPool):
    """The mean of each channel: pictures, signals and volumes of any size become a row of numbers.

    Args:
        keepdims: Keep the spatial axes, each of size 1.

    Shape: input (batch, channels, *spatial) → output (batch, channels).

    Reference: Lin, Chen and Yan 2014, "Network in network", section 3.2.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.GlobalAvgPool()(cr.ones((5, 64, 7, 9))).shape
    (5, 64)
    """

    def forward(self, x: Any) -> Array:
        """Shape: (batch, channels, *spatial) → (batch, channels)."""
        value, axes = self._input(x)
        return ops.mean(value, axis=axes, keepdims=self.keepdims)


class GlobalMaxPool(_GlobalPool):
    """The largest element of each channel; the gradient goes to the first of equals.

    Args:
        keepdims: Keep the spatial axes, each of size 1.

    Shape: input (batch, channels, *spatial) → output (batch, channels).
    """

    def forward(self, x: Any) -> Array:
        """Shape: (batch, channels, *spatial) → (batch, channels)."""
        value, axes = self._input(x)
        return ops.max(value, axis=axes, keepdims=self.keepdims)
