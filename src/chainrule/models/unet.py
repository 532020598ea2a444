"""U-Net: down to see what, up again to see where. Figure 1, convolutions unpadded.

    input       1 @ 572 × 572                          output  2 @ 388 × 388   1 × 1
    down 0     64 @ 568 × 568  ───── copy, crop ─────→  up 0   64 @ 388 × 388
    down 1    128 @ 280 × 280  ───── copy, crop ─────→  up 1  128 @ 196 × 196
    down 2    256 @ 136 × 136  ───── copy, crop ─────→  up 2  256 @ 100 × 100
    down 3    512 @  64 ×  64  ───── copy, crop ─────→  up 3  512 @  52 ×  52
    bottom   1024 @  28 ×  28

Each step is two convolutions 3 × 3 with ReLU; on the way down max pooling 2 × 2 comes between two
steps, on the way up a transposed convolution 2 × 2 that halves the maps.

Reference: Ronneberger, Fischer and Brox 2015, "U-Net: convolutional networks for biomedical image
segmentation".
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from chainrule import nn, ops
from chainrule.array import Array
from chainrule.errors import ShapeError
from chainrule.models.registry import register
from chainrule.models.weights import draw_weights, he_fan_in
from chainrule.nn.checks import in_range, positive_integer, spatial_input
from chainrule.ops.origin import here


class DoubleConvolution(nn.Sequential):
    """Two convolutions 3 × 3 with ReLU.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that come out.
        padding: 0 as in the paper: the size shrinks by 4; 1: it stays.
        batch_norm: Batch normalisation after each convolution, which then has no bias.

    Shape: (batch, in_channels, h, w) → (batch, out_channels, h − 4 + 4 padding, w − 4 + 4 padding).
    """

    def __init__(
        self, in_channels: int, out_channels: int, padding: int = 0, batch_norm: bool = False
    ) -> None:
        super().__init__()
        for before in (in_channels, out_channels):
            self.append(nn.Conv2d(before, out_channels, 3, padding=padding, bias=not batch_norm))
            if batch_norm:
                self.append(nn.BatchNorm2d(out_channels))
            self.append(nn.ReLU())


class UNet(nn.Module):
    """A class for each pixel: maps of the way down are laid beside those of the way up.

    Args:
        num_classes: Classes of a pixel; 1 for one logit.
        in_channels: Channels of the pictures.
        width: Channels of the first step; they double from step to step.
        depth: How often the size is halved, at least 1.
        padding: 0 as in the paper, the output is smaller than the input; 1: it has its size.
        batch_norm: Batch normalisation after each convolution of 3 × 3.

    Shape: (batch, in_channels, height, width) → (batch, num_classes, smaller height, smaller width)
    logits; with padding the input's sizes.

    Raises:
        ShapeError: A size can not be halved where it must be.

    >>> UNet().n_parameters
    31030658
    """

    def __init__(
        self,
        num_classes: int = 2,
        in_channels: int = 1,
        width: int = 64,
        depth: int = 4,
        padding: int = 0,
        batch_norm: bool = False,
    ) -> None:
        positive_integer(depth, "UNet: depth")
        in_range(padding, 0, 1, "UNet: padding")
        self.padding = padding
        widths = [width * 2**step for step in range(depth + 1)]
        pairs = list(pairwise(widths))
        self.pool = nn.MaxPool2d(2)
        self.down = [DoubleConvolution(in_channels, width, padding, batch_norm)]
        self.down += [DoubleConvolution(a, b, padding, batch_norm) for a, b in pairs[:-1]]
        self.bottom = DoubleConvolution(*pairs[-1], padding, batch_norm)
        self.enlarge = [nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairs]
        self.up = [DoubleConvolution(b, a, padding, batch_norm) for a, b in pairs]
        self.head = nn.Conv2d(width, num_classes, 1)
        draw_weights(self, convolution=he_fan_in)

    def forward(self, x: Any) -> Array:
        """Shape: (batch, in_channels, height, width) → (batch, num_classes, ...)."""
        x = spatial_input(ops.as_value(x), 2, None, "UNet")
        sizes = x.shape[2:]
        copies = []
        for step in self.down:
            x = step(x)
            copies.append(x)
            if x.shape[2] % 2 or x.shape[3] % 2:
                raise self._odd(sizes, x)
            x = self.pool(x)
        x = self.bottom(x)
        for copy, enlarge, step in zip(
            reversed(copies), reversed(self.enlarge), reversed(self.up), strict=True
        ):
            x = enlarge(x)
            x = step(ops.concat([_middle(copy, x), x], axis=1))
        return self.head(x)

    def _odd(self, sizes: tuple[int, ...], x: Array) -> ShapeError:
        return ShapeError(
            f"UNet does not fit pictures of {sizes[0]} × {sizes[1]}",
            expected="sizes that are even before each pooling",
            got=f"{x.shape[2]} × {x.shape[3]} on the way down",
            fix=f"pad or crop to {self._valid(sizes[0])} × {self._valid(sizes[1])}",
            where=str(here()),
        )

    def _valid(self, size: int) -> int:
        """The next size from ``size`` on that can be halved ``depth`` times."""
        lost = 4 - 4 * self.padding
        depth = len(self.down)

        def fits(n: int) -> bool:
            for _ in range(depth):
                n -= lost
                if n < 2 or n % 2:
                    return False
                n //= 2
            return n > lost

        while not fits(size):
            size += 1
        return size


def _middle(x: Array, like: Array) -> Array:
    """The middle of ``x``, of the height and width of ``like``."""
    top, left = (x.shape[axis] - like.shape[axis] for axis in (2, 3))
    top, left = top // 2, left // 2
    return x[:, :, top : top + like.shape[2], left : left + like.shape[3]]


@register((1, 572, 572), family="U-Net", source="Ronneberger et al. 2015")
def unet(num_classes: int = 2, in_channels: int = 1, width: int = 64, padding: int = 0) -> UNet:
    """U-Net: a class for each pixel.

    Args:
        num_classes: Classes of a pixel.
        in_channels: Channels of the pictures.
        width: Channels of the first step.
        padding: As for ``UNet``.
    """
    return UNet(num_classes, in_channels, width, padding=padding)
