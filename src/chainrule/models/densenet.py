"""DenseNet: each layer reads what all layers before it in its block have made. Table 1.

    input                3 @ 224 × 224
    conv0               64 @ 112 × 112   7 × 7 / 2
    pool0               64 @  56 ×  56   3 × 3 / 2
    denseblock1        256 @  56 ×  56   6 layers of 32 new maps each
    transition1        128 @  28 ×  28   1 × 1, half the maps; mean of 2 × 2
    denseblock2        512 @  28 ×  28   12 layers
    transition2        256 @  14 ×  14
    denseblock3       1024 @  14 ×  14   24 layers (DenseNet-121; 169: 32, 201: 48)
    transition3        512 @   7 ×   7
    denseblock4       1024 @   7 ×   7   16 layers (169 and 201: 32)
    mean over each map, full connection

Reference: Huang, Liu, van der Maaten and Weinberger 2017, "Densely connected convolutional
networks". Names and beginning as in torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule import nn, ops
from chainrule.array import Array
from chainrule.models.registry import register
from chainrule.models.weights import draw_weights, he_fan_in


class DenseLayer(nn.Module):
    """Normalise, 1 × 1 to four times the growth, normalise, 3 × 3 to the growth: new maps.

    Args:
        in_channels: Maps that it reads.
        growth: Maps that it makes.
        bottleneck: Maps after the 1 × 1 convolution, as a multiple of the growth.
        dropout: Probability of dropping a new element while training, in [0, 1).

    Shape: (batch, in_channels, h, w) → (batch, growth, h, w).
    """

    def __init__(
        self, in_channels: int, growth: int, bottleneck: int = 4, dropout: float = 0.0
    ) -> None:
        inner = bottleneck * growth
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(inner, growth, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout) if dropout else None

    def forward(self, x: Any) -> Array:
        """Shape: (batch, in_channels, h, w) → (batch, growth, h, w)."""
        x = self.conv1(self.relu1(self.norm1(x)))
        x = self.conv2(self.relu2(self.norm2(x)))
        return x if self.dropout is None else self.dropout(x)


class DenseBlock(nn.Sequential):
    """Layers that each read the block's input and all maps made so far.

    Args:
        n_layers: Layers, named ``denselayer1``, ``denselayer2``, ….
        in_channels: Maps that come in.
        growth: Maps that each layer adds.
        dropout: As for ``DenseLayer``.

    Shape: (batch, in_channels, h, w) → (batch, in_channels + n_layers · growth, h, w).
    """

    def __init__(self, n_layers: int, in_channels: int, growth: int, dropout: float = 0.0) -> None:
        super().__init__(
            {
                f"denselayer{i + 1}": DenseLayer(in_channels + i * growth, growth, dropout=dropout)
                for i in range(n_layers)
            }
        )

    def forward(self, *inputs: Any) -> Array:
        """Shape: (batch, in_channels, h, w) → (batch, in_channels + n_layers · growth, h, w)."""
        maps: Array = inputs[0]
        for layer in self:
            maps = ops.concat([maps, layer(maps)], axis=1)
        return maps


class Transition(nn.Sequential):
    """Half of the maps, at half the size.

    Args:
        in_channels: Maps that come in.

    Shape: (batch, in_channels, h, w) → (batch, in_channels / 2, h / 2, w / 2).
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__(
            {
                "norm": nn.BatchNorm2d(in_channels),
                "relu": nn.ReLU(),
                "conv": nn.Conv2d(in_channels, in_channels // 2, 1, bias=False),
                "pool": nn.AvgPool2d(2),
            }
        )


class DenseNet(nn.Module):
    """A stem, dense blocks with transitions between them, the mean over maps, a full connection.

    Args:
        blocks: Layers of each block.
        num_classes: Classes.
        in_channels: Channels of the pictures.
        growth: Maps that each layer adds.
        width: Maps of the stem.
        dropout: Probability of dropping a new element while training, in [0, 1).

    Shape: (batch, in_channels, 224, 224), or other sizes → (batch, num_classes) logits.

    >>> DenseNet((6, 12, 24, 16)).n_parameters
    7978856
    """

    def __init__(
        self,
        blocks: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        growth: int = 32,
        width: int = 64,
        dropout: float = 0.0,
    ) -> None:
        layers: dict[str, nn.Module] = {
            "conv0": nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False),
            "norm0": nn.BatchNorm2d(width),
            "relu0": nn.ReLU(),
            "pool0": nn.MaxPool2d(3, 2, padding=1),
        }
        maps = width
        for number, n_layers in enumerate(blocks, start=1):
            layers[f"denseblock{number}"] = DenseBlock(n_layers, maps, growth, dropout)
            maps += n_layers * growth
            if number < len(blocks):
                layers[f"transition{number}"] = Transition(maps)
                maps //= 2
        layers["norm5"] = nn.BatchNorm2d(maps)
        self.features = nn.Sequential(layers)
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(maps, num_classes)
        draw_weights(self, convolution=he_fan_in)
        self.classifier.bias = nn.Parameter(nn.init.zeros(num_classes))

    def forward(self, x: Any) -> Array:
        """Shape: (batch, in_channels, height, width) → (batch, num_classes)."""
        x = self.relu(self.features(x))
        return self.classifier(self.flatten(self.avgpool(x)))


@register((3, 224, 224), family="DenseNet", source="Huang et al. 2017")
def densenet121(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0) -> DenseNet:
    """DenseNet-121: blocks of 6, 12, 24 and 16 layers, 32 maps each.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        dropout: As for ``DenseNet``.
    """
    return DenseNet((6, 12, 24, 16), num_classes, in_channels, dropout=dropout)


@register((3, 224, 224), family="DenseNet", source="Huang et al. 2017")
def densenet169(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0) -> DenseNet:
    """DenseNet-169: blocks of 6, 12, 32 and 32 layers, 32 maps each.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        dropout: As for ``DenseNet``.
    """
    return DenseNet((6, 12, 32, 32), num_classes, in_channels, dropout=dropout)


@register((3, 224, 224), family="DenseNet", source="Huang et al. 2017")
def densenet201(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.0) -> DenseNet:
    """DenseNet-201: blocks of 6, 12, 48 and 32 layers, 32 maps each.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        dropout: As for ``DenseNet``.
    """
    return DenseNet((6, 12, 48, 32), num_classes, in_channels, dropout=dropout)
