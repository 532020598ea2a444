"""AlexNet and ZFNet: eight layers that learn, and what looking into them changed.

    AlexNet (torchvision's form)          ZFNet
    input     3 @ 224 × 224               3 @ 224 × 224
    conv 1   64 @  55 ×  55  11×11 / 4   96 @ 110 × 110  7×7 / 2
    pool     64 @  27 ×  27  3×3 / 2     96 @  55 ×  55  3×3 / 2
    conv 2  192 @  27 ×  27  5×5        256 @  26 ×  26  5×5 / 2
    pool    192 @  13 ×  13  3×3 / 2    256 @  13 ×  13  3×3 / 2
    conv 3  384 @  13 ×  13  3×3        384 @  13 ×  13  3×3
    conv 4  256 @  13 ×  13  3×3        384 @  13 ×  13  3×3
    conv 5  256 @  13 ×  13  3×3        256 @  13 ×  13  3×3
    pool    256 @   6 ×   6  3×3 / 2    256 @   6 ×   6  3×3 / 2
    fc 6, 7, 8: 4096, 4096, classes; half of the units of 6 and 7 dropped

References: Krizhevsky, Sutskever and Hinton 2012, "ImageNet classification with deep convolutional
neural networks", section 3; Krizhevsky 2014, "One weird trick for parallelizing convolutional
neural networks" (the form of torchvision); Zeiler and Fergus 2014, "Visualizing and understanding
convolutional networks", figure 3.
"""

from __future__ import annotations

from typing import Any

from chainrule import nn
from chainrule.array import Array
from chainrule.models.registry import register
from chainrule.models.weights import draw_weights, small_normal
from chainrule.nn.checks import one_of


class _EightLayers(nn.Module):
    """Five convolutions, ``features``; bins of 6 × 6; three full connections, ``classifier``."""

    features: nn.Sequential
    avgpool: nn.AdaptiveAvgPool2d
    flatten: nn.Flatten
    classifier: nn.Sequential

    def _decide(self, num_classes: int, dropout: float) -> None:
        self.avgpool = nn.AdaptiveAvgPool2d(6)  # pictures of other sizes fit too
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, num_classes),
        )

    def forward(self, x: Any) -> Array:
        """Shape: (batch, in_channels, height, width) → (batch, num_classes)."""
        return self.classifier(self.flatten(self.avgpool(self.features(x))))


class AlexNet(_EightLayers):
    """AlexNet, in torchvision's form or that of 2012.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        dropout: Probability of dropping a unit before the first two full connections, in [0, 1).
        form: ``"2014"``: one column of convolutions, as torchvision has it, which begins as
            PyTorch's layers do; ``"2012"``: the paper's two halves (convolutions 2, 4 and 5 in two
            groups), local response normalisation, and at the start weights of deviation 0.01 and
            biases of 1 in layers 2, 4, 5, 6 and 7.

    Shape: (batch, in_channels, 224, 224), at least 63 × 63 → (batch, num_classes) logits.

    >>> AlexNet().n_parameters, AlexNet(form="2012").n_parameters
    (61100840, 60965224)
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.5,
        form: str = "2014",
    ) -> None:
        one_of(form, ("2012", "2014"), "AlexNet: form")
        self.features = _features_2012(in_channels) if form == "2012" else _features(in_channels)
        self._decide(num_classes, dropout)
        if form == "2012":
            draw_weights(self, convolution=small_normal, linear=small_normal)
            layers = [m for m in self.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
            for number in (2, 4, 5, 6, 7):
                layer = layers[number - 1]
                layer.bias = nn.Parameter(nn.init.ones(layer.weight.shape[0]))


def _features(in_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
    )


def _loud_neighbours() -> nn.LocalResponseNorm:
    """The paper's k = 2, n = 5, α = 10⁻⁴, β = 0.75; the layer divides its α by n, as PyTorch's."""
    return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)


def _features_2012(in_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, 96, 11, stride=4, padding=2),
        nn.ReLU(),
        _loud_neighbours(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(96, 256, 5, padding=2, groups=2),
        nn.ReLU(),
        _loud_neighbours(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 384, 3, padding=1, groups=2),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, groups=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
    )


class ZFNet(_EightLayers):
    """ZFNet: AlexNet whose first layers look closer, 7 × 7 in steps of 2 for 11 × 11 in steps of 4.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        dropout: Probability of dropping a unit before the first two full connections, in [0, 1).

    Weights begin with deviation 0.01, biases with 0, as in the paper's section 3.

    Shape: (batch, in_channels, 224, 224) → (batch, num_classes) logits.

    >>> ZFNet().n_parameters
    62357608
    """

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> None:
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 96, 7, stride=2, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            _loud_neighbours(),
            nn.Conv2d(96, 256, 5, stride=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            _loud_neighbours(),
            nn.Conv2d(256, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
        )
        self._decide(num_classes, dropout)
        draw_weights(self, convolution=small_normal, linear=small_normal)


@register((3, 224, 224), family="AlexNet", source="Krizhevsky 2014")
def alexnet(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> AlexNet:
    """AlexNet in torchvision's form: one column, no response normalisation.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        dropout: As for ``AlexNet``.
    """
    return AlexNet(num_classes, in_channels, dropout)


@register((3, 224, 224), family="AlexNet", source="Krizhevsky et al. 2012")
def alexnet_2012(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> AlexNet:
    """AlexNet as in the paper: two halves, local response normalisation.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        dropout: As for ``AlexNet``.
    """
    return AlexNet(num_classes, in_channels, dropout, form="2012")


@register((3, 224, 224), family="AlexNet", source="Zeiler, Fergus 2014")
def zfnet(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> ZFNet:
    """ZFNet: AlexNet with smaller, denser first convolutions.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        dropout: As for ``ZFNet``.
    """
    return ZFNet(num_classes, in_channels, dropout)
