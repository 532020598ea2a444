"""Residual networks: ResNet for ImageNet and for CIFAR, SE-ResNet. Table 1 of the paper.

    input            3 @ 224 × 224
    conv1           64 @ 112 × 112   7 × 7 / 2
    maxpool         64 @  56 ×  56   3 × 3 / 2
    layer1    64 (256) @  56 ×  56   blocks of two 3 × 3, or (in brackets: what comes out) of
    layer2   128 (512) @  28 ×  28   1 × 1, 3 × 3, 1 × 1 convolutions, each block's input added
    layer3  256 (1024) @  14 ×  14   to its output; the first block of layers 2 to 4 has stride 2
    layer4  512 (2048) @   7 ×   7
    mean over each map, full connection

References: He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition", section
3.3; Hu, Shen and Sun 2018, "Squeeze-and-excitation networks". Names and beginning as in
torchvision, whose bottleneck has its stride in the 3 × 3 convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule import nn
from chainrule.array import Array
from chainrule.models.registry import register
from chainrule.models.weights import draw_weights, he_fan_out


def _convolution(before: int, after: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """Keeps the size at stride 1; batch normalisation follows, so it has no bias."""
    padding = kernel_size // 2
    return nn.Conv2d(before, after, kernel_size, stride, padding=padding, bias=False)


class _Block(nn.Module):
    """A residual: ``forward`` adds what ``residual`` finds to the input."""

    expansion: int  # channels out of a block, as a multiple of its width
    downsample: nn.Module | None
    se: nn.SqueezeExcitation | None
    relu: nn.ReLU

    def residual(self, x: Array) -> Array:
        """What the block learns beside the identity."""
        raise NotImplementedError

    def _end(self, width: int, downsample: nn.Module | None, squeeze: int) -> None:
        channels = width * self.expansion
        self.se = nn.SqueezeExcitation(channels, channels // squeeze) if squeeze else None
        self.relu = nn.ReLU()
        self.downsample = downsample

    def forward(self, x: Any) -> Array:
        """Shape: (batch, in_channels, h, w) → (batch, channels, h / stride, w / stride)."""
        found = self.residual(x)
        if self.se is not None:
            found = self.se(found)
        kept = x if self.downsample is None else self.downsample(x)
        return self.relu(found + kept)


class BasicBlock(_Block):
    """Two convolutions 3 × 3.

    Args:
        in_channels: Channels that come in.
        width: Channels that come out.
        stride: Of the first convolution.
        downsample: Brings the input to the output's shape; None: it has that shape.
        squeeze: Divisor of squeeze-and-excitation's inner channels; 0: none.

    Shape: (batch, in_channels, h, w) → (batch, width, h / stride, w / stride).
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        squeeze: int = 0,
    ) -> None:
        self.conv1 = _convolution(in_channels, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self._end(width, downsample, squeeze)

    def residual(self, x: Array) -> Array:
        """Shape: (batch, in_channels, h, w) → (batch, width, h / stride, w / stride)."""
        x = self.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(x))


class Bottleneck(_Block):
    """Convolutions 1 × 1, 3 × 3 and 1 × 1: the middle one sees a quarter of the channels.

    Args:
        in_channels: Channels that come in.
        width: Channels of the 3 × 3 convolution; four times as many come out.
        stride: Of the 3 × 3 convolution.
        downsample: Brings the input to the output's shape; None: it has that shape.
        squeeze: Divisor of squeeze-and-excitation's inner channels; 0: none.

    Shape: (batch, in_channels, h, w) → (batch, 4 width, h / stride, w / stride).
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        squeeze: int = 0,
    ) -> None:
        self.conv1 = _convolution(in_channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _convolution(width, 4 * width, 1)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self._end(width, downsample, squeeze)

    def residual(self, x: Array) -> Array:
        """Shape: (batch, in_channels, h, w) → (batch, 4 width, h / stride, w / stride)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


