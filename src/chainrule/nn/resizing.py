"""Layers that change where numbers stand: ``Upsample``, ``PixelShuffle``, ``Unflatten``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError, ShapeError
from chainrule.nn import functional
from chainrule.nn.checks import one_of, positive_integer
from chainrule.nn.functional.resizing import MODES
from chainrule.nn.module import Module
from chainrule.ops.origin import here


class Upsample(Module):
    """Resize pictures, signals or volumes by interpolation; see ``nn.functional.interpolate``.

    Args:
        size: Spatial sizes of the result, one for all or one for each axis; or
        scale_factor: what the sizes are multiplied by (and rounded down).
        mode: ``"nearest"``, or ``"linear"``, ``"bilinear"``, ``"trilinear"`` for one, two, three
            spatial axes.
        align_corners: The outermost elements' centres stay the outermost ones; else elements are
            cells whose outer edges stay.

    Shape: input (batch, channels, *spatial) → output (batch, channels, *sizes).

    Raises:
        ArgumentError: Not exactly one of ``size`` and ``scale_factor``, or an unknown mode.
        ShapeError: The mode is for another number of spatial axes.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.Upsample(scale_factor=2, mode="bilinear")(cr.ones((1, 3, 8, 9))).shape
    (1, 3, 16, 18)
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool = False,
    ) -> None:
        if (size is None) == (scale_factor is None):
            raise ArgumentError(
                "Upsample needs one of size and scale_factor",
                expected="nn.Upsample(scale_factor=2), or nn.Upsample((height, width))",
                got=f"size={size}, scale_factor={scale_factor}",
                where=str(here()),
            )
        self.size = tuple(size) if isinstance(size, list) else size
        self.scale_factor = tuple(scale_factor) if isinstance(scale_factor, list) else scale_factor
        self.mode = one_of(mode, tuple(MODES), "Upsample: mode")
        self.align_corners = bool(align_corners)

    def forward(self, x: Any) -> Array:
        """Shape: (batch, channels, *spatial) → (batch, channels, *sizes)."""
        return functional.interpolate(
            x, self.size, self.scale_factor, self.mode, self.align_corners
        )

    def extra_repr(self) -> str:
        """The new size, and how it is reached."""
        new = f"scale_factor={self.scale_factor}" if self.size is None else f"size={self.size}"
        aligned = ", align_corners=True" if self.align_corners else ""
        return f"{new}, mode='{self.mode}'{aligned}"


class PixelShuffle(Module):
    """Channels become places: (c r², h, w) → (c, h r, w r), an upsampling that can be learned.

    Args:
        upscale_factor: r, at least 1.

    Shape: input (..., c r², h, w) → output (..., c, h r, w r).

    Reference: Shi et al. 2016, "Real-time single image and video super-resolution using an
    efficient sub-pixel convolutional neural network".

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.PixelShuffle(2)(cr.ones((1, 12, 5, 5))).shape
    (1, 3, 10, 10)
    """

    def __init__(self, upscale_factor: int) -> None:
        self.upscale_factor = positive_integer(upscale_factor, "PixelShuffle: upscale_factor")

    def forward(self, x: Any) -> Array:
        """Shape: (..., c r², h, w) → (..., c, h r, w r)."""
        return functional.pixel_shuffle(x, self.upscale_factor)

    def extra_repr(self) -> str:
        """The factor."""
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """Places become channels: (c, h r, w r) → (c r², h, w), the inverse of ``PixelShuffle``.

    Args:
        downscale_factor: r, at least 1.

    Shape: input (..., c, h r, w r) → output (..., c r², h, w).
    """

    def __init__(self, downscale_factor: int) -> None:
        self.downscale_factor = positive_integer(
            downscale_factor, "PixelUnshuffle: downscale_factor"
        )

    def forward(self, x: Any) -> Array:
        """Shape: (..., c, h r, w r) → (..., c r², h, w)."""
        return functional.pixel_unshuffle(x, self.downscale_factor)

    def extra_repr(self) -> str:
        """The factor."""
        return f"downscale_factor={self.downscale_factor}"


class Unflatten(Module):
    """Split one axis into several: a row of numbers becomes a picture.

    Args:
        dim: The axis; negative values count from the end.
        unflattened_size: Sizes it is split into; one of them may be −1.

    Shape: input (..., product of sizes, ...) → output (..., *sizes, ...).

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.Unflatten(1, (1, 28, 28))(cr.ones((5, 784))).shape
    (5, 1, 28, 28)
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, x: Any) -> Array:
        """Shape: (..., product of sizes, ...) → (..., *sizes, ...)."""
        value: Array = ops.as_value(x)
        sizes = self.unflattened_size
        axis = self.dim % value.ndim if -value.ndim <= self.dim < value.ndim else -1
        known = math.prod(n for n in sizes if n != -1)
        open_size = sizes.count(-1)
        fits = axis >= 0 and open_size <= 1 and known > 0
        if not fits or (value.shape[axis] % known if open_size else value.shape[axis] != known):
            raise ShapeError(
                f"{self!r} does not fit an input of shape {value.shape}",
                expected=f"{known}{' times something' if open_size else ''} along axis {self.dim}",
                got=str(value.shape),
                where=str(here()),
            )
        filled = tuple(value.shape[axis] // known if n == -1 else n for n in sizes)
        return value.reshape((*value.shape[:axis], *filled, *value.shape[axis + 1 :]))

    def extra_repr(self) -> str:
        """Axis and sizes."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
