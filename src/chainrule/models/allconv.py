"""A small all-convolutional network for digits: strides in place of pooling, no full connections.

    input    1 @ 28 × 28
    stage 1  24 @ 28 × 28   3 × 3, 3 × 3
    stage 2  48 @ 14 × 14   3 × 3 / 2, 3 × 3
    stage 3  96 @  7 ×  7   3 × 3 / 2, 3 × 3
    head     10 @  7 ×  7   1 × 1
    mean over each map

Batch normalisation and ReLU follow each convolution of 3 × 3; dropout stands before the head.

Reference: Springenberg, Dosovitskiy, Brox and Riedmiller 2015, "Striving for simplicity: the all
convolutional net", whose rules it follows.
"""

from __future__ import annotations

from typing import Any

from chainrule import nn
from chainrule.array import Array
from chainrule.models.registry import register
from chainrule.models.weights import draw_weights, he_fan_in


class AllConvolutional(nn.Module):
    """Three stages of two convolutions each, a convolution 1 × 1 to the classes, the mean of maps.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        width: Maps of the first stage; they double from stage to stage.
        dropout: Probability of dropping an element before the head, in [0, 1).

    Shape: (batch, in_channels, 28, 28), or other sizes → (batch, num_classes) logits.

    >>> AllConvolutional().n_parameters
    162562
    """

    def __init__(
        self, num_classes: int = 10, in_channels: int = 1, width: int = 24, dropout: float = 0.2
    ) -> None:
        self.features = nn.Sequential(
            *_convolution(in_channels, width),
            *_convolution(width, width),
            *_convolution(width, 2 * width, stride=2),
            *_convolution(2 * width, 2 * width),
            *_convolution(2 * width, 4 * width, stride=2),
            *_convolution(4 * width, 4 * width),
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(4 * width, num_classes, 1)
        self.avgpool = nn.GlobalAvgPool()
        draw_weights(self, convolution=he_fan_in)

    def forward(self, x: Any) -> Array:
        """Shape: (batch, in_channels, height, width) → (batch, num_classes)."""
        return self.avgpool(self.head(self.dropout(self.features(x))))


def _convolution(before: int, after: int, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(after), nn.ReLU()


@register((1, 28, 28), family="All-convolutional", source="Springenberg et al. 2015")
def allconv(
    num_classes: int = 10, in_channels: int = 1, width: int = 24, dropout: float = 0.2
) -> AllConvolutional:
    """A small all-convolutional network for digits.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        width: As for ``AllConvolutional``.
        dropout: As for ``AllConvolutional``.
    """
    return AllConvolutional(num_classes, in_channels, width, dropout)
