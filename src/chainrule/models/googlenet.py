"""GoogLeNet, the first Inception network. Table 1 of the paper.

    input         3 @ 224 × 224
    conv1        64 @ 112 × 112   7 × 7 / 2
    max pool     64 @  56 ×  56   3 × 3 / 2
    conv2, 3    192 @  56 ×  56   1 × 1, 3 × 3
    max pool    192 @  28 ×  28   3 × 3 / 2
    3a, 3b      480 @  28 ×  28
    max pool    480 @  14 ×  14   3 × 3 / 2
    4a … 4e     832 @  14 ×  14   auxiliary heads read 4a and 4d while training
    max pool    832 @   7 ×   7   2 × 2 / 2 in torchvision, 3 × 3 / 2 in the paper
    5a, 5b     1024 @   7 ×   7
    mean over each map, dropout, full connection

Reference: Szegedy et al. 2015, "Going deeper with convolutions", sections 4 and 5. Names as in
torchvision, whose form has batch normalisation and a third branch of 3 × 3 in place of 5 × 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chainrule import nn
from chainrule.array import Array
from chainrule.models.registry import register
from chainrule.models.weights import draw_weights, small_normal

# block → channels that come in; 1×1; 3×3 reduce, 3×3; 5×5 reduce, 5×5; pool projection
BLOCKS = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}


class ConvolutionReLU(nn.Sequential):
    """A convolution, batch normalisation if wanted (then without a bias), ReLU.

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that come out.
        kernel_size: Height and width of the kernels.
        batch_norm: Whether batch normalisation follows the convolution.
        stride: Step between windows.
        padding: Border of zeros.

    Shape: (batch, in_channels, height, width) → (batch, out_channels, ...).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        batch_norm: bool,
        stride: int = 1,
        padding: int = 0,
    ) -> None:
        convolution = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, bias=not batch_norm
        )
        layers: Mapping[str, nn.Module] = {"conv": convolution, "relu": nn.ReLU()}
        if batch_norm:
            norm = nn.BatchNorm2d(out_channels, epsilon=0.001)
            layers = {"conv": convolution, "bn": norm, "relu": nn.ReLU()}
        super().__init__(layers)


class Inception(nn.Parallel):
    """Four branches side by side: 1 × 1; 3 × 3; 5 × 5; pooling. Figure 2 (b).

    Args:
        channels: A row of ``BLOCKS``.
        batch_norm: torchvision's form: batch normalisation, and 3 × 3 in the third branch.

    Shape: (batch, channels in, height, width) → (batch, sum of the branches' channels, ...).
    """

    def __init__(self, channels: tuple[int, ...], batch_norm: bool) -> None:
        before, one, reduce3, three, reduce5, five, projection = channels
        third = 3 if batch_norm else 5
        super().__init__(
            {
                "branch1": ConvolutionReLU(before, one, 1, batch_norm),
                "branch2": nn.Sequential(
                    ConvolutionReLU(before, reduce3, 1, batch_norm),
                    ConvolutionReLU(reduce3, three, 3, batch_norm, padding=1),
                ),
                "branch3": nn.Sequential(
                    ConvolutionReLU(before, reduce5, 1, batch_norm),
                    ConvolutionReLU(reduce5, five, third, batch_norm, padding=third // 2),
                ),
                "branch4": nn.Sequential(
                    nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True),
                    ConvolutionReLU(before, projection, 1, batch_norm),
                ),
            }
        )


class AuxiliaryHead(nn.Module):
    """A small classifier on maps in the middle, so that gradients reach the first layers.

    Args:
        in_channels: Channels that come in.
        num_classes: Classes.
        batch_norm: As for ``GoogLeNet``.
        dropout: Probability of dropping a hidden unit, 0.7 in the paper, in [0, 1).

    Shape: (batch, in_channels, 14, 14) → (batch, num_classes) logits.
    """

    def __init__(
        self, in_channels: int, num_classes: int, batch_norm: bool, dropout: float = 0.7
    ) -> None:
        # bins of 4 × 4: what windows of 5 × 5 in steps of 3 give from 14 × 14, near enough
        self.pool = nn.AdaptiveAvgPool2d(4) if batch_norm else nn.AvgPool2d(5, 3)
        self.conv = ConvolutionReLU(in_channels, 128, 1, batch_norm)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(2048, 1024)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x: Any) -> Array:
        """Shape: (batch, in_channels, 14, 14) → (batch, num_classes)."""
        x = self.flatten(self.conv(self.pool(x)))
        return self.fc2(self.dropout(self.relu(self.fc1(x))))


