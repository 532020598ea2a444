"""MobileNetV2: inverted residuals with linear bottlenecks. Table 2 of the paper.

    input       3 @ 224 × 224    convolution 3 × 3 / 2
    stage 1    16 @ 112 × 112    t = 1
    stage 2    24 @  56 ×  56    t = 6, 2 blocks
    stage 3    32 @  28 ×  28    t = 6, 3 blocks
    stage 4    64 @  14 ×  14    t = 6, 4 blocks
    stage 5    96 @  14 ×  14    t = 6, 3 blocks
    stage 6   160 @   7 ×   7    t = 6, 3 blocks
    stage 7   320 @   7 ×   7    t = 6, 1 block
    head     1280 @   7 ×   7    convolution 1 × 1
    mean over each map, dropout, full connection

Reference: Sandler, Howard, Zhu, Zhmoginov and Chen 2018, "MobileNetV2: inverted residuals and
linear bottlenecks". Names and beginning as in torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule import nn
from chainrule.array import Array
from chainrule.models.registry import register
from chainrule.models.weights import draw_weights, he_fan_out, small_normal

# expansion t, channels c, blocks n, stride s of the first block
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class ConvolutionNormReLU6(nn.Sequential):
    """A convolution without bias, batch normalisation, ReLU6.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that come out.
        kernel_size: Height and width of the kernels; the border keeps the size at stride 1.
        stride: Step between windows.
        groups: Channel groups that do not mix.

    Shape: (batch, in_channels, h, w) → (batch, out_channels, h / stride, w / stride).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        border = kernel_size // 2
        super().__init__(
            nn.Conv2d(
                in_channels, out_channels, kernel_size, stride, border, groups=groups, bias=False
            ),
            nn.BatchNorm2d(out_channels),
            nn.ReLU6(),
        )


class InvertedResidual(nn.Module):
    """Widen by 1 × 1, filter each channel by 3 × 3, narrow by 1 × 1 without an activation.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that come out.
        stride: Of the 3 × 3 convolution.
        expansion: How many times wider the middle is; 1: it is not widened.

    The input is added to the result where the two have the same shape.

    Shape: (batch, in_channels, h, w) → (batch, out_channels, h / stride, w / stride).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        inner = in_channels * expansion
        self.is_residual = stride == 1 and in_channels == out_channels
        self.conv = nn.Sequential()
        if expansion != 1:
            self.conv.append(ConvolutionNormReLU6(in_channels, inner, 1))
        self.conv.append(ConvolutionNormReLU6(inner, inner, 3, stride, groups=inner))
        self.conv.append(nn.Conv2d(inner, out_channels, 1, bias=False))
        self.conv.append(nn.BatchNorm2d(out_channels))

    def forward(self, x: Any) -> Array:
        """Shape: (batch, in_channels, h, w) → (batch, out_channels, h / stride, w / stride)."""
        found: Array = self.conv(x)
        return x + found if self.is_residual else found


class MobileNetV2(nn.Module):
    """A stem, inverted residuals, a head of 1 × 1, the mean over maps, a full connection.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        width: Multiplies all numbers of channels, which are then rounded to multiples of 8.
        dropout: Probability of dropping an input of the full connection, in [0, 1).
        stages: Rows (expansion, channels, blocks, stride of the first).

    Shape: (batch, in_channels, 224, 224), or other sizes → (batch, num_classes) logits.

    >>> MobileNetV2().n_parameters
    3504872
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: float = 1.0,
        dropout: float = 0.2,
        stages: Sequence[tuple[int, int, int, int]] = STAGES,
    ) -> None:
        before, head = eighths(32 * width), eighths(1280 * max(1.0, width))
        self.features = nn.Sequential(ConvolutionNormReLU6(in_channels, before, 3, stride=2))
        for expansion, channels, n_blocks, stride in stages:
            after = eighths(channels * width)
            for number in range(n_blocks):
                step = stride if number == 0 else 1
                self.features.append(InvertedResidual(before, after, step, expansion))
                before = after
        self.features.append(ConvolutionNormReLU6(before, head, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(head, num_classes))
        draw_weights(self, convolution=he_fan_out, linear=small_normal)

    def forward(self, x: Any) -> Array:
        """Shape: (batch, in_channels, height, width) → (batch, num_classes)."""
        return self.classifier(self.flatten(self.avgpool(self.features(x))))


def eighths(channels: float) -> int:
    """The nearest multiple of 8 from 8 on, but never less than nine tenths of ``channels``.

    Args:
        channels: Any positive number.

    >>> eighths(32 * 0.75), eighths(11)
    (24, 16)
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


@register((3, 224, 224), family="MobileNet", source="Sandler et al. 2018")
def mobilenet_v2(
    num_classes: int = 1000, in_channels: int = 3, width: float = 1.0, dropout: float = 0.2
) -> MobileNetV2:
    """MobileNetV2: for phones, a hundredth of VGG's work.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        width: As for ``MobileNetV2``.
        dropout: As for ``MobileNetV2``.
    """
    return MobileNetV2(num_classes, in_channels, width, dropout)