class ResNet(nn.Module):
    """A stem, four stages of residual blocks, the mean over each map, a full connection.

    Args:
        block: ``BasicBlock`` or ``Bottleneck``.
        blocks: Blocks of each stage.
        num_classes: Classes.
        in_channels: Channels of the pictures.
        squeeze: Divisor of squeeze-and-excitation's inner channels, 16 in the paper; 0: none.
        width: Width of the first stage; it doubles from stage to stage.

    Shape: (batch, in_channels, 224, 224), or other sizes → (batch, num_classes) logits.

    >>> ResNet(Bottleneck, (3, 4, 6, 3)).n_parameters
    25557032
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        blocks: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        squeeze: int = 0,
        width: int = 64,
    ) -> None:
        self.conv1 = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        out = block.expansion
        widths = [width, 2 * width, 4 * width, 8 * width]
        self.layer1 = _stage(block, width, widths[0], blocks[0], 1, squeeze)
        self.layer2 = _stage(block, widths[0] * out, widths[1], blocks[1], 2, squeeze)
        self.layer3 = _stage(block, widths[1] * out, widths[2], blocks[2], 2, squeeze)
        self.layer4 = _stage(block, widths[2] * out, widths[3], blocks[3], 2, squeeze)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(widths[3] * out, num_classes)
        draw_weights(self, convolution=he_fan_out)

    def forward(self, x: Any) -> Array:
        """Shape: (batch, in_channels, height, width) → (batch, num_classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.flatten(self.avgpool(x)))


def _stage(
    block: type[BasicBlock | Bottleneck],
    in_channels: int,
    width: int,
    n_blocks: int,
    stride: int,
    squeeze: int,
) -> nn.Sequential:
    """Blocks of one width; the first brings size and channels to it, its shortcut likewise."""
    after = width * block.expansion
    downsample = None
    if stride != 1 or in_channels != after:
        downsample = nn.Sequential(
            nn.Conv2d(in_channels, after, 1, stride, bias=False), nn.BatchNorm2d(after)
        )
    first = block(in_channels, width, stride, downsample, squeeze)
    return nn.Sequential(
        first, *(block(after, width, squeeze=squeeze) for _ in range(n_blocks - 1))
    )


@register((3, 224, 224), family="ResNet", source="He et al. 2016")
def resnet18(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """ResNet-18: two convolutions a block.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
    """
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, in_channels)


@register((3, 224, 224), family="ResNet", source="He et al. 2016")
def resnet34(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """ResNet-34: two convolutions a block.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
    """
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, in_channels)


@register((3, 224, 224), family="ResNet", source="He et al. 2016")
def resnet50(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """ResNet-50: bottlenecks of three convolutions a block.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
    """
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, in_channels)


@register((3, 224, 224), family="ResNet", source="He et al. 2016")
def resnet101(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """ResNet-101: bottlenecks of three convolutions a block.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
    """
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes, in_channels)


@register((3, 224, 224), family="ResNet", source="He et al. 2016")
def resnet152(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """ResNet-152: bottlenecks of three convolutions a block.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
    """
    return ResNet(Bottleneck, (3, 8, 36, 3), num_classes, in_channels)


@register((3, 224, 224), family="SE-ResNet", source="Hu et al. 2018")
def se_resnet18(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """SE-ResNet-18: two convolutions a block, squeezed and excited.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
    """
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, in_channels, squeeze=16)


@register((3, 224, 224), family="SE-ResNet", source="Hu et al. 2018")
def se_resnet34(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """SE-ResNet-34: two convolutions a block, squeezed and excited.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
    """
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, in_channels, squeeze=16)


@register((3, 224, 224), family="SE-ResNet", source="Hu et al. 2018")
def se_resnet50(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """SE-ResNet-50: bottlenecks of three convolutions a block, squeezed and excited.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
    """
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, in_channels, squeeze=16)


@register((3, 224, 224), family="SE-ResNet", source="Hu et al. 2018")
def se_resnet101(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """SE-ResNet-101: bottlenecks of three convolutions a block, squeezed and excited.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
    """
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes, in_channels, squeeze=16)


@register((3, 224, 224), family="SE-ResNet", source="Hu et al. 2018")
def se_resnet152(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """SE-ResNet-152: bottlenecks of three convolutions a block, squeezed and excited.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
    """
    return ResNet(Bottleneck, (3, 8, 36, 3), num_classes, in_channels, squeeze=16)
