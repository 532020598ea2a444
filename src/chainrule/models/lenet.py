"""LeNet-5 as it was built in 1998, and as it is built today.

    input    1 @ 28 × 28, laid in a field of 32 × 32
    C1       6 @ 28 × 28   convolution 5 × 5
    S2       6 @ 14 × 14   subsampling 2 × 2
    C3      16 @ 10 × 10   convolution 5 × 5
    S4      16 @  5 ×  5   subsampling 2 × 2
    C5     120 @  1 ×  1   convolution 5 × 5
    F6      84             full connection
    output  10             full connection, or Euclidean radial basis functions

Reference: LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document
recognition", section II.B and figure 2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule import nn, ops
from chainrule.array import Array
from chainrule.models.bitmaps import DIGIT_BITMAPS
from chainrule.models.registry import register
from chainrule.models.weights import Draw, draw_weights
from chainrule.nn.checks import one_of, positive_integer
from chainrule.nn.functional import conv2d

# Table I of the paper: which maps of S2 each of the 16 maps of C3 reads
C3_READS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip


class Subsampling(nn.Module):
    """Add up 2 × 2 neighbours, times a learned coefficient, plus a learned bias: one each a map.

    Args:
        channels: Maps, at least 1.

    Attributes: ``weight`` and ``bias``, (channels,).

    Shape: (batch, channels, height, width) → (batch, channels, height / 2, width / 2).
    """

    def __init__(self, channels: int) -> None:
        self.channels = positive_integer(channels, "Subsampling: channels")
        self.sum = nn.AvgPool2d(2, divisor_override=1)
        self.weight = nn.Parameter(_le_cun((channels,), 4))
        self.bias = nn.Parameter(nn.init.zeros(channels))

    def forward(self, x: Any) -> Array:
        """Shape: (batch, channels, height, width) → (batch, channels, height / 2, width / 2)."""
        per_map = (self.channels, 1, 1)
        y: Array = self.sum(x) * self.weight.reshape(per_map) + self.bias.reshape(per_map)
        return y

    def extra_repr(self) -> str:
        """The number of maps."""
        return f"{self.channels}"


class SparseConv2d(nn.Module):
    """A convolution whose maps each read some of the input maps; only those kernels exist.

    Args:
        reads: For each output map the input maps that it reads, in order.
        in_channels: Input maps.
        kernel_size: Height and width of the kernels.

    Attributes: ``weight`` (connections, kernel_size, kernel_size), output map by output map;
    ``bias`` (output maps,).

    Shape: (batch, in_channels, height, width) → (batch, output maps, ...), sizes less
    kernel_size − 1.
    """

    def __init__(
        self, reads: tuple[tuple[int, ...], ...], in_channels: int, kernel_size: int
    ) -> None:
        self.reads = reads
        self.in_channels = in_channels
        self.kernel_size = kernel_size
        fan_in = np.repeat([len(r) * kernel_size**2 for r in reads], [len(r) for r in reads])
        drawn = nn.init.uniform((len(fan_in), kernel_size, kernel_size), low=-2.4, high=2.4)
        self.weight = nn.Parameter(drawn / fan_in[:, None, None].astype(np.float32))
        self.bias = nn.Parameter(nn.init.zeros(len(reads)))

    def dense_weight(self) -> Array:
        """The kernels among zeros: (output maps, in_channels, kernel_size, kernel_size)."""
        k = self.kernel_size
        n_kernels = self.weight.shape[0]
        place = np.full((len(self.reads), self.in_channels), n_kernels)  # the zero kernel
        connected = [(o, i) for o, maps in enumerate(self.reads) for i in maps]
        for number, at in enumerate(connected):
            place[at] = number
        kernels = ops.concat([self.weight, ops.zeros((1, k, k), dtype=self.weight.dtype)])
        dense: Array = ops.take(kernels, place.reshape(-1), axis=0)
        return dense.reshape((*place.shape, k, k))

    def forward(self, x: Any) -> Array:
        """Shape: (batch, in_channels, height, width) → (batch, output maps, ...)."""
        return conv2d(x, self.dense_weight(), self.bias)

    def extra_repr(self) -> str:
        """Maps, connections and kernel."""
        n = sum(len(maps) for maps in self.reads)
        return f"{self.in_channels}, {len(self.reads)}, kernel_size={self.kernel_size}, {n} kernels"


class RadialBasis(nn.Module):
    """−Σ (x − w)² for each class: minus the squared distance to a 7 × 12 picture of its digit.

    The paper's penalty is that distance, and the smallest wins; with the minus sign the largest
    wins, and cross-entropy of these outputs is the paper's equation 9 with j → ∞.

    Attributes: ``bitmaps`` (10, 84), a buffer of ±1, set by hand and never learned.

    Shape: (batch, 84) → (batch, 10).
    """

    def __init__(self) -> None:
        self.bitmaps = DIGIT_BITMAPS.astype(np.float32)

    def forward(self, x: Array) -> Array:
        """Shape: (batch, 84) → (batch, 10)."""
        y: Array = -ops.sum((x[:, None, :] - self.bitmaps) ** 2, axis=2)
        return y


class LeNet5(nn.Module):
    """LeNet-5: convolutions that see more and more, then layers that decide.

    With the defaults the network as it is taught: 61,706 parameters. The paper's, with its 60,000
    trainable parameters: ``LeNet5(activation="scaled_tanh", subsampling="trainable",
    connections="sparse", output="rbf")``.

    Args:
        num_classes: Classes; 10 with ``output="rbf"``.
        in_channels: Channels of the pictures.
        activation: ``"tanh"``, ``"relu"``, ``"sigmoid"``, or the paper's ``"scaled_tanh"``:
            1.7159 tanh(2x/3).
        subsampling: ``"average"``, ``"max"``, or ``"trainable"``: a coefficient and a bias a map,
            then the activation.
        connections: Of C3: ``"dense"``, or ``"sparse"`` as in the paper's table I.
        output: ``"linear"``, or ``"rbf"``: distances to pictures of the digits.

    Weights begin as in the paper with ``"scaled_tanh"``, else as Glorot and Bengio 2010 or, with
    ``"relu"``, He et al. 2015 advise.

    Shape: (batch, in_channels, 28, 28) → (batch, num_classes) logits.

    >>> LeNet5().n_parameters
    61706
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        activation: str = "tanh",
        subsampling: str = "average",
        connections: str = "dense",
        output: str = "linear",
    ) -> None:
        one_of(activation, tuple(_ACTIVATIONS), "LeNet5: activation")
        one_of(subsampling, ("average", "max", "trainable"), "LeNet5: subsampling")
        one_of(connections, ("dense", "sparse"), "LeNet5: connections")
        one_of(output, ("linear", "rbf"), "LeNet5: output")
        if output == "rbf":
            one_of(str(num_classes), ("10",), "LeNet5: num_classes with pictures of ten digits")
        squash, draw = _ACTIVATIONS[activation]
        sparse = connections == "sparse"
        self.c1 = nn.Conv2d(in_channels, 6, 5, padding=2)
        self.s2 = _subsample(subsampling, 6, squash)
        self.c3 = SparseConv2d(C3_READS, 6, 5) if sparse else nn.Conv2d(6, 16, 5)
        self.s4 = _subsample(subsampling, 16, squash)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.flatten = nn.Flatten()
        self.f6 = nn.Linear(120, 84)
        self.output = RadialBasis() if output == "rbf" else nn.Linear(84, num_classes)
        self.squash = squash()
        draw_weights(self, convolution=draw, linear=draw)

    def forward(self, x: Any) -> Array:
        """Shape: (batch, in_channels, 28, 28) → (batch, num_classes)."""
        x = self.s2(self.squash(self.c1(x)))
        x = self.s4(self.squash(self.c3(x)))
        x = self.squash(self.c5(x))
        x = self.squash(self.f6(self.flatten(x)))
        return self.output(x)


