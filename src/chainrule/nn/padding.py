"""Borders as layers: zeros, a constant, mirrored, repeated, or continued from the other side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError
from chainrule.nn.checks import spatial_input
from chainrule.nn.functional.padding import pad
from chainrule.nn.module import Module
from chainrule.ops.origin import here


class _Pad(Module):
    """Widths around the spatial axes, PyTorch's order: last axis first."""

    n_axes: int  # spatial axes; given by the class
    mode: str = "constant"
    value: float = 0.0  # what a constant border holds

    def __init__(self, padding: int | Sequence[int]) -> None:
        self.padding = self._widths(padding)

    def _widths(self, padding: int | Sequence[int]) -> tuple[int, ...]:
        count = 2 * self.n_axes
        widths = (padding,) * count if isinstance(padding, int) else tuple(padding)
        least = None if self.mode == "constant" else 0
        if len(widths) != count or not all(
            isinstance(n, int) and (least is None or n >= least) for n in widths
        ):
            names = ("left", "right", "top", "bottom", "front", "back")[:count]
            raise ArgumentError(
                f"{type(self).__name__}: padding does not fit {self.n_axes} spatial axes",
                expected=f"an int, or ({', '.join(names)}){'' if least is None else ', all ≥ 0'}",
                got=repr(padding),
                where=str(here()),
            )
        return widths

    def forward(self, x: Any) -> Array:
        """Shape: (batch, channels, *spatial) → (batch, channels, *padded)."""
        value = spatial_input(ops.as_value(x), self.n_axes, None, repr(self))
        return pad(value, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        """The widths."""
        return str(self.padding)


class _ConstantPad(_Pad):
    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = float(value)

    def extra_repr(self) -> str:
        """The widths and the value."""
        return f"padding={self.padding}, value={self.value:g}"


class ZeroPad1d(_Pad):
    """Zeros before and behind a signal; arguments as ``ZeroPad2d``."""

    n_axes = 1


class ZeroPad2d(_Pad):
    """Zeros around a picture.

    Args:
        padding: Widths (left, right, top, bottom), or one for all sides; negative widths cut off.

    Shape: input (batch, channels, height, width) → output (batch, channels, top + height + bottom,
    left + width + right).

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.ZeroPad2d((1, 0, 2, 2))(cr.ones((1, 1, 3, 3))).shape
    (1, 1, 7, 4)
    """

    n_axes = 2


class ZeroPad3d(_Pad):
    """Zeros around a volume; widths (left, right, top, bottom, front, back)."""

    n_axes = 3


class ConstantPad1d(_ConstantPad):
    """A constant before and behind a signal; arguments as ``ConstantPad2d``."""

    n_axes = 1


class ConstantPad2d(_ConstantPad):
    """A constant around a picture.

    Args:
        padding: As for ``ZeroPad2d``.
        value: What the border holds.
    """

    n_axes = 2


class ConstantPad3d(_ConstantPad):
    """A constant around a volume; arguments as ``ConstantPad2d``, two more widths."""

    n_axes = 3


class ReflectionPad1d(_Pad):
    """A signal mirrored at its ends; arguments as ``ReflectionPad2d``."""

    n_axes = 1
    mode = "reflect"


class ReflectionPad2d(_Pad):
    """A picture mirrored at its edges, which are not repeated: dcb|abcd|cba.

    Args:
        padding: Widths (left, right, top, bottom), or one for all sides, less than the picture's
            sizes.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.ReflectionPad2d((2, 1, 0, 0))(cr.asarray([[[[1.0, 2.0, 3.0]]]])).tolist()
    [[[[3.0, 2.0, 1.0, 2.0, 3.0, 2.0]]]]
    """

    n_axes = 2
    mode = "reflect"


class ReflectionPad3d(_Pad):
    """A volume mirrored at its faces; arguments as ``ReflectionPad2d``, two more widths."""

    n_axes = 3
    mode = "reflect"


class ReplicationPad1d(_Pad):
    """A signal whose ends are repeated; arguments as ``ReplicationPad2d``."""

    n_axes = 1
    mode = "replicate"


class ReplicationPad2d(_Pad):
    """A picture whose edges are repeated: aaa|abcd|ddd.

    Args:
        padding: Widths (left, right, top, bottom), or one for all sides.
    """

    n_axes = 2
    mode = "replicate"


class ReplicationPad3d(_Pad):
    """A volume whose faces are repeated; arguments as ``ReplicationPad2d``, two more widths."""

    n_axes = 3
    mode = "replicate"


class CircularPad1d(_Pad):
    """A signal continued from its other end; arguments as ``CircularPad2d``."""

    n_axes = 1
    mode = "circular"


class CircularPad2d(_Pad):
    """A picture continued from its other side: bcd|abcd|abc.

    Args:
        padding: Widths (left, right, top, bottom), or one for all sides, at most the picture's
            sizes.
    """

    n_axes = 2
    mode = "circular"


class CircularPad3d(_Pad):
    """A volume continued from its other side; arguments as ``CircularPad2d``, two more widths."""

    n_axes = 3
    mode = "circular"
