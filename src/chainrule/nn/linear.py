"""Layers without memory of place: ``Linear``, ``Flatten``, ``Identity``."""

from __future__ import annotations

import math
from typing import Any

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ShapeError
from chainrule.nn import init
from chainrule.nn.checks import floating_input, positive_integer
from chainrule.nn.module import Module
from chainrule.nn.parameter import Parameter
from chainrule.ops import dtypes
from chainrule.ops.origin import here


class Linear(Module):
    """Weighted sums of the inputs, one per unit: y = x Wᵀ + b.

    W and b begin uniform in ±1/√in_features, as in PyTorch.

    Args:
        in_features: Numbers per sample that come in, at least 1.
        out_features: Units, at least 1.
        bias: Whether b is added.
        dtype: Floating type of W and b.

    Attributes: ``weight`` (out_features, in_features), ``bias`` (out_features,) or None.

    Shape: input (..., in_features) → output (..., out_features).

    Raises:
        ShapeError: The last axis of an input is not in_features long.
        DtypeError: An input is of another floating type than W.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.Linear(3, 2)(cr.ones((5, 3))).shape
    (5, 2)
    """

    weight: Array
    bias: Array | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        dtype: Any = dtypes.float32,
    ) -> None:
        self.in_features = positive_integer(in_features, "Linear: in_features")
        self.out_features = positive_integer(out_features, "Linear: out_features")
        bound = 1.0 / math.sqrt(self.in_features)
        shape = (self.out_features, self.in_features)
        self.weight = Parameter(init.uniform(shape, low=-bound, high=bound, dtype=dtype))
        self.bias = None
        if bias:
            values = init.uniform(self.out_features, low=-bound, high=bound, dtype=dtype)
            self.bias = Parameter(values)

    def forward(self, x: Any) -> Array:
        """Shape: (..., in_features) → (..., out_features)."""
        value = floating_input(x, self.weight, self)
        if not value.ndim or value.shape[-1] != self.in_features:
            raise self._wrong_size(value)
        # contracts both last axes, so the transpose of W is never recorded
        y: Array = ops.tensordot(value, self.weight, axes=((value.ndim - 1,), (1,)))
        return y if self.bias is None else y + self.bias

    def _wrong_size(self, x: Array) -> ShapeError:
        n = self.in_features
        trailing = [math.prod(x.shape[axis:]) for axis in range(1, x.ndim)]
        if n in trailing:
            axis = trailing.index(n) + 1
            fix = f"flatten it first: nn.Flatten({axis if axis > 1 else ''})"
        elif x.size == n:
            fix = f"flatten it: x.reshape(1, {n}), a batch of one sample"
        elif x.ndim == 2 and x.shape[0] == n:
            fix = "transpose it (x.T): samples are rows, features are columns"
        elif x.ndim:
            fix = f"nn.Linear({x.shape[-1]}, {self.out_features}), if these inputs are meant"
        else:
            fix = "give it one row of numbers per sample"
        return ShapeError(
            f"{self!r} does not fit an input of shape {x.shape}",
            expected=f"(..., {n})",
            got=str(x.shape),
            fix=fix,
            where=str(here()),
        )

    def extra_repr(self) -> str:
        """Sizes and whether there is a bias."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Flatten(Module):
    """Merge axes into one, so that a picture becomes a row of numbers.

    Args:
        start_dim: First axis that is merged; 1 keeps the batch apart.
        end_dim: Last axis that is merged; negative values count from the end.

    Shape: input (batch, *sizes) → output (batch, product of sizes).

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.Flatten()(cr.ones((32, 28, 28))).shape
    (32, 784)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Any) -> Array:
        """Shape: (batch, *sizes) → (batch, product of sizes)."""
        value: Array = ops.as_value(x)
        rank = value.ndim
        first, last = (axis + rank if axis < 0 else axis for axis in (self.start_dim, self.end_dim))
        if not 0 <= first <= last < rank:
            raise ShapeError(
                f"{self!r} does not fit an input of shape {value.shape}",
                expected=f"axes {self.start_dim} to {self.end_dim} in order",
                got=f"{rank} axes",
                fix="put the batch in front: x[None], or use nn.Flatten(0)",
                where=str(here()),
            )
        merged = math.prod(value.shape[first : last + 1])
        return value.reshape((*value.shape[:first], merged, *value.shape[last + 1 :]))

    def extra_repr(self) -> str:
        """The axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """Return the input: a place holder where a layer may or may not be.

    Args:
        arguments: Ignored, so that it can take the place of any layer.
        keywords: Likewise.

    Shape: any → the same.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        del arguments, keywords

    def forward(self, x: Any) -> Any:
        """Shape: any → the same."""
        return x