def _le_cun(shape: tuple[int, ...], fan_in: int | None = None) -> Array:
    """Uniform in ±2.4 / inputs of a unit: the paper's section III.C."""
    bound = 2.4 / (fan_in or math.prod(shape[1:]))
    return nn.init.uniform(shape, low=-bound, high=bound)


# activation → its layer, and how weights before it begin
_ACTIVATIONS: dict[str, tuple[type[nn.Module], Draw]] = {
    "tanh": (nn.Tanh, nn.init.glorot_uniform),
    "relu": (nn.ReLU, nn.init.he_uniform),
    "sigmoid": (nn.Sigmoid, nn.init.glorot_uniform),
    "scaled_tanh": (nn.ScaledTanh, _le_cun),
}


def _subsample(kind: str, channels: int, squash: type[nn.Module]) -> nn.Module:
    if kind == "trainable":
        return nn.Sequential(Subsampling(channels), squash())
    return nn.AvgPool2d(2) if kind == "average" else nn.MaxPool2d(2)


@register((1, 28, 28), family="LeNet", source="LeCun et al. 1998")
def lenet5(num_classes: int = 10, in_channels: int = 1, activation: str = "tanh") -> LeNet5:
    """LeNet-5 as it is taught: average pooling, dense C3, a linear output.

    Args:
        num_classes: Classes.
        in_channels: Channels of the pictures.
        activation: As for ``LeNet5``.
    """
    return LeNet5(num_classes, in_channels, activation)


@register((1, 28, 28), family="LeNet", source="LeCun et al. 1998")
def lenet5_1998(num_classes: int = 10, in_channels: int = 1) -> LeNet5:
    """LeNet-5 as in the paper: trainable subsampling, sparse C3, radial basis functions.

    Args:
        num_classes: 10: there are pictures of ten digits.
        in_channels: Channels of the pictures.
    """
    return LeNet5(num_classes, in_channels, "scaled_tanh", "trainable", "sparse", "rbf")
