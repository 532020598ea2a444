"""What attention may look at: masks, the softmax that keeps to them, and products by heads."""

from __future__ import annotations

import math
from typing import Any

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import DtypeError, ShapeError
from chainrule.nn.functional.activations import softmax
from chainrule.nn.functional.normalization import floating
from chainrule.ops import dtypes
from chainrule.ops.origin import here


def masked_softmax(scores: Any, mask: Any = None) -> Array:
    """Softmax over the last axis, of what the mask lets through; a row without any is all 0.

    Args:
        scores: (..., n).
        mask: Broadcasts to the scores. Bools: True takes part. Numbers: added; −inf takes no part.

    Raises:
        DtypeError: The mask holds integers, which could mean either.

    >>> import chainrule as cr
    >>> masked_softmax(cr.zeros((2, 3)), [[True, True, False], [False] * 3])
    Array([[0.5, 0.5, 0. ],
           [0. , 0. , 0. ]], float32)
    """
    values = floating(scores)
    if mask is None:
        return softmax(values)
    given: Array = ops.as_value(mask)
    check_mask(values.shape, given)
    allowed = given
    if given.dtype != dtypes.bool_:
        allowed = given != -math.inf
        values = values + ops.astype(ops.where(allowed, given, 0.0), values.dtype)
    # a finite number, so that a row in which nothing is allowed has a maximum to subtract
    lowest = float(ops.finfo(values.dtype).min)
    weights = softmax(ops.where(allowed, values, lowest))
    return ops.where(allowed, weights, 0.0)


def check_mask(scores: tuple[int, ...], mask: Array) -> None:
    """Complain about a mask that does not broadcast to scores of this shape.

    Args:
        scores: Their shape.
        mask: Bools or floats.

    Raises:
        DtypeError: The mask holds integers, which could mean either.
        ShapeError: It does not broadcast.
    """
    if mask.dtype != dtypes.bool_ and not dtypes.is_floating(mask.dtype):
        raise DtypeError(
            "a mask of integers is ambiguous",
            expected="bools (True takes part) or floats (added to the scores)",
            got=str(mask.dtype),
            fix="mask.astype(bool)",
            where=str(here()),
        )
    sizes = (1,) * (len(scores) - mask.ndim) + mask.shape
    if len(sizes) != len(scores) or any(
        m not in (1, n) for m, n in zip(sizes, scores, strict=True)
    ):
        raise ShapeError(
            "the mask does not fit the scores",
            expected=f"what broadcasts to {scores}",
            got=str(mask.shape),
            fix="axes are (..., queries, keys): a mask of keys is mask[:, None, None, :]",
            where=str(here()),
        )


def causal_mask(queries: int, keys: int | None = None, offset: int = 0) -> Array:
    """True where a query may look: at keys up to its own place.

    Args:
        queries: Number of queries.
        keys: Number of keys; None: as many.
        offset: Place of the first query among the keys, for queries that continue a sequence.

    Shape: bools (queries, keys).

    >>> causal_mask(2, 3, offset=1).tolist()
    [[True, True, False], [True, True, True]]
    """
    n = queries if keys is None else keys
    places = ops.expand_dims(ops.arange(queries) + offset, axis=1)
    return ops.expand_dims(ops.arange(n), axis=0) <= places


def by_group(x: Array, y: Array, *, contract_last: bool) -> Array:
    """Products over all leading axes; y's heads serve equal groups of x's, without copies of y."""
    lead, (rows, inner) = x.shape[:-2], x.shape[-2:]
    if lead != y.shape[:-2]:
        group = lead[-1] // y.shape[-3]
        x = x.reshape((*y.shape[:-2], group * rows, inner))
    n = x.ndim - 2
    axes = tuple(range(n))
    last = n + 1 if contract_last else n
    product: Array = ops.bind("dot_general", x, y, contract=((n + 1,), (last,)), batch=(axes, axes))
    return product.reshape((*lead, rows, product.shape[-1]))