class GoogLeNet(nn.Module):
    """Nine inception blocks between a stem and one full connection.

    In training, with auxiliary heads, the result is a tuple: the logits, those of the head on 4d,
    those of the head on 4a. ``auxiliary_cross_entropy`` adds up their losses as the paper does.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        aux_logits: Whether there are auxiliary heads.
        batch_norm: True: torchvision's form, with batch normalisation and 3 × 3 for 5 × 5; False:
            the paper's, with biases and local response normalisation.
        dropout: Probability of dropping an input of the full connection, in [0, 1).

    Weights begin with deviation 0.01, as in torchvision.

    Shape: (batch, in_channels, 224, 224) → (batch, num_classes) logits; in training with auxiliary
    heads three of them.

    >>> GoogLeNet(aux_logits=False).n_parameters
    6624904
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        aux_logits: bool = True,
        batch_norm: bool = True,
        dropout: float = 0.2,
    ) -> None:
        norm = nn.Identity if batch_norm else _loud_neighbours
        self.conv1 = ConvolutionReLU(in_channels, 64, 7, batch_norm, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.norm1 = norm()
        self.conv2 = ConvolutionReLU(64, 64, 1, batch_norm)
        self.conv3 = ConvolutionReLU(64, 192, 3, batch_norm, padding=1)
        self.norm2 = norm()
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception3a = Inception(BLOCKS["3a"], batch_norm)
        self.inception3b = Inception(BLOCKS["3b"], batch_norm)
        self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception4a = Inception(BLOCKS["4a"], batch_norm)
        self.inception4b = Inception(BLOCKS["4b"], batch_norm)
        self.inception4c = Inception(BLOCKS["4c"], batch_norm)
        self.inception4d = Inception(BLOCKS["4d"], batch_norm)
        self.inception4e = Inception(BLOCKS["4e"], batch_norm)
        self.maxpool4 = nn.MaxPool2d(2 if batch_norm else 3, 2, ceil_mode=True)
        self.inception5a = Inception(BLOCKS["5a"], batch_norm)
        self.inception5b = Inception(BLOCKS["5b"], batch_norm)
        self.aux1 = AuxiliaryHead(512, num_classes, batch_norm) if aux_logits else None
        self.aux2 = AuxiliaryHead(528, num_classes, batch_norm) if aux_logits else None
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, num_classes)
        draw_weights(self, convolution=small_normal, linear=small_normal)

    def forward(self, x: Any) -> Any:
        """Shape: (batch, in_channels, height, width) → (batch, num_classes), or three of them."""
        x = self.norm1(self.maxpool1(self.conv1(x)))
        x = self.maxpool2(self.norm2(self.conv3(self.conv2(x))))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        after_4a = self.inception4a(x)
        after_4d = self.inception4d(self.inception4c(self.inception4b(after_4a)))
        x = self.maxpool4(self.inception4e(after_4d))
        x = self.inception5b(self.inception5a(x))
        logits = self.fc(self.dropout(self.flatten(self.avgpool(x))))
        if self.training and self.aux1 is not None and self.aux2 is not None:
            return logits, self.aux2(after_4d), self.aux1(after_4a)
        return logits


def _loud_neighbours() -> nn.LocalResponseNorm:
    """As in AlexNet's paper, but k = 1; the layer divides its α by its size, as PyTorch's."""
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)


def auxiliary_cross_entropy(outputs: Any, targets: Any, weight: float = 0.3) -> Array:
    """Cross-entropy of the last head, plus 0.3 times that of each auxiliary one.

    Args:
        outputs: Logits, or a tuple of logits: the last head's first.
        targets: Classes, (batch,) integers.
        weight: Of each auxiliary head.

    Reference: Szegedy et al. 2015, section 5.
    """
    if not isinstance(outputs, tuple):
        return nn.cross_entropy(outputs, targets)
    total = nn.cross_entropy(outputs[0], targets)
    for logits in outputs[1:]:
        total = total + weight * nn.cross_entropy(logits, targets)
    return total


@register((3, 224, 224), family="GoogLeNet", source="Szegedy et al. 2015")
def googlenet(num_classes: int = 1000, in_channels: int = 3, aux_logits: bool = False) -> GoogLeNet:
    """GoogLeNet (Inception v1) in torchvision's form, with batch normalisation.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        aux_logits: Whether there are auxiliary heads; then it gives three results in training.
    """
    return GoogLeNet(num_classes, in_channels, aux_logits)


@register((3, 224, 224), family="GoogLeNet", source="Szegedy et al. 2015")
def googlenet_2014(
    num_classes: int = 1000, in_channels: int = 3, aux_logits: bool = False
) -> GoogLeNet:
    """GoogLeNet (Inception v1) as in the paper: 5 × 5, biases, response normalisation.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        aux_logits: Whether there are auxiliary heads; then it gives three results in training.
    """
    return GoogLeNet(num_classes, in_channels, aux_logits, batch_norm=False, dropout=0.4)
