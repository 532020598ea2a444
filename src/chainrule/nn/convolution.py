"""Convolutions: the same few weights at every place, and their transposes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from chainrule.array import Array
from chainrule.errors import ArgumentError
from chainrule.nn import init
from chainrule.nn.checks import (
    floating_input,
    one_of,
    per_axis_setting,
    positive_integer,
    spatial_input,
)
from chainrule.nn.functional.convolution import Padding, PerAxis, convolve, transposed
from chainrule.nn.functional.padding import pad_last_axes
from chainrule.nn.module import Module
from chainrule.nn.parameter import Parameter
from chainrule.ops import dtypes
from chainrule.ops.convolution import resolve_padding
from chainrule.ops.kernels.geometry import spread_size
from chainrule.ops.origin import here

_MODES = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "replicate",
    "circular": "circular",
}


class _Convolution(Module):
    """What convolutions and their transposes share: settings, weights, messages."""

    n_axes: int  # spatial axes; given by the class

    weight: Array
    bias: Array | None

    def _set_sizes(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: PerAxis,
        stride: PerAxis,
        dilation: PerAxis,
        groups: int,
    ) -> None:
        name, n = type(self).__name__, self.n_axes
        self.in_channels = positive_integer(in_channels, f"{name}: in_channels")
        self.out_channels = positive_integer(out_channels, f"{name}: out_channels")
        self.kernel_size = per_axis_setting(kernel_size, n, f"{name}: kernel_size")
        self.stride = per_axis_setting(stride, n, f"{name}: stride")
        self.dilation = per_axis_setting(dilation, n, f"{name}: dilation")
        self.groups = positive_integer(groups, f"{name}: groups")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ArgumentError(
                f"{name}: groups must divide the channels",
                expected=f"a divisor of {self.in_channels} and of {self.out_channels}",
                got=str(groups),
                where=str(here()),
            )

    def _draw(self, first: int, second: int, bias: bool, dtype: Any) -> None:
        """PyTorch's range: ±1/√(inputs of a unit), read off the weight's second axis."""
        shape = (first, second, *self.kernel_size)
        bound = 1.0 / math.sqrt(math.prod(shape[1:]))
        self.weight = Parameter(init.uniform(shape, low=-bound, high=bound, dtype=dtype))
        self.bias = None
        if bias:
            values = init.uniform(self.out_channels, low=-bound, high=bound, dtype=dtype)
            self.bias = Parameter(values)

    def _input(self, x: Any) -> Array:
        value = floating_input(x, self.weight, self)
        return spatial_input(value, self.n_axes, self.in_channels, repr(self))

    def _settings(self, padding: Any, output_padding: tuple[int, ...], padding_mode: str) -> str:
        """The settings that are not the defaults, as PyTorch shows them."""
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}",
            f"stride={self.stride}",
        ]
        if isinstance(padding, str) or any(padding):
            parts.append(f"padding={padding}")
        if any(n != 1 for n in self.dilation):
            parts.append(f"dilation={self.dilation}")
        if any(output_padding):
            parts.append(f"output_padding={output_padding}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if padding_mode != "zeros":
            parts.append(f"padding_mode={padding_mode}")
        return ", ".join(parts)


class _Conv(_Convolution):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: PerAxis,
        stride: PerAxis = 1,
        padding: Padding = 0,
        dilation: PerAxis = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        dtype: Any = dtypes.float32,
    ) -> None:
        self._set_sizes(in_channels, out_channels, kernel_size, stride, dilation, groups)
        self.padding = self._checked_padding(padding)
        self.padding_mode = one_of(
            padding_mode, tuple(_MODES), f"{type(self).__name__}: padding_mode"
        )
        self._draw(self.out_channels, self.in_channels // self.groups, bias, dtype)

    def _checked_padding(self, padding: Padding) -> str | tuple[Any, ...]:
        """A word, or one entry an axis: an int, or (before, after)."""
        what, n = f"{type(self).__name__}: padding", self.n_axes
        if isinstance(padding, str):
            return one_of(padding, ("same", "valid"), what)
        if not isinstance(padding, list | tuple):
            return per_axis_setting(padding, n, what, least=0)
        if not any(isinstance(part, list | tuple) for part in padding):
            return per_axis_setting(padding, n, what, least=0)
        if len(padding) != n or not all(isinstance(part, list | tuple) for part in padding):
            raise ArgumentError(
                f"{what} does not fit {n} spatial {'axis' if n == 1 else 'axes'}",
                expected=f'"same", "valid", an int, {n} ints, or {n} pairs (before, after)',
                got=repr(padding),
                where=str(here()),
            )
        return tuple(per_axis_setting(part, 2, what, least=0) for part in padding)

    def forward(self, x: Any) -> Array:
        """Shape: (batch, in_channels, *spatial) → (batch, out_channels, *output sizes)."""
        value = self._input(x)
        padding: Padding = self.padding
        if self.padding_mode != "zeros":
            pairs = resolve_padding(
                padding, value.shape[2:], self.kernel_size, self.stride, self.dilation
            )
            value = pad_last_axes(value, pairs, _MODES[self.padding_mode])
            padding = 0
        return convolve(
            self.n_axes, value, self.weight, self.bias, self.stride, padding, self.dilation,
            self.groups,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """Channels, kernel, and the settings that are not the defaults."""
        return self._settings(self.padding, (), self.padding_mode)


class Conv1d(_Conv):
    """Convolution over one axis, such as time; arguments as ``Conv2d``.

    Attributes: ``weight`` (out_channels, in_channels / groups, kernel), ``bias`` or None.

    Shape: input (batch, in_channels, length) → output (batch, out_channels, output length).

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.Conv1d(1, 4, 5, padding="same")(cr.ones((2, 1, 100))).shape
    (2, 4, 100)
    """

    n_axes = 1


class Conv2d(_Conv):
    """Slide kernels over a picture: y[n, o, p] = b[o] + Σ_{c, t} W[o, c, t] x[n, c, p·stride + t].

    W and b begin uniform in ±1/√(in_channels / groups · kernel sizes), as in PyTorch. A layer with
    groups = in_channels is depthwise: each channel has kernels of its own. Inputs may change their
    spatial size from call to call.

    Args:
        in_channels: Channels that come in, at least 1.
        out_channels: Kernels, at least 1.
        kernel_size: Height and width of the kernels: an int, or one for each axis.
        stride: Step between windows, per axis or for all.
        padding: Border around the input: an int for all sides, one for each axis, (before, after)
            for each axis, ``"valid"`` (none), or ``"same"``: output sizes are ⌈n / stride⌉, an odd
            remainder goes behind.
        dilation: Distance between the kernel's elements.
        groups: Channel groups that do not mix; divides both numbers of channels.
        bias: Whether b is added.
        padding_mode: What the border holds: ``"zeros"``, ``"reflect"``, ``"replicate"`` or
            ``"circular"``.
        dtype: Floating type of W and b.

    Attributes: ``weight`` (out_channels, in_channels / groups, kernel height, kernel width),
    ``bias`` (out_channels,) or None.

    Shape: input (batch, in_channels, height, width) → output (batch, out_channels, ...), each size
    ⌊(n + padding − dilation · (kernel − 1) − 1) / stride⌋ + 1, padding of both sides counted.

    Raises:
        ArgumentError: A setting is out of its range.
        ShapeError: An input has other axes or channels, or is smaller than the kernel.

    Reference: LeCun et al. 1989, "Backpropagation applied to handwritten zip code recognition".

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.Conv2d(3, 8, 3, stride=2, padding=1)(cr.ones((5, 3, 32, 32))).shape
    (5, 8, 16, 16)
    """

    n_axes = 2


class Conv3d(_Conv):
    """Convolution over three axes, a volume or a video; arguments as ``Conv2d``.

    Attributes: ``weight`` (out_channels, in_channels / groups, *kernel), ``bias`` or None.

    Shape: input (batch, in_channels, depth, height, width) → output (batch, out_channels, ...).

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.Conv3d(1, 2, 3)(cr.ones((1, 1, 5, 6, 7))).shape
    (1, 2, 3, 4, 5)
    """

    n_axes = 3


class _ConvTranspose(_Convolution):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: PerAxis,
        stride: PerAxis = 1,
        padding: PerAxis = 0,
        output_padding: PerAxis = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: PerAxis = 1,
        dtype: Any = dtypes.float32,
    ) -> None:
        self._set_sizes(in_channels, out_channels, kernel_size, stride, dilation, groups)
        name = type(self).__name__
        self.padding = per_axis_setting(padding, self.n_axes, f"{name}: padding", least=0)
        self.output_padding = per_axis_setting(
            output_padding, self.n_axes, f"{name}: output_padding", least=0
        )
        self._draw(self.in_channels, self.out_channels // self.groups, bias, dtype)

    def forward(self, x: Any, output_size: Sequence[int] | None = None) -> Array:
        """Shape: (batch, in_channels, *spatial) → (batch, out_channels, *output sizes).

        Args:
            x: The input.
            output_size: Spatial sizes wanted, in place of ``output_padding``.
        """
        value = self._input(x)
        added = self.output_padding
        if output_size is not None:
            added = self._added_for(value, tuple(output_size))
        return transposed(
            self.n_axes, value, self.weight, self.bias, self.stride, self.padding, added,
            self.groups, self.dilation,
        )  # fmt: skip

    def _added_for(self, x: Array, wanted: tuple[int, ...]) -> tuple[int, ...]:
        """The output padding that gives the sizes ``wanted``."""
        axes = zip(
            x.shape[2:], self.kernel_size, self.stride, self.padding, self.dilation, strict=True
        )
        least = [spread_size(n, s) + spread_size(k, d) - 1 - 2 * p for n, k, s, p, d in axes]
        most = [
            n + max(s, d) - 1 for n, s, d in zip(least, self.stride, self.dilation, strict=True)
        ]
        fits = len(wanted) == self.n_axes
        if not fits or any(not a <= n <= b for a, n, b in zip(least, wanted, most, strict=True)):
            raise ArgumentError(
                f"{self!r}: output_size can not be reached from an input of shape {x.shape}",
                expected=f"sizes from {tuple(least)} to {tuple(most)}",
                got=str(wanted),
                where=str(here()),
            )
        return tuple(n - a for n, a in zip(wanted, least, strict=True))

    def extra_repr(self) -> str:
        """Channels, kernel, and the settings that are not the defaults."""
        return self._settings(self.padding, self.output_padding, "zeros")


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution over one axis; arguments as ``ConvTranspose2d``.

    Attributes: ``weight`` (in_channels, out_channels / groups, kernel), ``bias`` or None.

    Shape: input (batch, in_channels, length) → output (batch, out_channels, output length).
    """

    n_axes = 1


