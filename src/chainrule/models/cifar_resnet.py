"""Residual networks for small pictures: section 4.2 of the paper, with 6n + 2 layers.

    input    3 @ 32 × 32
    conv1   16 @ 32 × 32   3 × 3
    layer1  16 @ 32 × 32   n blocks of two convolutions 3 × 3
    layer2  32 @ 16 × 16   n blocks, the first with stride 2
    layer3  64 @  8 ×  8   n blocks, the first with stride 2
    mean over each map, full connection

The shortcuts have no parameters (the paper's option A): every other pixel, zeros for the new maps.

Reference: He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition", section 4.2.
"""

from __future__ import annotations

from typing import Any

from chainrule import nn
from chainrule.array import Array
from chainrule.models.registry import register
from chainrule.models.resnet import BasicBlock
from chainrule.models.weights import draw_weights, he_fan_in
from chainrule.nn.checks import positive_integer
from chainrule.nn.functional import pad


class ZeroPadShortcut(nn.Module):
    """Every ``stride``-th pixel of each row and column; zeros as further maps.

    Args:
        new_channels: Maps of zeros, half of them before the others and half behind.
        stride: Step from pixel to pixel.

    Shape: (batch, c, h, w) → (batch, c + new_channels, ⌈h / stride⌉, ⌈w / stride⌉).
    """

    def __init__(self, new_channels: int, stride: int) -> None:
        self.new_channels = new_channels
        self.stride = stride

    def forward(self, x: Array) -> Array:
        """Shape: (batch, c, h, w) → (batch, c + new_channels, ⌈h / stride⌉, ⌈w / stride⌉)."""
        before = self.new_channels // 2
        kept = x[:, :, :: self.stride, :: self.stride]
        return pad(kept, (0, 0, 0, 0, before, self.new_channels - before))

    def extra_repr(self) -> str:
        """Maps and step."""
        return f"new_channels={self.new_channels}, stride={self.stride}"


class CifarResNet(nn.Module):
    """A convolution, three stages of n basic blocks, the mean over each map, a full connection.

    Args:
        n_blocks: n, blocks of each stage.
        num_classes: Classes.
        in_channels: Channels of the pictures.
        width: Channels of the first stage; they double from stage to stage.

    Shape: (batch, in_channels, 32, 32), or other sizes → (batch, num_classes) logits.

    >>> CifarResNet(3).n_parameters
    269722
    """

    def __init__(
        self, n_blocks: int, num_classes: int = 10, in_channels: int = 3, width: int = 16
    ) -> None:
        positive_integer(n_blocks, "CifarResNet: n_blocks")
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.layer1 = _stage(width, width, n_blocks)
        self.layer2 = _stage(width, 2 * width, n_blocks)
        self.layer3 = _stage(2 * width, 4 * width, n_blocks)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(4 * width, num_classes)
        draw_weights(self, convolution=he_fan_in, linear=he_fan_in)

    def forward(self, x: Any) -> Array:
        """Shape: (batch, in_channels, height, width) → (batch, num_classes)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.flatten(self.avgpool(x)))


def _stage(before: int, width: int, n_blocks: int) -> nn.Sequential:
    grows = width != before
    shortcut = ZeroPadShortcut(width - before, stride=2) if grows else None
    first = BasicBlock(before, width, 2 if grows else 1, shortcut)
    return nn.Sequential(first, *(BasicBlock(width, width) for _ in range(n_blocks - 1)))


@register((3, 32, 32), family="ResNet (CIFAR)", source="He et al. 2016")
def cifar_resnet20(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """ResNet-20 for small pictures: 3 blocks a stage.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
    """
    return CifarResNet(3, num_classes, in_channels)


@register((3, 32, 32), family="ResNet (CIFAR)", source="He et al. 2016")
def cifar_resnet32(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """ResNet-32 for small pictures: 5 blocks a stage.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
    """
    return CifarResNet(5, num_classes, in_channels)


@register((3, 32, 32), family="ResNet (CIFAR)", source="He et al. 2016")
def cifar_resnet44(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """ResNet-44 for small pictures: 7 blocks a stage.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
    """
    return CifarResNet(7, num_classes, in_channels)


@register((3, 32, 32), family="ResNet (CIFAR)", source="He et al. 2016")
def cifar_resnet56(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """ResNet-56 for small pictures: 9 blocks a stage.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
    """
    return CifarResNet(9, num_classes, in_channels)


@register((3, 32, 32), family="ResNet (CIFAR)", source="He et al. 2016")
def cifar_resnet110(num_classes: int = 10, in_channels: int = 3) -> CifarResNet:
    """ResNet-110 for small pictures: 18 blocks a stage.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
    """
    return CifarResNet(18, num_classes, in_channels)
