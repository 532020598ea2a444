"""What the Transformers here share: features split into heads, attention, features joined again."""

from __future__ import annotations

from typing import Any

from chainrule import nn, ops
from chainrule.array import Array
from chainrule.errors import ArgumentError
from chainrule.nn.checks import positive_integer
from chainrule.nn.functional.attention import attend
from chainrule.ops import dtypes
from chainrule.ops.origin import here

Memory = tuple[Array, Array]
"""Keys and values of what was read so far, (batch, heads, capacity, head_dim)."""


def dividing(num_heads: Any, width: Any, model: str) -> tuple[int, int]:
    """Heads and width, checked.

    Args:
        num_heads: Heads, at least 1.
        width: Features, which the heads divide.
        model: Named in the message.

    Raises:
        ArgumentError: The heads do not divide the width.
    """
    heads = positive_integer(num_heads, f"{model}: num_heads")
    if positive_integer(width, f"{model}: width") % heads:
        raise ArgumentError(
            f"{model}: the heads must divide the width",
            expected=f"a divisor of {width}",
            got=str(num_heads),
            where=str(here()),
        )
    return heads, int(width)


def split(x: Array, num_heads: int) -> Array:
    """Shape: (batch, places, width) → (batch, heads, places, width / heads).

    Args:
        x: Queries, keys or values of all heads.
        num_heads: Heads.
    """
    parted = x.reshape((*x.shape[:2], num_heads, x.shape[2] // num_heads))
    return ops.moveaxis(parted, 2, 1)


def joined(x: Array) -> Array:
    """Shape: (batch, heads, places, features) → (batch, places, heads · features).

    Args:
        x: What the heads found.
    """
    batch, heads, places, features = x.shape
    return ops.moveaxis(x, 1, 2).reshape((batch, places, heads * features))


def attended(
    q: Array,
    k: Array,
    v: Array,
    visible: Array | None = None,
    *,
    is_causal: bool = False,
    dropout: nn.Dropout | None = None,
) -> Array:
    """softmax(q kᵀ / √d) v, with some of the weights dropped while training.

    Args:
        q: Queries (batch, heads, queries, features).
        k: Keys (batch, heads, keys, features).
        v: Values (batch, heads, keys, features).
        visible: Bools that broadcast to (batch, heads, queries, keys): True takes part.
        is_causal: Query i sees keys 0 … i only.
        dropout: The layer that drops weights; None: none is dropped.
    """
    draw = None if dropout is None else dropout.draw()
    return attend(q, k, v, visible, is_causal, draw=draw)


def written(memory: Memory, k: Array, v: Array, seen: Array) -> Memory:
    """The memory with new keys and values behind those that were seen.

    Args:
        memory: Keys and values so far.
        k: New keys (batch, heads, n, head_dim).
        v: New values, likewise.
        seen: int64 scalar, how many places are filled.
    """
    lead = k.shape[:3]
    batch, heads, places = (
        ops.bind("iota", shape=lead, axis=axis, dtype=dtypes.int64) for axis in range(3)
    )
    where = ops.stack([batch, heads, places + seen], axis=-1)
    keys, values = (
        ops.bind("scatter", old, where, new, mode="set")
        for old, new in zip(memory, (k, v), strict=True)
    )
    return keys, values


def visible_places(n: int, capacity: int, seen: Array) -> Array:
    """Which places of the memory each of n new tokens may look at: its own and those before.

    Args:
        n: New tokens.
        capacity: Places of the memory.
        seen: int64 scalar, how many were filled before them.

    Shape: bools (n, capacity).
    """
    places: Array = ops.expand_dims(seen + ops.arange(n), axis=1)
    return ops.arange(capacity) <= places
