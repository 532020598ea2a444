"""VGG: small convolutions, many of them. Table 1 of the paper, each column a line here.

    input     3 @ 224 × 224
    stage 1  64 @ 112 × 112      after its convolutions 3 × 3 and a max pooling 2 × 2
    stage 2 128 @  56 ×  56
    stage 3 256 @  28 ×  28
    stage 4 512 @  14 ×  14
    stage 5 512 @   7 ×   7
    full connections: 4096, 4096, classes

Reference: Simonyan and Zisserman 2015, "Very deep convolutional networks for large-scale image
recognition", section 2. Names and beginning as in torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule import nn
from chainrule.array import Array
from chainrule.models.registry import register
from chainrule.models.weights import draw_weights, he_fan_out, small_normal

CHANNELS = (64, 128, 256, 512, 512)
"""Channels of the five stages."""

# layers that learn → convolutions of each stage
STAGES = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


class VGG(nn.Module):
    """Stages of convolutions 3 × 3, each ended by max pooling, and three full connections.

    Args:
        stages: Convolutions of each stage.
        num_classes: Classes.
        in_channels: Channels of the pictures.
        batch_norm: Batch normalisation after each convolution.
        dropout: Probability of dropping a hidden unit of the classifier, in [0, 1).
        channels: Channels of each stage.
        hidden: Units of the two hidden full connections.

    Shape: (batch, in_channels, 224, 224), at least 32 × 32 → (batch, num_classes) logits.

    >>> VGG(STAGES[16]).n_parameters
    138357544
    """

    def __init__(
        self,
        stages: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        batch_norm: bool = False,
        dropout: float = 0.5,
        channels: Sequence[int] = CHANNELS,
        hidden: int = 4096,
    ) -> None:
        self.features = nn.Sequential()
        before = in_channels
        for n_convolutions, width in zip(stages, channels, strict=True):
            for _ in range(n_convolutions):
                self.features.append(nn.Conv2d(before, width, 3, padding=1))
                if batch_norm:
                    self.features.append(nn.BatchNorm2d(width))
                self.features.append(nn.ReLU())
                before = width
            self.features.append(nn.MaxPool2d(2))
        self.avgpool = nn.AdaptiveAvgPool2d(7)  # pictures of other sizes fit too
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(
            nn.Linear(before * 7 * 7, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        draw_weights(self, convolution=he_fan_out, linear=small_normal)

    def forward(self, x: Any) -> Array:
        """Shape: (batch, in_channels, height, width) → (batch, num_classes)."""
        return self.classifier(self.flatten(self.avgpool(self.features(x))))


@register((3, 224, 224), family="VGG", source="Simonyan, Zisserman 2015")
def vgg11(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> VGG:
    """VGG-11.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        dropout: As for ``VGG``.
    """
    return VGG(STAGES[11], num_classes, in_channels, batch_norm=False, dropout=dropout)


@register((3, 224, 224), family="VGG", source="Simonyan, Zisserman 2015")
def vgg11_bn(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> VGG:
    """VGG-11 with batch normalisation.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        dropout: As for ``VGG``.
    """
    return VGG(STAGES[11], num_classes, in_channels, batch_norm=True, dropout=dropout)


@register((3, 224, 224), family="VGG", source="Simonyan, Zisserman 2015")
def vgg13(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> VGG:
    """VGG-13.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        dropout: As for ``VGG``.
    """
    return VGG(STAGES[13], num_classes, in_channels, batch_norm=False, dropout=dropout)


@register((3, 224, 224), family="VGG", source="Simonyan, Zisserman 2015")
def vgg13_bn(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> VGG:
    """VGG-13 with batch normalisation.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        dropout: As for ``VGG``.
    """
    return VGG(STAGES[13], num_classes, in_channels, batch_norm=True, dropout=dropout)


@register((3, 224, 224), family="VGG", source="Simonyan, Zisserman 2015")
def vgg16(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> VGG:
    """VGG-16.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        dropout: As for ``VGG``.
    """
    return VGG(STAGES[16], num_classes, in_channels, batch_norm=False, dropout=dropout)


@register((3, 224, 224), family="VGG", source="Simonyan, Zisserman 2015")
def vgg16_bn(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> VGG:
    """VGG-16 with batch normalisation.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        dropout: As for ``VGG``.
    """
    return VGG(STAGES[16], num_classes, in_channels, batch_norm=True, dropout=dropout)


@register((3, 224, 224), family="VGG", source="Simonyan, Zisserman 2015")
def vgg19(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> VGG:
    """VGG-19.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        dropout: As for ``VGG``.
    """
    return VGG(STAGES[19], num_classes, in_channels, batch_norm=False, dropout=dropout)


@register((3, 224, 224), family="VGG", source="Simonyan, Zisserman 2015")
def vgg19_bn(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> VGG:
    """VGG-19 with batch normalisation.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        dropout: As for ``VGG``.
    """
    return VGG(STAGES[19], num_classes, in_channels, batch_norm=True, dropout=dropout)