class ConvTranspose2d(_ConvTranspose):
    """Lay a kernel down for every element and add up: a convolution's way back, learned.

    Its forward rule is the input gradient of a ``Conv2d`` with the same settings, so that it maps
    that layer's output sizes back to its input sizes. W and b begin uniform in
    ±1/√(out_channels / groups · kernel sizes), as in PyTorch.

    Args:
        in_channels: Channels that come in, at least 1.
        out_channels: Channels that come out, at least 1.
        kernel_size: Height and width of the kernels: an int, or one for each axis.
        stride: Step between the kernels' places in the output, per axis or for all.
        padding: What is cut off all around, per axis or for all.
        output_padding: Places added behind, below stride or dilation: several input sizes of a
            strided convolution give one output size, this says which.
        groups: Channel groups that do not mix; divides both numbers of channels.
        bias: Whether b is added.
        dilation: Distance between the kernel's elements.
        dtype: Floating type of W and b.

    Attributes: ``weight`` (in_channels, out_channels / groups, kernel height, kernel width),
    ``bias`` (out_channels,) or None.

    Shape: input (batch, in_channels, height, width) → output (batch, out_channels, ...), each size
    (n − 1) · stride − 2 · padding + dilation · (kernel − 1) + output_padding + 1; or call the layer
    with ``output_size=(height, width)``.

    Raises:
        ArgumentError: A setting is out of its range, or ``output_size`` can not be reached.
        ShapeError: An input has other axes or channels.

    Reference: Zeiler et al. 2010, "Deconvolutional networks".

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.ConvTranspose2d(8, 3, 2, stride=2)(cr.ones((5, 8, 16, 16))).shape
    (5, 3, 32, 32)
    """

    n_axes = 2


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution over three axes; arguments as ``ConvTranspose2d``.

    Attributes: ``weight`` (in_channels, out_channels / groups, *kernel), ``bias`` or None.

    Shape: input (batch, in_channels, depth, height, width) → output (batch, out_channels, ...).
    """

    n_axes = 3
