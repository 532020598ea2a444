"""Limits: of gradients by value or common norm, and of the norm of each unit's weights."""

from __future__ import annotations

from typing import Any

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError
from chainrule.ops import dtypes
from chainrule.ops.origin import here
from chainrule.optim.hyperparameters import POSITIVE
from chainrule.tree import flatten, unflatten

#: keeps the division defined where all gradients are zero; PyTorch's number
SMALL = 1e-6


def clip_by_value(gradients: Any, max_value: float | Array) -> Any:
    """Bring every element into [−max_value, max_value].

    Args:
        gradients: Container of floating Arrays.
        max_value: Largest magnitude, > 0.

    Returns:
        A container of the same structure.

    >>> import chainrule as cr
    >>> clip_by_value({"w": cr.asarray([-3.0, 0.5])}, 1.0)
    {'w': Array([-1. ,  0.5], float32)}
    """
    limit = _limit(max_value, "max_value")
    leaves, structure = flatten(gradients)
    clipped = [
        ops.minimum(ops.maximum(x, -limit), limit)
        for x in (ops.as_value(leaf.value) for leaf in leaves)
    ]
    return unflatten(structure, clipped)


def global_norm(gradients: Any) -> Array:
    """√Σ g² over all elements of all gradients; 16-bit ones are summed in float32.

    Args:
        gradients: Container of floating Arrays, at least one.

    >>> import chainrule as cr
    >>> global_norm({"w": cr.asarray([3.0, 0.0]), "b": cr.asarray(4.0)})
    Array(5., float32)
    """
    squares = [_sum_of_squares(ops.as_value(leaf.value)) for leaf in flatten(gradients)[0]]
    if not squares:
        raise ArgumentError("there are no gradients to take a norm of", where=str(here()))
    total = squares[0]
    for square in squares[1:]:
        total = total + square
    norm: Array = ops.sqrt(total)
    return norm


def clip_by_global_norm(gradients: Any, max_norm: float | Array) -> tuple[Any, Array]:
    """Scale all gradients by one factor so that their common norm is at most ``max_norm``.

    The factor is min(1, max_norm / (norm + 1e-6)), so directions do not change.

    Args:
        gradients: Container of floating Arrays.
        max_norm: Largest Euclidean norm over all elements together, > 0.

    Returns:
        ``(clipped, norm)``: a container of the same structure, and the norm before clipping.

    Reference: Pascanu, Mikolov, Bengio 2013, "On the difficulty of training recurrent neural
    networks", section 3.2.

    >>> import chainrule as cr
    >>> clipped, norm = clip_by_global_norm([cr.asarray([3.0, 4.0])], 10.0)
    >>> clipped, norm
    ([Array([3., 4.], float32)], Array(5., float32))
    """
    limit = _limit(max_norm, "max_norm")
    norm = global_norm(gradients)
    factor = ops.minimum(limit / (norm + SMALL), 1.0)
    leaves, structure = flatten(gradients)
    clipped = []
    for leaf in leaves:
        x = ops.as_value(leaf.value)
        clipped.append(x * ops.astype(factor, x.dtype))
    return unflatten(structure, clipped), norm


def shorten_rows(weight: Array, max_row_norm: float | Array) -> Array:
    """Scale each unit's incoming weights so that their norm is at most ``max_row_norm``.

    Args:
        weight: (units, ...), two axes or more: of a ``Linear`` or a convolution.
        max_row_norm: Largest Euclidean norm over all axes but the first, > 0.

    Reference: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov 2014, "Dropout",
    section 5.1: max-norm regularisation.

    >>> import chainrule as cr
    >>> shorten_rows(cr.asarray([[3.0, 4.0], [0.3, 0.4]]), 1.0)
    Array([[0.6, 0.8],
           [0.3, 0.4]], float32)
    """
    limit = _limit(max_row_norm, "max_row_norm")
    axes = tuple(range(1, weight.ndim))
    norms = ops.sqrt(ops.sum(weight * weight, axis=axes, keepdims=True))
    # a row of zeros has no direction to keep: max(norm, limit) divides by no zero
    shortened: Array = weight * (limit / ops.maximum(norms, limit))
    return shortened


def _sum_of_squares(x: Array) -> Array:
    wide = ops.astype(x, dtypes.float32) if x.dtype.itemsize == 2 else x
    square: Array = ops.sum(wide * wide)
    return square


def _limit(value: float | Array, what: str) -> Any:
    return value if isinstance(value, Array) else POSITIVE.check(value, what)
