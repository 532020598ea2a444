"""Blocks that larger networks are built of: residual, parallel, squeeze-and-excitation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError, ShapeError
from chainrule.nn.activations import ReLU, Sigmoid
from chainrule.nn.checks import positive_integer
from chainrule.nn.container import Sequential
from chainrule.nn.convolution import Conv2d
from chainrule.nn.module import Module
from chainrule.nn.pooling import AdaptiveAvgPool2d
from chainrule.ops.origin import here


class Residual(Module):
    """Add what a branch computes to its input: y = activation(branch(x) + shortcut(x)).

    Args:
        branch: What is learned beside the identity.
        shortcut: Brings the input to the branch's shape (a 1 × 1 convolution); None: the identity.
        activation: Applied to the sum; None: nothing.

    Shape: what the branch takes → what it gives, which must be the shortcut's shape: a sum of
    residuals never broadcasts.

    Raises:
        ShapeError: Branch and shortcut give different shapes.

    Reference: He et al. 2016, "Deep residual learning for image recognition", section 3.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> block = nn.Residual(nn.Conv2d(4, 4, 3, padding=1), activation=nn.ReLU())
    >>> block(cr.ones((2, 4, 8, 8))).shape
    (2, 4, 8, 8)
    """

    def __init__(
        self,
        branch: Module,
        shortcut: Module | None = None,
        activation: Module | None = None,
    ) -> None:
        self.branch = branch
        self.shortcut = shortcut
        self.activation = activation

    def forward(self, x: Any) -> Array:
        """Shape: the branch's input → its output."""
        value: Array = ops.as_value(x)
        found: Array = self.branch(value)
        kept: Array = value if self.shortcut is None else self.shortcut(value)
        if found.shape != kept.shape:
            raise ShapeError(
                "Residual: branch and shortcut give different shapes",
                expected=f"{found.shape}, as the branch gives",
                got=f"{kept.shape} from {'the input' if self.shortcut is None else 'the shortcut'}",
                fix="shortcut=nn.Conv2d(channels in, channels out, 1, stride of the branch)",
                where=str(here()),
            )
        y = found + kept
        return y if self.activation is None else self.activation(y)


class Parallel(Sequential):
    """Apply layers side by side to one input and join what they give: the inception block's form.

    Args:
        layers: Modules, named "0", "1", …; or one mapping from names to Modules.
        dim: Axis along which the outputs are joined; 1: their channels.

    Shape: what each layer takes → their outputs, joined along ``dim``; all other sizes are equal.

    Raises:
        ShapeError: The outputs differ in another size.

    Reference: Szegedy et al. 2015, "Going deeper with convolutions", section 4.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> block = nn.Parallel(nn.Conv2d(3, 4, 1), nn.Conv2d(3, 6, 5, padding=2))
    >>> block(cr.ones((2, 3, 8, 8))).shape
    (2, 10, 8, 8)
    """

    def __init__(self, *layers: Module | Mapping[str, Module], dim: int = 1) -> None:
        super().__init__(*layers)
        self.dim = dim
        if not len(self):
            raise ArgumentError(
                "Parallel needs at least one layer",
                expected="nn.Parallel(nn.Conv2d(...), nn.MaxPool2d(...), …)",
                where=str(here()),
            )

    def forward(self, *inputs: Any) -> Array:
        """Apply each layer to the same inputs and join the outputs."""
        outputs: list[Array] = [layer(*inputs) for layer in self]
        first = outputs[0].shape
        axis = self.dim % len(first) if -len(first) <= self.dim < len(first) else -1
        sizes = [(*y.shape[:axis], *y.shape[axis + 1 :]) for y in outputs]
        if axis < 0 or any(y.ndim != len(first) for y in outputs) or len(set(sizes)) > 1:
            raise ShapeError(
                f"Parallel: the outputs can not be joined along axis {self.dim}",
                expected="equal sizes along all other axes",
                got=", ".join(str(y.shape) for y in outputs),
                fix='padding="same" in every branch, and one stride for all',
                where=str(here()),
            )
        return ops.concat(outputs, axis=axis)

    def extra_repr(self) -> str:
        """The axis, where it is not the channels'."""
        return "" if self.dim == 1 else f"dim={self.dim}"


class SqueezeExcitation(Module):
    """Weigh each channel by what all of them together say: y = x · σ(W₂ δ(W₁ mean(x))).

    Args:
        input_channels: Channels, at least 1.
        squeeze_channels: Channels in between, at least 1; the paper takes a sixteenth.
        activation: δ; None: ``ReLU()``.
        scale_activation: σ; None: ``Sigmoid()``.

    Attributes: ``fc1``, ``fc2``: 1 × 1 convolutions, as in torchvision.

    Shape: input (batch, input_channels, height, width) → the same.

    Reference: Hu, Shen and Sun 2018, "Squeeze-and-excitation networks", section 3.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.SqueezeExcitation(16, 4)(cr.ones((2, 16, 5, 5))).shape
    (2, 16, 5, 5)
    """

    def __init__(
        self,
        input_channels: int,
        squeeze_channels: int,
        activation: Module | None = None,
        scale_activation: Module | None = None,
    ) -> None:
        channels = positive_integer(input_channels, "SqueezeExcitation: input_channels")
        inner = positive_integer(squeeze_channels, "SqueezeExcitation: squeeze_channels")
        self.avgpool = AdaptiveAvgPool2d(1)
        self.fc1 = Conv2d(channels, inner, 1)
        self.fc2 = Conv2d(inner, channels, 1)
        self.activation = ReLU() if activation is None else activation
        self.scale_activation = Sigmoid() if scale_activation is None else scale_activation

    def forward(self, x: Any) -> Array:
        """Shape: (batch, input_channels, height, width) → the same."""
        value: Array = ops.as_value(x)
        squeezed = self.activation(self.fc1(self.avgpool(value)))
        return value * self.scale_activation(self.fc2(squeezed))
