"""Positions for layers that see sets: waves, learned rows, rotations."""

from __future__ import annotations

from typing import Any

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ShapeError
from chainrule.nn import functional, init
from chainrule.nn.checks import positive_integer, positive_number
from chainrule.nn.functional.normalization import floating
from chainrule.nn.module import Module
from chainrule.nn.parameter import Parameter
from chainrule.ops import dtypes
from chainrule.ops.origin import here


def _added(layer: Any, x: Any, features: int, table: Any, batch_first: bool) -> Array:
    """x with a row of the table added at each place."""
    value = floating(x)
    if value.ndim not in (2, 3) or value.shape[-1] != features:
        order = "batch, places" if batch_first else "places, batch"
        raise ShapeError(
            f"{layer!r} does not fit an input of shape {value.shape}",
            expected=f"({order}, {features}), or (places, {features})",
            got=str(value.shape),
            where=str(here()),
        )
    if value.ndim == 2 or batch_first:
        return value + table(value.shape[-2], value.dtype)
    return value + ops.expand_dims(table(value.shape[0], value.dtype), axis=1)


class SinusoidalPositions(Module):
    """Add waves of many lengths, which name each place: x + sin, cos(t/base^(2i/d)).

    Args:
        d_model: Features d, at least 1.
        base: The longest wave is about 2π · base places; > 0.
        batch_first: Arrays are (batch, places, features) instead of (places, batch, features).

    Shape: (places, batch, d_model) or (places, d_model) → the same; any number of places.

    Raises:
        ShapeError: Another number of features or axes.

    Reference: Vaswani et al. 2017, "Attention is all you need", section 3.5.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.SinusoidalPositions(4)(cr.zeros((1, 4))).tolist()
    [[0.0, 1.0, 0.0, 1.0]]
    """

    def __init__(self, d_model: int, base: float = 10000.0, batch_first: bool = False) -> None:
        self.d_model = positive_integer(d_model, "SinusoidalPositions: d_model")
        self.base = positive_number(base, "SinusoidalPositions: base")
        self.batch_first = bool(batch_first)

    def forward(self, x: Any) -> Array:
        """Shape: (places, batch, d_model) → the same."""

        def waves(length: int, dtype: Any) -> Array:
            return functional.sinusoidal_positions(length, self.d_model, self.base, dtype)

        return _added(self, x, self.d_model, waves, self.batch_first)

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.d_model}, base={self.base:g}, batch_first={self.batch_first}"


class LearnedPositions(Module):
    """Add a learned row to each place; the rows begin as N(0, 0.02²), as in BERT and GPT-2.

    Args:
        max_length: Rows, the most places there may be, at least 1.
        d_model: Features, at least 1.
        batch_first: Arrays are (batch, places, features) instead of (places, batch, features).
        dtype: Floating type of the rows.

    Attributes: ``weight`` (max_length, d_model).

    Shape: (places, batch, d_model) or (places, d_model) → the same; at most max_length places.

    Raises:
        ShapeError: More places, or another number of features or axes.

    Reference: Gehring et al. 2017, "Convolutional sequence to sequence learning", section 3.1.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.LearnedPositions(16, 4, batch_first=True)(cr.zeros((2, 5, 4))).shape
    (2, 5, 4)
    """

    weight: Array

    def __init__(
        self,
        max_length: int,
        d_model: int,
        batch_first: bool = False,
        dtype: Any = dtypes.float32,
    ) -> None:
        self.max_length = positive_integer(max_length, "LearnedPositions: max_length")
        self.d_model = positive_integer(d_model, "LearnedPositions: d_model")
        self.batch_first = bool(batch_first)
        drawn = init.normal((max_length, d_model), standard_deviation=0.02, dtype=dtype)
        self.weight = Parameter(drawn)

    def forward(self, x: Any) -> Array:
        """Shape: (places, batch, d_model) → the same."""
        return _added(self, x, self.d_model, self._rows, self.batch_first)

    def _rows(self, length: int, dtype: Any) -> Array:
        if length > self.max_length:
            raise ShapeError(
                f"{self!r} has no rows for so many places",
                expected=f"at most {self.max_length} places",
                got=str(length),
                fix=f"nn.LearnedPositions({length}, {self.d_model}), or shorter sequences",
                where=str(here()),
            )
        return self.weight[:length]

    def extra_repr(self) -> str:
        """The settings."""
        return f"{self.max_length}, {self.d_model}, batch_first={self.batch_first}"


class RotaryPositions(Module):
    """Turn pairs of features of queries and keys by angles that grow with the place.

    Products of the two then depend on how far apart they are. Give one to
    ``nn.MultiheadAttention(..., rotary=nn.RotaryPositions())``.

    Args:
        base: Pair i of d features turns by base^(−2i/d) a place; > 0.
        interleaved: Pairs are neighbours, as in the paper; else features i and i + d/2, as in
            GPT-NeoX and Llama.

    Shape: (..., places, features), an even number of features → the same.

    Raises:
        ShapeError: An odd number of features, or fewer than two axes.

    Reference: Su et al. 2021, "RoFormer: enhanced Transformer with rotary position embedding",
    section 3.2.2.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.RotaryPositions()(cr.ones((2, 4, 5, 8))).shape
    (2, 4, 5, 8)
    """

    def __init__(self, base: float = 10000.0, interleaved: bool = False) -> None:
        self.base = positive_number(base, "RotaryPositions: base")
        self.interleaved = bool(interleaved)

    def forward(self, x: Any, offset: int = 0) -> Array:
        """Shape: (..., places, features) → the same.

        Args:
            x: Queries or keys.
            offset: Place of the first of them, at least 0.
        """
        return functional.rotate_positions(x, offset, self.base, self.interleaved)

    def extra_repr(self) -> str:
        """The settings."""
        return f"base={self.base:g}, interleaved={self.interleaved}"
