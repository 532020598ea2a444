"""Normalisation within each sample: group, layer, root-mean-square and local response norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.array import Array
from chainrule.errors import ArgumentError
from chainrule.nn import functional, init
from chainrule.nn.checks import (
    floating_input,
    positive_integer,
    positive_number,
    spatial_input,
)
from chainrule.nn.functional.normalization import channelled, floating, normalize, trailing
from chainrule.nn.module import Module
from chainrule.nn.parameter import Parameter
from chainrule.ops import dtypes
from chainrule.ops.origin import here
from chainrule.ops.spelling import answers_spelling


class GroupNorm(Module):
    """Give each group of channels of each sample mean 0 and variance 1; the batch plays no part.

    Args:
        num_groups: Groups, which divide the channels: 1 is layer norm over a whole picture,
            num_channels is instance norm.
        num_channels: Channels, at least 1.
        epsilon: Added to the variance, > 0.
        affine: Learn a scale and a shift for each channel; they begin as 1 and 0.
        dtype: Floating type of the parameters.
        bias: False: learn no shift.

    Attributes: ``weight`` and ``bias`` (num_channels,) or None.

    Shape: input (batch, num_channels, *spatial) → the same.

    Raises:
        ArgumentError: The groups do not divide the channels.
        ShapeError: Another number of channels.

    Reference: Wu and He 2018, "Group normalization".

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.GroupNorm(2, 6)(cr.ones((5, 6, 4, 4))).shape
    (5, 6, 4, 4)
    """

    weight: Array | None
    bias: Array | None

    @answers_spelling
    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        epsilon: float = 1e-5,
        affine: bool = True,
        dtype: Any = dtypes.float32,
        *,
        bias: bool = True,
    ) -> None:
        self.num_groups = positive_integer(num_groups, "GroupNorm: num_groups")
        self.num_channels = positive_integer(num_channels, "GroupNorm: num_channels")
        if self.num_channels % self.num_groups:
            raise ArgumentError(
                "GroupNorm: the groups must divide the channels",
                expected=f"a divisor of {num_channels}",
                got=str(num_groups),
                where=str(here()),
            )
        self.epsilon = positive_number(epsilon, "GroupNorm: epsilon")
        self.affine = bool(affine)
        self.weight = self.bias = None
        if affine:
            self.weight = Parameter(init.ones(self.num_channels, dtype=dtype))
        if affine and bias:
            self.bias = Parameter(init.zeros(self.num_channels, dtype=dtype))

    def forward(self, x: Any) -> Array:
        """Shape: (batch, num_channels, *spatial) → the same."""
        value = floating(x) if self.weight is None else floating_input(x, self.weight, self)
        channelled(value, repr(self))
        if value.shape[1] != self.num_channels:
            spatial_input(value, value.ndim - 2, self.num_channels, repr(self))
        return functional.group_norm(
            value, self.num_groups, self.weight, self.bias, epsilon=self.epsilon
        )

    def extra_repr(self) -> str:
        """Groups, channels and settings."""
        settings = f"epsilon={self.epsilon:g}, affine={self.affine}"
        return f"{self.num_groups}, {self.num_channels}, {settings}"


class LayerNorm(Module):
    """Give the last axes of each sample mean 0 and variance 1, then scale and shift each element.

    Args:
        normalized_shape: Sizes of the last axes, or the size of the last one.
        epsilon: Added to the variance, > 0.
        elementwise_affine: Learn a scale and a shift for each element; they begin as 1 and 0.
        bias: Whether there is a shift.
        dtype: Floating type of the parameters.

    Attributes: ``weight`` and ``bias`` of shape normalized_shape, or None.

    Shape: input (..., *normalized_shape) → the same.

    Raises:
        ShapeError: The last axes of an input have other sizes.

    Reference: Ba, Kiros and Hinton 2016, "Layer normalization".

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.LayerNorm(8)(cr.ones((2, 5, 8))).shape
    (2, 5, 8)
    """

    weight: Array | None
    bias: Array | None

    @answers_spelling
    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        epsilon: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: Any = dtypes.float32,
    ) -> None:
        self.normalized_shape = _sizes(normalized_shape, "LayerNorm")
        self.epsilon = positive_number(epsilon, "LayerNorm: epsilon")
        self.elementwise_affine = bool(elementwise_affine)
        self.weight = self.bias = None
        if elementwise_affine:
            self.weight = Parameter(init.ones(self.normalized_shape, dtype=dtype))
        if elementwise_affine and bias:
            self.bias = Parameter(init.zeros(self.normalized_shape, dtype=dtype))

    def forward(self, x: Any) -> Array:
        """Shape: (..., *normalized_shape) → the same."""
        value = floating(x) if self.weight is None else floating_input(x, self.weight, self)
        y = normalize(value, trailing(value, self.normalized_shape, repr(self)), self.epsilon)
        y = y if self.weight is None else y * self.weight
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        """Shape and settings."""
        settings = f"epsilon={self.epsilon:g}, elementwise_affine={self.elementwise_affine}"
        return f"{self.normalized_shape}, {settings}, bias={self.bias is not None}"


class RMSNorm(Module):
    """Divide the last axes of each sample by their root mean square, then scale each element.

    Args:
        normalized_shape: Sizes of the last axes, or the size of the last one.
        epsilon: Added to the mean square, > 0; None: the type's smallest step from 1.
        elementwise_affine: Learn a scale for each element; it begins as 1.
        dtype: Floating type of the parameter.

    Attributes: ``weight`` of shape normalized_shape, or None.

    Shape: input (..., *normalized_shape) → the same.

    Raises:
        ShapeError: The last axes of an input have other sizes.

    Reference: Zhang and Sennrich 2019, "Root mean square layer normalization".

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.RMSNorm(2)(cr.asarray([3.0, 3.0])).tolist()
    [1.0, 1.0]
    """

    weight: Array | None

    @answers_spelling
    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        epsilon: float | None = None,
        elementwise_affine: bool = True,
        dtype: Any = dtypes.float32,
    ) -> None:
        self.normalized_shape = _sizes(normalized_shape, "RMSNorm")
        self.epsilon = None if epsilon is None else positive_number(epsilon, "RMSNorm: epsilon")
        self.elementwise_affine = bool(elementwise_affine)
        self.weight = None
        if elementwise_affine:
            self.weight = Parameter(init.ones(self.normalized_shape, dtype=dtype))

    def forward(self, x: Any) -> Array:
        """Shape: (..., *normalized_shape) → the same."""
        value = floating(x) if self.weight is None else floating_input(x, self.weight, self)
        trailing(value, self.normalized_shape, repr(self))
        return functional.rms_norm(value, self.normalized_shape, self.weight, epsilon=self.epsilon)

    def extra_repr(self) -> str:
        """Shape and settings."""
        settings = f"epsilon={self.epsilon}, elementwise_affine={self.elementwise_affine}"
        return f"{self.normalized_shape}, {settings}"


def _sizes(shape: int | Sequence[int], name: str) -> tuple[int, ...]:
    given = list(shape) if isinstance(shape, list | tuple) else [shape]
    return tuple(positive_integer(n, f"{name}: a size in normalized_shape") for n in given)


class LocalResponseNorm(Module):
    """x / (k + α · mean of x² over neighbouring channels)^β: loud ones quieten their neighbours.

    As in PyTorch α is divided by ``size``; the paper's formula does not.

    Args:
        size: Neighbours, the channel itself included, at least 1.
        alpha: α.
        beta: β.
        k: Keeps the divisor from 0.

    Shape: input (batch, channels, *spatial) → the same.

    Reference: Krizhevsky, Sutskever and Hinton 2012, "ImageNet classification with deep
    convolutional neural networks", section 3.3.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.LocalResponseNorm(5)(cr.ones((2, 8, 4, 4))).shape
    (2, 8, 4, 4)
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size = positive_integer(size, "LocalResponseNorm: size")
        self.alpha = float(alpha)
        self.beta = float(beta)
        self.k = float(k)

    def forward(self, x: Any) -> Array:
        """Shape: (batch, channels, *spatial) → the same."""
        return functional.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.size}, alpha={self.alpha:g}, beta={self.beta:g}, k={self.k:g}"
