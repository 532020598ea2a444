"""Keys, the keys made from them, and random bits."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from chainrule import ops
from chainrule.array import Array, leaf
from chainrule.errors import ArgumentError, DtypeError
from chainrule.ops import dtypes
from chainrule.ops.hooks import Operand
from chainrule.ops.manipulation import as_shape
from chainrule.ops.operands import broadcast_shapes
from chainrule.ops.origin import here

ShapeLike: TypeAlias = int | Sequence[int]

_WORD = 0xFFFFFFFF


def key(seed: int) -> Array:
    """Make a key from a seed.

    Args:
        seed: Any integer; it is taken modulo 2⁶⁴, so −1 is the seed 2⁶⁴ − 1. The low 32 bits are
            the first word.

    Returns:
        uint32, shape (2,).

    >>> key(1)
    Array([1, 0], uint32)
    """
    return leaf(seed_words(seed))


def seed_words(seed: int) -> np.ndarray:
    """The two words of a seed, the low one first."""
    try:
        number = operator.index(seed)
    except TypeError:
        raise ArgumentError(
            "a seed is an integer", expected="an int", got=repr(seed), where=str(here())
        ) from None
    return np.array([number & _WORD, number >> 32 & _WORD], dtype=np.uint32)


def split(key: Array, n: int = 2) -> Array:
    """Make ``n`` independent keys from one; the first ones do not depend on ``n``.

    Args:
        key: uint32, shape (..., 2); not to be used for anything else afterwards.
        n: Number of keys, at least 0.

    Returns:
        uint32, shape (..., n, 2); unpacks into keys: ``a, b = split(key)``.
    """
    if n < 0:
        raise ArgumentError("split: n is negative", expected="n ≥ 0", got=str(n), where=str(here()))
    return ops.bind("split", ops.as_value(key), n=int(n))


def fold_in(key: Array, data: Operand) -> Array:
    """Make a key from a key and a number: a step, an index, a hash of a name.

    Args:
        key: uint32, shape (..., 2).
        data: Integer or integer Array, taken modulo 2³²; many numbers make many keys.

    Returns:
        uint32, shape (..., 2), with the leading axes of ``key`` and ``data`` broadcast.
    """
    source, number = ops.as_value(key), _as_word(data)
    lead = broadcast_shapes(source.shape[:-1], number.shape)
    source = ops.broadcast_to(source, (*lead, *source.shape[-1:]))
    return ops.bind("fold_in", source, ops.broadcast_to(number, lead))


def _as_word(data: Operand) -> Array:
    if isinstance(data, int):
        return ops.as_value(np.uint32(data & _WORD))
    value = ops.as_value(data)
    if not dtypes.is_integer(value.dtype):
        raise DtypeError(
            "fold_in takes an integer",
            got=str(value.dtype),
            fix="fold in a counter or an index, not a measurement",
            where=str(here()),
        )
    return ops.astype(value, dtypes.uint32)


def bits(key: Array, shape: ShapeLike = ()) -> Array:
    """Random 32-bit words, equal in every engine.

    Args:
        key: uint32, shape (..., 2).
        shape: Shape of the draw.

    Returns:
        uint32 in 0 .. 2³² − 1, shape (..., *shape).
    """
    return ops.bind("random_bits", ops.as_value(key), shape=as_shape(shape))
